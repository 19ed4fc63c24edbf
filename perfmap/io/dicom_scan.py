"""Scan an export: every DICOM header below a folder or in an archive, grouped by series.

Headers only, one file at a time. Records of single images are kept for MR series alone; of everything else the scan
keeps counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from perfmap.errors import InputError
from perfmap.io.dicom_files import export_files
from perfmap.io.dicom_frames import MR_CLASSES, Frame, b_value_of, encoding_of, frames_of
from perfmap.io.dicom_header import NotDicom, read_header
from perfmap.io.dicom_values import integer, number, text

CONTRAST = ("FlipAngle", "MagneticFieldStrength")
"""What tells how much T1 the images hold, degrees and T; sidecars have the same names for them."""


@dataclass
class ScannedSeries:
    """One SeriesInstanceUID of an export, as its headers tell.

    Attributes
    ----------
    study_uid, series_uid, frame_of_reference_uid, sop_class_uid : str
    header : dict
        Attributes of the first header that the choice needs, none of them names a patient.
    secrets : frozenset of str
        Words of the header that name the patient: name, ID, birth date, accession number. Never shown; what holds
        one is not shown either.
    patient_id : str
        Only for names of files where the user wants them so.
    frames : list of Frame
        Whole MR images.
    n_files, n_duplicates, n_truncated : int
        Files of the series, those met a second time, those that end before their last pixel.
    newest : float
        When its newest file was changed, s since the epoch.
    syntaxes : set of str
        Transfer syntaxes.
    lossy : bool
    b_values : set of float
        Diffusion weightings above 0.
    """

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    sop_class_uid: str
    header: dict[str, Any]
    secrets: frozenset[str]
    patient_id: str = field(default="", repr=False)
    frames: list[Frame] = field(default_factory=list)
    n_files: int = 0
    n_duplicates: int = 0
    n_truncated: int = 0
    newest: float = 0.0
    syntaxes: set[str] = field(default_factory=set)
    lossy: bool = False
    b_values: set[float] = field(default_factory=set)


@dataclass(frozen=True)
class Scan:
    """What lies in an export.

    Attributes
    ----------
    series : tuple of ScannedSeries
        By study, series number and UID.
    left : dict
        Why files were left, and how many.
    n_files : int
        Files looked at.
    """

    series: tuple[ScannedSeries, ...]
    left: dict[str, int]
    n_files: int


def scan_export(path: Path, *, on_file: Callable[[int], None] = lambda n_files: None) -> Scan:
    """Read the headers of an export.

    Parameters
    ----------
    path : Path
        A folder, a zip archive, a DICOMDIR (its folder is scanned), or one DICOM file.
    on_file : callable
        Called with the number of files looked at.

    Raises
    ------
    InputError
        If the export cannot be read or holds a decompression bomb.
    """
    if path.is_file() and path.name.upper() == "DICOMDIR":
        path = path.parent
    found: dict[str, ScannedSeries] = {}
    seen: set[int] = set()
    left: Counter[str] = Counter()
    shared: dict[Any, Any] = {}
    n_files = 0
    for file, stream in export_files(path, left):
        n_files += 1
        on_file(n_files)
        try:
            data, syntax, whole = read_header(stream, file.size)
        except NotDicom as reason:
            left[str(reason)] += 1
            continue
        sop_class = text(data, "SOPClassUID")
        uid = text(data, "SeriesInstanceUID")
        if not uid:
            left["DICOM without a series"] += 1
            continue
        series = found.get(uid)
        if series is None:
            try:
                series = found[uid] = _new_series(data, uid, sop_class)
            except (
                Exception
            ):  # values are decoded where they are asked for, and pydicom raises nearly anything
                left["damaged DICOM"] += 1
                continue
        series.n_files += 1
        series.newest = max(series.newest, file.modified)
        key = hash((uid, text(data, "SOPInstanceUID")))
        if key in seen:
            series.n_duplicates += 1
            continue
        if sop_class not in MR_CLASSES:
            seen.add(key)
            continue
        if not whole:
            series.n_truncated += 1
            continue
        seen.add(key)  # a truncated file does not hide a whole one of the same name
        series.syntaxes.add(syntax)
        try:
            b_value = b_value_of(data)
            frames = frames_of(data, file, lambda value: shared.setdefault(value, value))
        except InputError:
            raise
        except Exception:
            left["damaged DICOM"] += 1
            continue
        series.lossy |= text(data, "LossyImageCompression") == "01"
        if b_value:
            series.b_values.add(b_value)
        series.frames += frames
    ordered = sorted(found.values(), key=lambda s: (s.study_uid, s.header["SeriesNumber"] or 0, s.series_uid))
    return Scan(tuple(ordered), dict(left), n_files)


def _new_series(data: Dataset, uid: str, sop_class: str) -> ScannedSeries:
    header: dict[str, Any] = {
        name: text(data, name)
        for name in (
            "Modality",
            "Manufacturer",
            "ManufacturerModelName",
            "ImageType",
            "SeriesDescription",
            "ProtocolName",
            "ScanningSequence",
            "SequenceVariant",
            "SequenceName",
            "EchoPulseSequence",
            "EchoPlanarPulseSequence",
            "MRAcquisitionType",
            "ContrastBolusAgent",
            "PatientAge",
        )
    }
    for name in ("SeriesNumber", "SamplesPerPixel", "NumberOfTemporalPositions", "ImagesInAcquisition"):
        header[name] = integer(data, name)
    for name in ("RepetitionTime", "TemporalResolution", "AcquisitionDuration", *CONTRAST):
        header[name] = number(data, name)
    header["encoding"] = encoding_of(data)
    shared = (data.get("SharedFunctionalGroupsSequence") or [None])[0]
    if shared is not None:
        timing = (shared.get("MRTimingAndRelatedParametersSequence") or [None])[0]
        for name in ("RepetitionTime", "FlipAngle"):
            if header[name] is None:
                header[name] = number(timing, name)
    return ScannedSeries(
        study_uid=text(data, "StudyInstanceUID"),
        series_uid=uid,
        frame_of_reference_uid=text(data, "FrameOfReferenceUID"),
        sop_class_uid=sop_class,
        header=header,
        secrets=_secrets(data),
        patient_id=text(data, "PatientID"),
    )


def _secrets(data: Dataset) -> frozenset[str]:
    """Words that name the patient, in lower case; of one Latin letter none, for every text holds them."""
    words = text(data, "PatientName").replace("^", " ").replace("=", " ").split()
    words += [text(data, name) for name in ("PatientID", "AccessionNumber", "PatientBirthDate")]
    named = {word.strip().lower() for word in words}
    return frozenset(word for word in named if len(word) >= 2 or (word and not word.isascii()))
