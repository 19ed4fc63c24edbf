"""Where a series in NIfTI came from in DICOM: what is needed to write a map back into the same study."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from perfmap.errors import InputError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
Kind = Literal["classic", "mosaic", "enhanced"]


@dataclass(frozen=True)
class SliceSource:
    """One slice of one volume, where it lies on disk and where in the patient.

    Attributes
    ----------
    path : Path
        File that holds it. Several slices share a file in mosaics and enhanced objects.
    frame : int or None
        Number of the frame in an enhanced object, the first being 1 as in ReferencedFrameNumber; None in classic
        files and in mosaics, where a tile is no frame.
    sop_instance_uid : str
        Of that file.
    position : tuple of float
        Centre of the slice's first pixel, mm, patient coordinates of DICOM (LPS+). For a mosaic that of the tile.
    """

    path: Path
    frame: int | None
    sop_instance_uid: str
    position: tuple[float, float, float]


@dataclass(frozen=True)
class DicomSource:
    """The DICOM origin of one staged 4D series.

    Attributes
    ----------
    kind : {"classic", "mosaic", "enhanced"}
    study_instance_uid, frame_of_reference_uid, sop_class_uid : str
        ``""`` where the source has none.
    series_instance_uids : tuple of str
        More than one where a scanner wrote one acquisition as several series.
    slices : tuple of SliceSource
        The slices of one volume before the bolus, in the order of the third axis of the NIfTI file.
    orientation : tuple of float
        Direction cosines of a row and of a column (ImageOrientationPatient), LPS+.
    pixel_spacing : tuple of float
        Distance of rows and of columns, mm (PixelSpacing).
    rows, columns : int
        Matrix of one slice (of one tile in a mosaic).
    sop_instance_uids : tuple of str
        Of every object that the series was made from, sorted.
    lossy : bool
        Whether any of them was compressed with loss.
    notes : tuple of str
        What was decided or put right on the way in, one sentence each.
    """

    kind: Kind
    study_instance_uid: str
    series_instance_uids: tuple[str, ...]
    frame_of_reference_uid: str
    sop_class_uid: str
    slices: tuple[SliceSource, ...]
    orientation: tuple[float, float, float, float, float, float]
    pixel_spacing: tuple[float, float]
    rows: int
    columns: int
    sop_instance_uids: tuple[str, ...]
    lossy: bool = False
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.slices:
            raise InputError("a DICOM source without slices; give the folder of the series")

    def header(self, k: int = 0) -> pydicom.Dataset:
        """Header of the object that holds slice `k`, without pixels; read anew from disk at each call.

        Raises
        ------
        InputError
            If the file is gone or no longer DICOM.
        """
        path = self.slices[k].path
        try:
            return pydicom.dcmread(path, stop_before_pixels=True)
        except (OSError, InvalidDicomError) as error:
            raise InputError(
                f"an object of the source series can no longer be read ({type(error).__name__}); "
                "keep the export until the run has ended"
            ) from error

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel (column, row, slice) to RAS+ mm, from the positions of the first and the last slice."""
        return ras_affine(
            [piece.position for piece in self.slices], self.orientation, self.pixel_spacing, thickness=1.0
        )


def ras_affine(
    positions: list[tuple[float, float, float]],
    orientation: tuple[float, ...],
    pixel_spacing: tuple[float, float],
    *,
    thickness: float,
) -> NDArray[np.float64]:
    """Affine of a stack of slices: voxel (column, row, slice) to RAS+ mm.

    Parameters
    ----------
    positions : list of 3 floats
        ImagePositionPatient of each slice, LPS+ mm, evenly spaced.
    orientation : 6 floats
        ImageOrientationPatient.
    pixel_spacing : 2 floats
        PixelSpacing, mm: distance of rows, distance of columns.
    thickness : float
        Step between slices, mm, used for a stack of one.

    Returns
    -------
    ndarray, shape (4, 4)
    """
    row, column = np.asarray(orientation[:3], dtype=float), np.asarray(orientation[3:], dtype=float)
    first = np.asarray(positions[0], dtype=float)
    if len(positions) > 1:
        step = (np.asarray(positions[-1], dtype=float) - first) / (len(positions) - 1)
    else:
        step = np.cross(row, column) * thickness
    affine = np.eye(4)
    affine[:3, 0] = row * pixel_spacing[1]
    affine[:3, 1] = column * pixel_spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = first
    return LPS_TO_RAS @ affine


def source_from_folder(folder: Path) -> DicomSource:
    """Describe a folder that holds one series of classic files and nothing else.

    The slices are those that were acquired first at each position, sorted along the slice normal.

    Raises
    ------
    InputError
        If the folder holds no such files, or more than one series.
    """
    headers = []
    for path in sorted(folder.iterdir()):
        if path.is_file():
            try:
                headers.append((path, pydicom.dcmread(path, stop_before_pixels=True)))
            except InvalidDicomError:
                continue
    usable = [(path, data) for path, data in headers if "ImagePositionPatient" in data]
    if not usable:
        raise InputError(f"{folder.name} holds no classic DICOM images with a position; give a series folder")
    series = {str(data.SeriesInstanceUID) for _, data in usable}
    if len(series) > 1:
        raise InputError(f"{folder.name} holds {len(series)} series, wanted one; give the folder of one")
    first = usable[0][1]
    orientation = tuple(float(value) for value in first.ImageOrientationPatient)
    normal = np.cross(orientation[:3], orientation[3:])
    stacks: dict[float, list[tuple[int, SliceSource]]] = {}
    for path, data in usable:
        position = tuple(float(value) for value in data.ImagePositionPatient)
        piece = SliceSource(path, None, str(data.SOPInstanceUID), (position[0], position[1], position[2]))
        key = round(float(np.dot(normal, position)), 2)
        stacks.setdefault(key, []).append((int(data.get("InstanceNumber") or 0), piece))
    slices = tuple(min(stacks[key], key=lambda pair: pair[0])[1] for key in sorted(stacks))
    spacing = first.PixelSpacing
    return DicomSource(
        kind="classic",
        study_instance_uid=str(first.get("StudyInstanceUID", "")),
        series_instance_uids=tuple(series),
        frame_of_reference_uid=str(first.get("FrameOfReferenceUID", "")),
        sop_class_uid=str(first.get("SOPClassUID", "")),
        slices=slices,
        orientation=(
            orientation[0],
            orientation[1],
            orientation[2],
            orientation[3],
            orientation[4],
            orientation[5],
        ),
        pixel_spacing=(float(spacing[0]), float(spacing[1])),
        rows=int(first.Rows),
        columns=int(first.Columns),
        sop_instance_uids=tuple(sorted(str(data.SOPInstanceUID) for _, data in usable)),
        lossy=any(str(data.get("LossyImageCompression", "")) == "01" for _, data in usable),
    )
