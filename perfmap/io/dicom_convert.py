"""From arranged DICOM frames to a NIfTI file: dcm2niix converts, the result is reconciled with the headers.

Where dcm2niix's file does not hold what the headers say (it splits a series, or orders frames otherwise), the file is
put together from the frames themselves. Where that cannot be done either, the series is refused.
"""

from __future__ import annotations

import subprocess
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dcm2niix
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from perfmap.errors import InputError
from perfmap.io.dicom_check import agrees, expected_affine, index_map, onto_itself, refuse_mismatch
from perfmap.io.dicom_files import ExportFile
from perfmap.io.dicom_frames import ENHANCED_MR, LEGACY_ENHANCED_MR
from perfmap.io.dicom_pixels import Undecodable, read_pixels
from perfmap.io.dicom_scan import CONTRAST, ScannedSeries
from perfmap.io.dicom_source import LPS_TO_RAS, DicomSource, Kind, SliceSource
from perfmap.io.dicom_stack import Arranged
from perfmap.io.dicom_time import TimeAxis
from perfmap.io.nifti_header import nib
from perfmap.io.sidecar import read_json, write_json

TIMEOUT = 1800.0  # s
KEPT = (
    "Modality MagneticFieldStrength Manufacturer ManufacturersModelName MRAcquisitionType ScanningSequence "
    "SequenceVariant ScanOptions SliceThickness SpacingBetweenSlices EchoTime FlipAngle EchoTrainLength "
    "PhaseEncodingDirection PhaseEncodingAxis EffectiveEchoSpacing TotalReadoutTime SliceTiming BodyPartExamined "
    "ParallelReductionFactorInPlane ConversionSoftware ConversionSoftwareVersion"
)
"""What of dcm2niix's sidecar goes on: physics of the acquisition, nothing of the patient, the place or the day."""
REFERENCE_VOLUME = 4
"""Volume whose slices stand for the series in references: behind the unsteady start, before the bolus."""


@dataclass(frozen=True)
class Staged:
    """A series brought to NIfTI.

    Attributes
    ----------
    nifti, sidecar : Path
    source : DicomSource
    """

    nifti: Path
    sidecar: Path
    source: DicomSource


def convert(
    arranged: Arranged,
    series: list[ScannedSeries],
    axis: TimeAxis,
    folder: Path,
    *,
    name: str = "dsc",
    notes: tuple[str, ...] = (),
) -> Staged:
    """Convert a series to ``folder/name.nii`` with its sidecar.

    Parameters
    ----------
    arranged : Arranged
    series : list of ScannedSeries
        The series that the frames come from.
    axis : TimeAxis
    folder : Path
        Is made; must not hold files of that name. The originals stay linked from it.
    name : str
        Name of the files. It goes into outputs, so it must not name the patient.
    notes : tuple of str
        What was decided before; kept in the source and in the sidecar.

    Raises
    ------
    InputError
        If the conversion cannot be reconciled with the headers.
    """
    staging = folder / "dicom"
    placed = _place(arranged, staging)
    images = _run_dcm2niix(staging, folder / "converted")
    lossy = any(one.lossy for one in series)
    nifti = folder / f"{name}.nii"
    chosen, flips, compared = _choose(images, arranged, lossy=lossy)
    notes = (*notes, *arranged.notes, *axis.notes)
    sidecar: dict[str, Any] = {}
    if chosen is not None and flips is not None:
        _finish_header(chosen, nifti, axis)
        sidecar = _told_by_dcm2niix(chosen)
        if not compared:
            notes = (*notes, "the values could not be compared with the DICOM images: unknown compression")
    else:
        shapes = [tuple(int(n) for n in nib.load(path).shape) for path in images]
        if arranged.stack.is_mosaic:
            raise refuse_mismatch(shapes, arranged)
        try:
            flips = _assemble(arranged, nifti, axis)
        except Undecodable as error:
            raise refuse_mismatch(shapes, arranged) from error
        sidecar = _told_by_dcm2niix(images[0]) if images else {}
        notes = (
            *notes,
            "dcm2niix orders or splits these images otherwise than their headers say; the series was put together "
            "from the images themselves",
        )
    source = _source(arranged, series, placed, nifti, flips, lossy=lossy, notes=notes)
    echo_time = arranged.stack.echo_time
    write_json(
        {
            **{key: sidecar[key] for key in KEPT.split() if key in sidecar},
            "RepetitionTime": axis.time_step,
            "RepetitionTimeExcitation": axis.repetition_time,
            **({"EchoTime": echo_time} if echo_time else {}),
            **{
                key: series[0].header[key] for key in CONTRAST if series[0].header[key] and key not in sidecar
            },
            **_facts(series[0], lossy=lossy),
            "Notes": list(notes),
        },
        nifti.with_suffix(".json"),
    )
    for path in (folder / "converted").iterdir():
        path.unlink()
    (folder / "converted").rmdir()
    return Staged(nifti, nifti.with_suffix(".json"), source)


