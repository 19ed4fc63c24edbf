"""DICOM as scanners write it, made from small arrays: classic (three vendors' tags), mosaic and enhanced.

Arrays come as DICOM has them: ``signal[column, row, slice, time]`` with the affine from (column, row, slice) to
RAS+ mm. Everything follows from the arguments, UIDs too. ``edit(dataset, t, k)`` spoils a file before it is written.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

MR_STORAGE = UID("1.2.840.10008.5.1.4.1.1.4")
ENHANCED_MR_STORAGE = UID("1.2.840.10008.5.1.4.1.1.4.1")
PATIENT_NAME, PATIENT_ID, BIRTH_DATE, ACCESSION = "Lovelace^Ada", "PID4711", "18151210", "ACC0815"
SECRETS = ("Lovelace", "Ada", PATIENT_ID, BIRTH_DATE, ACCESSION)
Edit = Callable[[Dataset, int, int], None]


@dataclass(frozen=True)
class Scan:
    """What is written: an array, where it lies, and how it was acquired. Times in s."""

    signal: np.ndarray
    affine: np.ndarray
    time_step: float = 1.5
    echo_time: float = 0.03
    repetition_time: float | None = None
    vendor: str = "siemens"
    name: str = "a"  # UIDs of study and frame of reference follow from it
    series: str = "dsc"  # and with this one those of the series
    series_number: int = 5
    description: str = "ep2d_perf_DSC"
    sequence: tuple[str, ...] = ("EP",)
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "M", "ND", "NORM")
    start: float = 10 * 3600 + 15 * 60  # of the first volume, s since midnight
    slopes: Callable[[int, int], float] = lambda t, k: 1.0
    intercept: float = 0.0
    syntax: UID = ExplicitVRLittleEndian
    patient: dict[str, Any] = field(default_factory=dict)  # attributes that differ from the usual patient

    @property
    def shape(self) -> tuple[int, int, int, int]:
        columns, rows, n_slices, n_times = self.signal.shape
        return columns, rows, n_slices, n_times


def write_classic(scan: Scan, folder: Path, *, edit: Edit | None = None, suffix: str = ".dcm") -> list[Path]:
    """One file a slice and time, in the vendor's way of numbering. Paths [t * n_slices + k]."""
    folder.mkdir(parents=True, exist_ok=True)
    _, _, n_slices, n_times = scan.shape
    paths = []
    for t in range(n_times):
        for k in range(n_slices):
            data = _image(scan, MR_STORAGE, uid_key=f"{t}.{k}")
            _geometry(data, scan, k)
            _classic_tags(data, scan, t, k)
            _pixels(data, scan.signal[:, :, k, t], slope=scan.slopes(t, k), intercept=scan.intercept)
            if scan.slopes(t, k) != 1.0 or scan.intercept or scan.vendor == "philips":
                data.RescaleSlope, data.RescaleIntercept = (
                    f"{scan.slopes(t, k):.10g}",
                    f"{scan.intercept:.10g}",
                )
                data.RescaleType = "US"
            paths.append(_save(data, folder / f"IM{t * n_slices + k:05d}{suffix}", scan, edit, t, k))
    return paths


