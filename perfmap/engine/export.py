"""From an export to cases: which series are DSC series, why the others are not, and the way of one to NIfTI."""

from __future__ import annotations

import hashlib
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from perfmap.engine.export_choice import (
    choose_stack,
    is_long_enough,
    is_motion_corrected,
    notes_of,
    reason_by_curve,
    reason_left,
    refuse_jumping_curve,
    shown,
    slice_curve,
)
from perfmap.errors import InputError
from perfmap.io.dicom_convert import Staged, convert
from perfmap.io.dicom_files import minutes_since
from perfmap.io.dicom_scan import ScannedSeries, scan_export
from perfmap.io.dicom_stack import Arranged, arrange, stacks_of
from perfmap.io.dicom_time import TimeAxis, measure_time_axis
from perfmap.io.nifti import MIN_VOLUMES


@dataclass(frozen=True)
class DicomCase:
    """One DSC acquisition of an export.

    Attributes
    ----------
    name : str
        For files: a pseudonym that follows from the UIDs, or the PatientID where names are kept.
    number : str
        Of the series, as `inspect` shows it.
    arranged : Arranged
    axis : TimeAxis
    series : tuple of ScannedSeries
        One, or the several that one acquisition was stored as.
    notes : tuple of str
        What a reader of the map must know, and what was decided.
    incomplete : str
        Why more of it may still arrive; ``""`` if nothing says so.
    """

    name: str
    number: str
    arranged: Arranged
    axis: TimeAxis
    series: tuple[ScannedSeries, ...]
    notes: tuple[str, ...]
    incomplete: str = ""

    @property
    def lossy(self) -> bool:
        """Whether its images were compressed with loss."""
        return any(one.lossy for one in self.series)


@dataclass(frozen=True)
class SeriesLine:
    """A series of an export as it is reported. Texts that name the patient are left out.

    Attributes
    ----------
    study : int
        Number of the study in the export, from 1.
    number : str
        SeriesNumber.
    description, modality : str
    n_files, n_slices, n_volumes : int
    echo_times_ms : tuple of float
    time_step_s : float or None
    taken : bool
    refused : bool
        It looked like a DSC series, but something is wrong with it.
    reason : str
        Why it was taken, left or refused.
    case : str
        Name of the case made from it, or ``""``.
    """

    study: int
    number: str
    description: str
    modality: str
    n_files: int
    n_slices: int
    n_volumes: int
    echo_times_ms: tuple[float, ...]
    time_step_s: float | None
    taken: bool
    refused: bool
    reason: str
    case: str = ""


@dataclass(frozen=True)
class Export:
    """What was found in an export.

    Attributes
    ----------
    cases : tuple of DicomCase
    series : tuple of SeriesLine
        Every series, in the order of studies and numbers.
    left_files : dict
        Why single files were left, and how many.
    n_files : int
        Files looked at.
    """

    cases: tuple[DicomCase, ...]
    series: tuple[SeriesLine, ...]
    left_files: dict[str, int]
    n_files: int


@dataclass
class _Candidate:
    """A series, or several joined, on the way to becoming a case."""

    series: tuple[ScannedSeries, ...]
    reason: str = ""
    refused: bool = False
    notes: tuple[str, ...] = ()
    arranged: Arranged | None = None
    axis: TimeAxis | None = None
    curve: NDArray[np.float64] | None = field(default=None, repr=False)

    @property
    def first(self) -> ScannedSeries:
        return self.series[0]

    @property
    def is_open(self) -> bool:
        return not self.reason and self.arranged is not None


def find_cases(
    path: Path,
    *,
    prefer: Literal["original", "moco"] = "original",
    keep_phi: bool = False,
    quiet_minutes: float = 0.0,
    time_step: float | None = None,
    now: float | None = None,
    on_file: Callable[[int], None] = lambda n_files: None,
) -> Export:
    """Find the DSC series of an export.

    Parameters
    ----------
    path : Path
        A folder, a zip archive, a DICOMDIR or one DICOM file.
    prefer : {"original", "moco"}
        Which of two series to take where the scanner stored one corrected for motion beside the original.
    keep_phi : bool
        Whether names may hold the PatientID.
    quiet_minutes : float
        A series with a file newer than this is still arriving.
    time_step : float, optional
        Interval between volumes given by the user, s; settles contradictions of the headers.
    now : float, optional
        Time to compare with, s since the epoch; the clock's if not given.
    on_file : callable
        Called with the number of files looked at.

    Raises
    ------
    InputError
        If the export cannot be read, or holds a decompression bomb. A series that is refused is no error: its line
        says why.
    """
    scan = scan_export(path, on_file=on_file)
    candidates = [_judge((one,), time_step=time_step) for one in scan.series]
    candidates = _join_split(candidates, time_step=time_step)
    _drop_twins(candidates, prefer=prefer)
    studies = list(dict.fromkeys(one.study_uid for one in scan.series))
    cases, lines = [], []
    for candidate in candidates:
        case = None
        if candidate.is_open:
            case = _case(candidate, keep_phi=keep_phi, quiet_minutes=quiet_minutes, now=now)
            cases.append(case)
        lines += [
            _line(candidate, one, studies.index(one.study_uid) + 1, case, keep_phi=keep_phi)
            for one in candidate.series
        ]
    return Export(tuple(_distinct(cases)), tuple(lines), scan.left, scan.n_files)