def _facts(series: ScannedSeries, *, lossy: bool) -> dict[str, Any]:
    """What the quality gate asks for and dcm2niix leaves out; stays with the staged series."""
    header = series.header
    found = {
        "ScanningSequence": header["ScanningSequence"].split("\\") if header["ScanningSequence"] else None,
        "PulseSequenceType": {"SPIN": "spin echo", "GRADIENT": "gradient echo"}.get(
            header["EchoPulseSequence"]
        ),
        "ContrastBolusAgent": header["ContrastBolusAgent"],
        "PatientAge": header["PatientAge"],
        "LossyImageCompression": "01" if lossy else "00",
    }
    return {**{key: value for key, value in found.items() if value}, **header["encoding"]}


def _place(arranged: Arranged, staging: Path) -> dict[ExportFile, Path]:
    """The chosen files under plain numbers: nothing of their own names or folders is used."""
    staging.mkdir(parents=True)
    placed: dict[ExportFile, Path] = {}
    for volume in arranged.order.grid:
        for frame in volume:
            if frame.file in placed:
                continue
            target = staging / f"{len(placed):06d}.dcm"
            with frame.file.open() as stream:
                start = stream.read(1024)
            if DeflatedExplicitVRLittleEndian.encode() in start:
                _inflate(frame.file, target)  # dcm2niix does not read deflated files
            else:
                frame.file.place(target)
            on_disk = frame.file.path if frame.file.member is None else target
            placed[frame.file] = on_disk
    return placed


def _inflate(file: ExportFile, target: Path) -> None:
    try:
        with file.open() as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(stream)
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            data.save_as(target)
    except InputError:
        raise
    except Exception as error:  # pydicom raises nearly anything on headers that contradict themselves
        raise InputError("an image of the series is damaged; export or copy it again") from error


def _run_dcm2niix(staging: Path, converted: Path) -> list[Path]:
    converted.mkdir()
    command = [dcm2niix.bin, "-b", "y", "-ba", "y", "-z", "n", "-p", "y", "-w", "2", "-f", "c"]
    command += ["-o", str(converted), str(staging)]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"dcm2niix did not end within {TIMEOUT:g} s; convert the series by hand") from error
    except OSError as error:
        raise InputError(
            f"dcm2niix does not run here ({error.strerror}); install the package again: pip install dcm2niix"
        ) from error
    return [path for path in sorted(converted.glob("*.nii")) if _opens(path)]


def _opens(image: Path) -> bool:
    """Whether nibabel takes a file; dcm2niix writes whatever a header says, not-a-numbers too."""
    try:
        nib.load(image)
    except (nib.spatialimages.HeaderDataError, nib.filebasedimages.ImageFileError, ValueError):
        return False
    return True


def _told_by_dcm2niix(image: Path) -> dict[str, Any]:
    """Its sidecar; nothing where there is none, or where it is no JSON, as with a NaN in it."""
    try:
        return read_json(image.with_suffix(".json"))
    except InputError:
        return {}


def _choose(
    images: list[Path], arranged: Arranged, *, lossy: bool
) -> tuple[Path | None, NDArray[np.int64] | None, bool]:
    """The converted file that agrees with the headers, its index map, and whether values were compared."""
    for path in images:
        image = nib.load(path)
        if len(image.shape) != 4:
            continue
        try:
            flips = agrees(image, arranged, lossy=lossy)
        except Undecodable:
            if len(images) > 1:
                raise
            return path, _flips_by_place(image, arranged), False
        if flips is not None:
            return path, flips, True
    return None, None, False