def write_mosaic(scan: Scan, folder: Path, *, edit: Edit | None = None) -> list[Path]:
    """Siemens mosaics: one file a time, the slices as tiles, the geometry of the first tile in the CSA header."""
    folder.mkdir(parents=True, exist_ok=True)
    columns, rows, n_slices, n_times = scan.shape
    n_tiles = int(np.ceil(np.sqrt(n_slices)))
    row, column, normal = _directions(scan)
    spacing = np.linalg.norm(scan.affine[:3, :3], axis=0)
    # The position in the header is where the corner of the mosaic would lie if it were one big slice.
    first = _position(scan, 0)
    corner = (
        first
        - row * spacing[0] * (n_tiles - 1) * columns / 2
        - column * spacing[1] * (n_tiles - 1) * rows / 2
    )
    sign = np.sign(np.dot(normal, np.diag([-1, -1, 1]) @ scan.affine[:3, 2]))
    slice_times = [round(1000 * scan.time_step * 0.9 * k / n_slices, 1) for k in range(n_slices)]
    paths = []
    for t in range(n_times):
        mosaic = np.zeros((n_tiles * columns, n_tiles * rows), dtype=scan.signal.dtype)
        for k in range(n_slices):
            x, y = k % n_tiles * columns, k // n_tiles * rows
            mosaic[x : x + columns, y : y + rows] = scan.signal[:, :, k, t]
        data = _image(scan, MR_STORAGE, uid_key=f"{t}")
        _geometry(data, scan, 0)
        data.ImagePositionPatient = [f"{value:.6f}" for value in corner]
        data.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "NORM", "MOSAIC"]
        _classic_tags(data, scan, t, 0)
        data.InstanceNumber = t + 1
        _pixels(data, mosaic, slope=1.0, intercept=0.0)
        block = data.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0A, "US", n_slices)
        block.add_new(0x29, "FD", slice_times)
        csa = {
            "EchoLinePosition": ("IS", [str(rows // 2)]),
            "NumberOfImagesInMosaic": ("US", [str(n_slices)]),
            "SliceNormalVector": ("FD", [f"{value:.8f}" for value in normal * sign]),
            "PhaseEncodingDirectionPositive": ("IS", ["1"]),
            "MosaicRefAcqTimes": ("FD", [f"{value:.8f}" for value in slice_times]),
            "ProtocolSliceNumber": ("IS", ["0"]),
        }
        block = data.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x08, "CS", "IMAGE NUM 4")
        block.add_new(0x09, "LO", "20200101")
        block.add_new(0x10, "OB", csa_header(csa))
        paths.append(_save(data, folder / f"MO{t:04d}.dcm", scan, edit, t, 0))
    return paths


def write_enhanced(
    scan: Scan,
    path: Path,
    *,
    edit: Edit | None = None,
    slices_first: bool = True,
    times: range | None = None,
    series: str = "",
) -> Path:
    """One enhanced MR object, its frames in the order of time then slice, or of slice then time.

    `times` picks the volumes of this object (all of them if not given), `series` gives it a series of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    columns, rows, n_slices, n_times = scan.shape
    times = times or range(n_times)
    order = [(t, k) for t in times for k in range(n_slices)]
    if not slices_first:
        order.sort(key=lambda pair: (pair[1], pair[0]))
    row, column, _ = _directions(scan)
    spacing = np.linalg.norm(scan.affine[:3, :3], axis=0)
    data = _image(scan, ENHANCED_MR_STORAGE, uid_key=f"enhanced {times.start} {times.stop}")
    if series:
        data.SeriesInstanceUID = _uid(scan, series)
    data.ImageType = ["ORIGINAL", "PRIMARY", "PERFUSION", "NONE"]
    data.NumberOfFrames = len(order)
    data.InstanceNumber = data.AcquisitionNumber = times.start + 1
    data.AcquisitionDateTime = f"20200102{_clock(scan.start + times.start * scan.time_step)}"
    data.AcquisitionDuration = scan.time_step * len(times)
    data.PulseSequenceName = "*epfid2d1"
    data.EchoPulseSequence = "SPIN" if "SE" in scan.sequence else "GRADIENT"
    data.EchoPlanarPulseSequence = "YES"
    data.MRAcquisitionType = "2D"
    data.ComplexImageComponent = "MAGNITUDE"
    data.AcquisitionContrast = "PERFUSION"
    data.VolumetricProperties = "VOLUME"
    data.BurnedInAnnotation = "NO"
    data.LossyImageCompression = "00"
    dimension = Dataset()
    dimension.DimensionOrganizationUID = _uid(scan, "dimension")
    data.DimensionOrganizationSequence = Sequence([dimension])
    data.DimensionIndexSequence = Sequence()
    time_first = scan.vendor == "siemens"
    pointers = [0x00209056, 0x00209128, 0x00209057] if time_first else [0x00209056, 0x00209057, 0x00209128]
    for pointer in pointers:
        item = Dataset()
        item.DimensionOrganizationUID = dimension.DimensionOrganizationUID
        item.DimensionIndexPointer, item.FunctionalGroupPointer = pointer, 0x00209111
        data.DimensionIndexSequence.append(item)
    shared = Dataset()
    shared.MRTimingAndRelatedParametersSequence = _item(
        RepetitionTime=1000 * (scan.repetition_time or scan.time_step), FlipAngle=90.0, EchoTrainLength=rows
    )
    shared.MREchoSequence = _item(EffectiveEchoTime=1000 * scan.echo_time)
    shared.PixelMeasuresSequence = _item(
        PixelSpacing=[f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"],
        SliceThickness=f"{spacing[2]:.6f}",
        SpacingBetweenSlices=f"{spacing[2]:.6f}",
    )
    shared.PlaneOrientationSequence = _item(
        ImageOrientationPatient=[f"{value:.8f}" for value in (*row, *column)]
    )
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    data.PerFrameFunctionalGroupsSequence = Sequence()
    stored = np.empty((len(order), rows, columns), dtype=np.uint16)
    for number, (t, k) in enumerate(order):
        slope = scan.slopes(t, k)
        stored[number] = _stored(scan.signal[:, :, k, t], slope=slope, intercept=scan.intercept)
        frame = Dataset()
        when = f"20200102{_clock(scan.start + t * scan.time_step)}"
        frame.FrameContentSequence = _item(
            FrameAcquisitionDateTime=when,
            FrameReferenceDateTime=when,
            FrameAcquisitionDuration=1000 * scan.time_step,
            StackID="1",
            InStackPositionNumber=k + 1,
            TemporalPositionIndex=t + 1,
            FrameAcquisitionNumber=t + 1,
            DimensionIndexValues=[1, t + 1, k + 1] if time_first else [1, k + 1, t + 1],
        )
        frame.PlanePositionSequence = _item(
            ImagePositionPatient=[f"{value:.6f}" for value in _position(scan, k)]
        )
        frame.PixelValueTransformationSequence = _item(
            RescaleIntercept=f"{scan.intercept:.10g}", RescaleSlope=f"{slope:.10g}", RescaleType="US"
        )
        frame.FrameVOILUTSequence = _item(WindowCenter="500", WindowWidth="1000")
        data.PerFrameFunctionalGroupsSequence.append(frame)
    _pixels(data, scan.signal[:, :, 0, 0], slope=1.0, intercept=0.0)
    data.PixelData = stored.tobytes()
    return _save(data, path, scan, edit, times.start, 0)


def another_uid(uid: str, *parts: object) -> UID:
    """A UID that follows from another one: for an edit that makes a second object of the same place and time."""
    return generate_uid(prefix="1.2.826.0.1.3680043.8.498.", entropy_srcs=[str(uid), *map(str, parts)])


def csa_header(elements: dict[str, tuple[str, list[str]]]) -> bytes:
    """Siemens' private header, second form: named elements with their values as text."""
    out = b"SV10\x04\x03\x02\x01" + struct.pack("<II", len(elements), 77)
    for name, (vr, values) in elements.items():
        n_items = max(len(values), 6)
        out += name.encode().ljust(64, b"\0")
        out += struct.pack("<i4siii", len(values), vr.encode().ljust(4, b"\0"), 0, n_items, 77)
        for index in range(n_items):
            text = values[index].encode() + b"\0" if index < len(values) else b""
            out += struct.pack("<iiii", len(text), len(text), 77, len(text))
            out += text + b"\0" * (-len(text) % 4)
    return out + b"\0" * 4


def oblique_affine(
    shape: tuple[int, int, int],
    *,
    spacing: tuple[float, float, float] = (3.0, 3.0, 5.0),
    angles: tuple[float, float, float] = (0.0, 0.0, 0.0),
    plane: str = "axial",
    feet_first: bool = False,
) -> np.ndarray:
    """Affine (column, row, slice) to RAS+ of an axial, sagittal or coronal stack, turned by angles in degrees."""
    # Columns run to the patient's left, rows to the back or the feet, as viewers expect them.
    axes = {
        "axial": [(-1, 0, 0), (0, -1, 0), (0, 0, 1)],
        "sagittal": [(0, -1, 0), (0, 0, -1), (-1, 0, 0)],
        "coronal": [(-1, 0, 0), (0, 0, -1), (0, -1, 0)],
    }[plane]
    directions = np.array(axes, dtype=float).T
    if feet_first:
        directions[:, 2] *= -1
    a, b, c = np.deg2rad(angles)
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn_z @ turn_y @ turn_x @ directions * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2) + np.array([2.0, -7.0, 11.0])
    return affine


def _image(scan: Scan, sop_class: UID, *, uid_key: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = _uid(scan, scan.series, uid_key)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = _uid(scan, "study")
    data.SeriesInstanceUID = _uid(scan, scan.series)
    data.FrameOfReferenceUID = _uid(scan, "frame")
    data.PatientName, data.PatientID = PATIENT_NAME, PATIENT_ID
    data.PatientBirthDate, data.PatientSex, data.PatientAge = BIRTH_DATE, "F", "061Y"
    data.AccessionNumber, data.StudyID, data.ReferringPhysicianName = ACCESSION, "1", ""
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = "20200102"
    data.StudyTime, data.SeriesTime = "100000", "101400"
    data.Modality, data.BodyPartExamined, data.PatientPosition = "MR", "BRAIN", "HFS"
    data.Manufacturer = {
        "siemens": "SIEMENS", "ge": "GE MEDICAL SYSTEMS", "philips": "Philips Medical Systems"
    }[scan.vendor]  # fmt: skip
    data.ManufacturerModelName, data.MagneticFieldStrength = "Phantom", "3"
    data.SoftwareVersions, data.DeviceSerialNumber = "syngo MR B17", "12345"
    data.ImagingFrequency = "123.2"
    data.SeriesNumber, data.SeriesDescription, data.ProtocolName = (
        scan.series_number,
        scan.description,
        scan.description,
    )
    data.ContrastBolusAgent = "Gadobutrol"
    data.PositionReferenceIndicator = ""
    for keyword, value in scan.patient.items():
        setattr(data, keyword, value)
    return data


def _classic_tags(data: Dataset, scan: Scan, t: int, k: int) -> None:
    _, rows, n_slices, n_times = scan.shape
    data.ImageType = data.get("ImageType") or list(scan.image_type)
    data.ScanningSequence, data.SequenceVariant, data.ScanOptions = list(scan.sequence), "SK", "FS"
    data.MRAcquisitionType, data.SequenceName = "2D", "*epfid2d1_64"
    data.RepetitionTime = f"{1000 * (scan.repetition_time or scan.time_step):g}"
    data.EchoTime, data.FlipAngle = f"{1000 * scan.echo_time:g}", "90"
    data.EchoNumbers, data.EchoTrainLength, data.NumberOfAverages = 1, rows, "1"
    data.AcquisitionMatrix = [scan.shape[0], 0, 0, rows]
    data.InPlanePhaseEncodingDirection = "COL"
    data.AcquisitionNumber = 1
    data.AcquisitionTime = data.ContentTime = _clock(scan.start)
    now = scan.start + t * scan.time_step
    if scan.vendor == "siemens":
        data.AcquisitionTime = _clock(now + 0.9 * scan.time_step * k / n_slices)
        data.ContentTime = _clock(now + 3)
        data.AcquisitionNumber, data.InstanceNumber = t + 1, t * n_slices + k + 1
    elif scan.vendor == "ge":
        data.InstanceNumber = k * n_times + t + 1  # all times of a slice before the next slice
        data.TriggerTime = f"{1000 * t * scan.time_step:g}"
        data.TemporalPositionIdentifier, data.NumberOfTemporalPositions = t + 1, n_times
        block = data.private_block(0x0021, "GEMS_RELA_01", create=True)
        block.add_new(0x4F, "SS", n_slices)
        data.ImagesInAcquisition = n_slices * n_times
    else:
        data.InstanceNumber = k * n_times + t + 1
        data.TemporalPositionIdentifier, data.NumberOfTemporalPositions = t + 1, n_times
        data.TriggerTime = f"{1000 * t * scan.time_step:g}"
        block = data.private_block(0x2001, "Philips Imaging DD 001", create=True)
        block.add_new(0x0A, "IS", k + 1)
        block.add_new(0x18, "SL", n_slices)
        block.add_new(0x81, "IS", n_times)
        block = data.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0E, "FL", 0.01 / scan.slopes(t, k))  # the product of both slopes is the series' own
        block.add_new(0xA0, "FL", t * scan.time_step)


def _geometry(data: Dataset, scan: Scan, k: int) -> None:
    row, column, normal = _directions(scan)
    spacing = np.linalg.norm(scan.affine[:3, :3], axis=0)
    position = _position(scan, k)
    data.ImageOrientationPatient = [f"{value:.8f}" for value in (*row, *column)]
    data.ImagePositionPatient = [f"{value:.6f}" for value in position]
    data.PixelSpacing = [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"]
    data.SliceThickness = data.SpacingBetweenSlices = f"{spacing[2]:.6f}"
    data.SliceLocation = f"{np.dot(normal, position):.4f}"


def _directions(scan: Scan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lps = np.diag([-1.0, -1.0, 1.0]) @ scan.affine[:3, :3]
    row, column = (lps[:, i] / np.linalg.norm(lps[:, i]) for i in (0, 1))
    return row, column, np.cross(row, column)


def _position(scan: Scan, k: int) -> np.ndarray:
    return np.diag([-1.0, -1.0, 1.0]) @ (scan.affine @ [0, 0, k, 1])[:3]


def _stored(image: np.ndarray, *, slope: float, intercept: float) -> np.ndarray:
    return np.clip(np.round((image.T - intercept) / slope), 0, 65535).astype(np.uint16)


def _pixels(data: Dataset, image: np.ndarray, *, slope: float, intercept: float) -> None:
    stored = _stored(image, slope=slope, intercept=intercept)
    data.Rows, data.Columns = stored.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelData = stored.tobytes()
    data["PixelData"].VR = "OW"


def _save(data: Dataset, path: Path, scan: Scan, edit: Edit | None, t: int, k: int) -> Path:
    if edit is not None:
        edit(data, t, k)
    if scan.syntax.is_compressed and not scan.syntax.is_deflated:
        data.compress(scan.syntax, generate_instance_uid=False)
        data.save_as(path, enforce_file_format=True)
    else:
        data.file_meta.TransferSyntaxUID = scan.syntax
        data.save_as(
            path, implicit_vr=scan.syntax.is_implicit_VR, little_endian=True, enforce_file_format=True
        )
    return path


def _item(**values: Any) -> Sequence:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return Sequence([item])


def _uid(scan: Scan, *parts: str) -> UID:
    return generate_uid(prefix="1.2.826.0.1.3680043.8.498.", entropy_srcs=[scan.name, *parts])


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{round((seconds - whole) * 1e6):06d}"