def the_case(export: Export) -> DicomCase:
    """The only case of an export.

    Raises
    ------
    InputError
        If there is none, with the reason of the series that came nearest, or more than one.
    """
    if len(export.cases) == 1:
        return export.cases[0]
    if export.cases:
        numbers = ", ".join(case.number for case in export.cases)
        raise InputError(
            f"{len(export.cases)} DSC series in the export (series {numbers}), wanted one; give the folder of one"
        )
    refused = [line for line in export.series if line.refused]
    if refused:
        told = "; ".join(f"series {line.number}: {line.reason}" for line in refused)
        raise InputError(f"no usable DSC series in the export: {told}")
    what = f"{len(export.series)} series" if export.series else "no DICOM series"
    raise InputError(
        f"no DSC series in the export: {export.n_files} files, {what}; perfmap inspect says why each was left"
    )


def stage(case: DicomCase, folder: Path) -> Staged:
    """Bring a case to NIfTI below `folder`, which must not hold one of that name.

    Returns
    -------
    Staged
        The NIfTI file, its sidecar, and the `DicomSource` for writing maps back.

    Raises
    ------
    InputError
        If the conversion cannot be reconciled with the headers.
    """
    try:
        return convert(case.arranged, list(case.series), case.axis, folder, name=case.name, notes=case.notes)
    except (BadZipFile, zlib.error, EOFError) as error:
        raise InputError(
            f"an image of the export is damaged ({type(error).__name__}); export or copy it again"
        ) from error


@contextmanager
def staged_case(case: DicomCase) -> Iterator[Staged]:
    """Bring a case to NIfTI in a temporary folder, which is gone when the block ends. Raises as `stage` does."""
    with tempfile.TemporaryDirectory(prefix="perfmap-", ignore_cleanup_errors=True) as folder:
        yield stage(case, Path(folder) / case.name)


def _judge(series: tuple[ScannedSeries, ...], *, time_step: float | None) -> _Candidate:
    candidate = _Candidate(series)
    candidate.reason = next((reason for one in series if (reason := reason_left(one))), "")
    if candidate.reason:
        return candidate
    try:
        stack, echoes = choose_stack(series)
        if not is_long_enough(stack):
            candidate.reason = f"{_volumes(stack.n_volumes)}, wanted at least {MIN_VOLUMES}"
            return candidate
        candidate.arranged = arrange(stack)
        candidate.notes = (*notes_of(series[0]), *echoes)
        axis = measure_time_axis(candidate.arranged.order, series[0].header, time_step=time_step)
        candidate.axis = axis
        candidate.curve = slice_curve(candidate.arranged)
        if candidate.curve is not None:
            refuse_jumping_curve(candidate.curve, candidate.arranged.order)
    except InputError as error:
        candidate.reason, candidate.refused = str(error), True
        return candidate
    if candidate.curve is not None:
        candidate.reason = reason_by_curve(candidate.curve, time_step=axis.time_step)
    return candidate


def _join_split(candidates: list[_Candidate], *, time_step: float | None) -> list[_Candidate]:
    """Put series together that are parts of one acquisition: same place, protocol and frame of reference, one time."""
    groups: dict[tuple[object, ...], list[_Candidate]] = {}
    for candidate in candidates:
        if not reason_left(candidate.first):
            groups.setdefault(_kind(candidate.first), []).append(candidate)
    joined: dict[int, _Candidate | None] = {}
    for group in groups.values():
        if len(group) < 2:
            continue
        whole = _judge(tuple(one for part in group for one in part.series), time_step=time_step)
        if whole.axis is None or not whole.axis.verified or whole.reason:
            continue  # overlapping in time, with a pause between, or not one series: left apart
        whole.notes = (
            *whole.notes,
            f"one acquisition stored as {len(group)} series was joined: same place and protocol, one run of time",
        )
        for part in group:
            joined[id(part)] = None
        joined[id(group[0])] = whole
    kept = [joined.get(id(candidate), candidate) for candidate in candidates]
    return [candidate for candidate in kept if candidate is not None]


def _kind(series: ScannedSeries) -> tuple[object, ...]:
    stack = max(stacks_of(series.frames), key=lambda one: len(one.frames))
    frame = stack.frames[0]
    words = sorted(set(series.header["ImageType"].split("\\")) - {"MFSPLIT"})
    return (
        series.study_uid,
        series.frame_of_reference_uid,
        series.header["ProtocolName"],
        tuple(words),
        (frame.rows, frame.columns, frame.n_tiles, stack.n_positions),
        tuple(np.round(frame.orientation or (), 3)),
        frame.echo_time,
    )