def _flips_by_place(image: Any, arranged: Arranged) -> NDArray[np.int64] | None:
    if image.shape[2:] != (arranged.n_slices, arranged.n_volumes):
        return None
    expected = expected_affine(arranged, image)
    flips = None if expected is None else index_map(np.asarray(image.affine, dtype=float), expected)
    return flips if flips is not None and onto_itself(flips, image.shape) else None


def _finish_header(converted: Path, nifti: Path, axis: TimeAxis) -> None:
    """Write the time axis into the header and clear its free text, which scanners fill with anything."""
    with converted.open("r+b") as stream:
        header = nib.Nifti1Header.from_fileobj(stream)
        header["pixdim"][4] = axis.time_step
        header.set_xyzt_units("mm", "sec")
        header["descrip"], header["aux_file"], header["intent_name"], header["db_name"] = b"", b"", b"", b""
        stream.seek(0)
        stream.write(header.binaryblock)
    converted.rename(nifti)


def _assemble(arranged: Arranged, nifti: Path, axis: TimeAxis) -> NDArray[np.int64]:
    """Put the series together from its frames, on the axes of DICOM; the index map is the identity."""
    volume = arranged.order.grid[0]
    n_slices, n_volumes = len(volume), arranged.n_volumes
    places = [(t, k) for t in range(n_volumes) for k in range(n_slices)]
    frames = {place: arranged.order.grid[place[0]][place[1]] for place in places}
    ordered = sorted(places, key=lambda place: (str(frames[place].file), frames[place].frame or 0))
    signal = np.zeros((n_volumes, n_slices, volume[0].rows, volume[0].columns), dtype=np.float32).T
    for (t, k), values in zip(ordered, read_pixels([frames[p] for p in ordered]), strict=True):
        signal[:, :, k, t] = values.T
    affine = expected_affine(arranged, None)
    if affine is None:
        raise InputError("the images have no position; export the series again with its headers")
    image = nib.Nifti1Image(signal, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header["pixdim"][4] = axis.time_step
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, nifti)
    return np.eye(4, dtype=np.int64)


def _source(
    arranged: Arranged,
    series: list[ScannedSeries],
    placed: dict[ExportFile, Path],
    nifti: Path,
    flips: NDArray[np.int64],
    *,
    lossy: bool,
    notes: tuple[str, ...],
) -> DicomSource:
    image = nib.load(nifti)
    volume = arranged.order.grid[min(REFERENCE_VOLUME, arranged.n_volumes - 1)]
    first, one = volume[0], series[0]
    back = np.linalg.inv(flips).round().astype(int)
    to_lps = LPS_TO_RAS @ np.asarray(image.affine, dtype=float) @ flips
    slices = []
    for k in range(arranged.n_slices):
        index = int(back[2, 2] * k + back[2, 3])  # slice of DICOM that is slice k of the file
        frame = first if arranged.stack.is_mosaic else volume[index]
        position = (to_lps @ [0, 0, index, 1])[:3] if frame.n_tiles else np.array(frame.position)
        place = (float(position[0]), float(position[1]), float(position[2]))
        slices.append(SliceSource(placed[frame.file], frame.frame, frame.sop_uid, place))
    kind: Kind = "classic"
    if one.sop_class_uid in (ENHANCED_MR, LEGACY_ENHANCED_MR):
        kind = "enhanced"
    elif arranged.stack.is_mosaic:
        kind = "mosaic"
    orientation, spacing = first.orientation or (0.0,) * 6, first.spacing or (0.0, 0.0)
    frames = [frame for grid in arranged.order.grid for frame in grid]
    return DicomSource(
        kind=kind,
        study_instance_uid=one.study_uid,
        series_instance_uids=tuple(sorted({frame.series_uid for frame in frames})),
        frame_of_reference_uid=one.frame_of_reference_uid,
        sop_class_uid=one.sop_class_uid,
        slices=tuple(slices),
        orientation=(
            orientation[0],
            orientation[1],
            orientation[2],
            orientation[3],
            orientation[4],
            orientation[5],
        ),
        pixel_spacing=(spacing[0], spacing[1]),
        rows=int(image.shape[1]),
        columns=int(image.shape[0]),
        sop_instance_uids=tuple(sorted({frame.sop_uid for frame in frames})),
        lossy=lossy,
        notes=notes,
    )
