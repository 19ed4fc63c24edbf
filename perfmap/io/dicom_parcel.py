"""What is about to be sent, looked at once more: one patient, one study, nothing changed, no network map alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from perfmap.errors import InputError
from perfmap.io.dicom_out_header import MANUFACTURER, object_uid


@dataclass(frozen=True)
class Piece:
    """One object of a parcel; `method` is ``network`` or ``conventional``."""

    path: Path
    sop_class: UID
    sop_instance_uid: str
    series: str
    source_series: str
    method: str


@dataclass(frozen=True)
class Parcel:
    """Objects of one study, conventional maps first, so that a network's map never arrives before its companion.

    Attributes
    ----------
    study_instance_uid, patient_id : str
    pieces : tuple of Piece
    """

    study_instance_uid: str
    patient_id: str
    pieces: tuple[Piece, ...]


def read_parcel(folder: Path) -> Parcel:
    """Read the headers of all DICOM objects below a folder and check that they may be sent together.

    Parameters
    ----------
    folder : Path
        As ``perfmap predict --dicom`` wrote it, or the folder of one form in it.

    Raises
    ------
    InputError
        If there is none, one was not written by perfmap or was changed since, they belong to more than one study
        or patient, or a network's map lacks its conventional companion.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the one that 'perfmap predict --dicom' wrote")
    paths = sorted(path for path in folder.rglob("*.dcm") if path.is_file())
    if not paths:
        raise InputError(f"{folder} holds no .dcm file; give the folder that 'perfmap predict --dicom' wrote")
    headers = [_header(path, folder) for path in paths]
    identities = {(str(header.StudyInstanceUID), str(header.PatientID)) for header in headers}
    if len(identities) > 1:
        studies, patients = (len(set(column)) for column in zip(*identities, strict=True))
        raise InputError(
            f"{folder} holds objects of {studies} studies and {patients} patients, wanted one of each; "
            "send them one by one"
        )
    pieces = [_piece(path, header) for path, header in zip(paths, headers, strict=True)]
    _refuse_lonely_networks(pieces)
    study, patient = identities.pop()
    return Parcel(study, patient, tuple(sorted(pieces, key=lambda p: (p.method == "network", str(p.path)))))


def _header(path: Path, folder: Path) -> Dataset:
    name = path.relative_to(folder)
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except (OSError, InvalidDicomError) as error:
        raise InputError(
            f"{name} cannot be read as DICOM ({type(error).__name__}); write the maps again"
        ) from error
    if header.get("Manufacturer") != MANUFACTURER:
        raise InputError(f"{name} was not written by perfmap; 'perfmap send' sends nothing else")
    if not header.get("StudyInstanceUID") or "PatientID" not in header:
        raise InputError(
            f"{name} has no StudyInstanceUID or no PatientID; write the maps again from a whole source"
        )
    if header.SOPInstanceUID != object_uid(header, int(header.InstanceNumber) - 1):
        raise InputError(
            f"study or patient of {name} are not those that it was written with; "
            "write the maps again from the right source"
        )
    return header


def _piece(path: Path, header: Dataset) -> Piece:
    return Piece(
        path=path,
        sop_class=header.SOPClassUID,
        sop_instance_uid=str(header.SOPInstanceUID),
        series=str(header.SeriesInstanceUID),
        source_series=str(header.ReferencedSeriesSequence[0].SeriesInstanceUID),
        method=str(header.ManufacturerModelName).partition(" ")[0],
    )


def _refuse_lonely_networks(pieces: Sequence[Piece]) -> None:
    """Each form of a network's map needs as many objects of a conventional one from the same source beside it."""
    counts: dict[tuple[UID, str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for piece in pieces:
        counts[piece.sop_class, piece.source_series, piece.method][piece.series] += 1
    for (sop_class, source, method), series in counts.items():
        if method == "network":
            companions = counts.get((sop_class, source, "conventional"), {})
            if max(companions.values(), default=0) < max(series.values()):
                raise InputError(
                    f"a network's map ({sop_class.name}) lacks the whole conventional map beside it, and is never sent "
                    "alone; give the folder with both"
                )