def _drop_twins(candidates: list[_Candidate], *, prefer: str) -> None:
    """Of several series made from one acquisition keep one: the original, or the one corrected for motion."""
    open_ones = [candidate for candidate in candidates if candidate.is_open]
    wanted_first = sorted(
        open_ones,
        key=lambda c: (
            is_motion_corrected(c.first) != (prefer == "moco"),
            not c.first.header["ImageType"].startswith("ORIGINAL"),
            c.first.header["SeriesNumber"] or 0,
        ),
    )
    for position, candidate in enumerate(wanted_first):
        for better in wanted_first[:position]:
            if better.is_open and _same_acquisition(better, candidate):
                what = (
                    "the motion-corrected twin" if is_motion_corrected(candidate.first) else "another version"
                )
                candidate.reason = f"{what} of series {_number(better)}, which is taken"
                break


def _same_acquisition(one: _Candidate, other: _Candidate) -> bool:
    a, b = one.arranged, other.arranged
    if a is None or b is None or one.first.study_uid != other.first.study_uid or a.n_volumes != b.n_volumes:
        return False
    start, also = a.order.grid[0][0].acquisition_time, b.order.grid[0][0].acquisition_time
    if start is not None and also is not None:
        return abs(start - also) < 0.5
    if one.curve is None or other.curve is None:
        return False
    return float(np.corrcoef(one.curve, other.curve)[0, 1]) > 0.98


def _case(candidate: _Candidate, *, keep_phi: bool, quiet_minutes: float, now: float | None) -> DicomCase:
    if candidate.arranged is None or candidate.axis is None:
        raise ValueError("a candidate without an order cannot become a case")
    uids = "".join(sorted(one.series_uid for one in candidate.series))
    digest = hashlib.sha256(f"{candidate.first.study_uid} {uids}".encode()).hexdigest()[:12]
    name = f"case-{digest}"
    if keep_phi and candidate.first.patient_id:
        name = (
            f"{re.sub(r'[^A-Za-z0-9-]+', '-', candidate.first.patient_id).strip('-')[:40] or 'case'}-{digest}"
        )
    incomplete = ""
    age = minutes_since(max(one.newest for one in candidate.series), now)
    planned, held = candidate.first.header["NumberOfTemporalPositions"] or 0, candidate.arranged.n_volumes
    notes = candidate.notes
    if age < quiet_minutes:
        incomplete = f"still arriving: its newest file is {age:.1f} minutes old, wanted {quiet_minutes:g}"
    elif planned > held:
        notes = (*notes, f"{held} of {planned} planned volumes are there; taken for an aborted scan")
    return DicomCase(
        name, _number(candidate), candidate.arranged, candidate.axis, candidate.series, notes, incomplete
    )


def _distinct(cases: Sequence[DicomCase]) -> list[DicomCase]:
    """Cases whose names differ: two copies of one study in an export are one case already."""
    seen: dict[str, int] = {}
    distinct = []
    for case in cases:
        seen[case.name] = seen.get(case.name, 0) + 1
        again = seen[case.name] > 1
        distinct.append(replace(case, name=f"{case.name}-{seen[case.name]}") if again else case)
    return distinct


def _line(
    candidate: _Candidate, series: ScannedSeries, study: int, case: DicomCase | None, *, keep_phi: bool
) -> SeriesLine:
    stacks = stacks_of(series.frames)
    largest = stacks[0] if stacks else None
    echoes = {1000 * frame.echo_time for frame in series.frames if frame.echo_time is not None}
    reason = candidate.reason
    if case is not None:
        reason = f"DSC: {_volumes(case.arranged.n_volumes)}, a bolus"
        if candidate.curve is None:
            reason = f"{_volumes(case.arranged.n_volumes)}; the bolus is looked for after conversion"
    return SeriesLine(
        study=study,
        number=str(series.header["SeriesNumber"] or "?"),
        description=shown(series, "SeriesDescription", keep_phi=keep_phi),
        modality=series.header["Modality"],
        n_files=series.n_files,
        n_slices=(largest.n_positions if largest else 0),
        n_volumes=(largest.n_volumes if largest else 0),
        echo_times_ms=tuple(sorted(round(value, 3) for value in echoes)),
        time_step_s=candidate.axis.time_step if candidate.axis else None,
        taken=case is not None,
        refused=candidate.refused,
        reason=reason,
        case=case.name if case else "",
    )


def _number(candidate: _Candidate) -> str:
    return str(candidate.first.header["SeriesNumber"] or "?")


def _volumes(n_volumes: int) -> str:
    return f"{n_volumes} volume" + ("" if n_volumes == 1 else "s")
