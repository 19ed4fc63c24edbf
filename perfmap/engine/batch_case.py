"""One case of a batch: whether there is anything to do, doing it, and the line it gets in the summary."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from perfmap.engine.cases import AS_IN_FILE, Case, Protocol
from perfmap.engine.export import DicomCase, staged_case
from perfmap.engine.layout import CasePaths, case_paths
from perfmap.engine.memory import memory_hint
from perfmap.engine.predict import PredictConfig
from perfmap.engine.predict_file import Done, predict_file
from perfmap.engine.request import file_hashes, request_of
from perfmap.engine.summary import Row
from perfmap.errors import InputError, PerfmapError, is_out_of_memory
from perfmap.io.dicom_source import DicomSource
from perfmap.io.sidecar import json_text, read_json, sha256_of, write_json
from perfmap.models.card import ModelCard
from perfmap.models.checkpoint import Checkpoint

Extra = Callable[[Done], None]


@dataclass(frozen=True)
class Job:
    """Everything that is the same for all cases of a batch.

    Attributes
    ----------
    model : Path
        Folder of the checkpoint.
    output : Path
        Folder of the results.
    config : PredictConfig
    protocol : Protocol
        What holds of every case's protocol that does not bring its own.
    write_validity, write_uncertainty, strict, force : bool
        Write the validity map and the standard deviation; refuse what fails the quality gate; do finished cases again.
    threads : int
        Threads for one case.
    quiet_seconds : float
        A file younger than this is still arriving.
    extras : mapping of str to callable
        What else is made of a finished case before its manifest is written, by name.
    """

    model: Path
    output: Path
    config: PredictConfig
    protocol: Protocol = AS_IN_FILE
    write_validity: bool = False
    write_uncertainty: bool = False
    strict: bool = False
    force: bool = False
    threads: int = 1
    quiet_seconds: float = 0.0
    extras: Mapping[str, Extra] = field(default_factory=dict)


@dataclass(frozen=True)
class Planned:
    """A case that has to be computed.

    Attributes
    ----------
    case : Case
    paths : CasePaths
    request : dict
        What decides the map's bytes: equal requests give equal maps.
    """

    case: Case
    paths: CasePaths
    request: dict[str, Any]


class Dropped(BaseException):
    """The run was interrupted: a case under way is given up."""


def plan_case(case: Case, job: Job, card: ModelCard, finished: dict[str, str]) -> Planned | Row:
    """Decide whether a case has to be computed.

    Parameters
    ----------
    case : Case
    job : Job
    card : ModelCard
    finished : dict of str to str
        Each request to the case that has its map, or will have it: see `known_requests`. The case is added.

    Returns
    -------
    Planned or Row
        The latter for a case with nothing to do, or one that cannot be done.
    """
    if case.problem:
        return Row(case.name, case.source, status="failed", reason=case.problem, code=3)
    paths = case_paths(job.output, case, model=card.name, quantity=card.outputs.quantity)
    try:
        waiting = _still_arriving(case, job)
        if waiting:
            return Row(case.name, case.source, status="incomplete", reason=waiting, code=4)
        request = _request(case, job, card)
    except InputError as error:
        return failure(case, error)
    other = finished.setdefault(_key(request), case.name)
    if other != case.name and not job.force:
        return Row(case.name, case.source, status="skipped", reason=f"the same series as case {other}")
    record = None if job.force else finished_record(paths, request)
    if record is not None:
        name = paths.map_path.relative_to(job.output).as_posix()
        qc = str(record.get("qc", ""))
        return Row(case.name, case.source, name, "skipped", "finished before", qc)
    return Planned(case, paths, request)


def compute_case(
    planned: Planned,
    job: Job,
    checkpoint: Checkpoint,
    *,
    on_slice: Callable[[int, int], None] = lambda done, total: None,
) -> Row:
    """Compute and write one case; every failure becomes its row. The manifest is written last.

    Raises
    ------
    MemoryError
        If memory ran out: the caller may try again with less beside it.
    Dropped
        If `on_slice` raises it.
    """
    began = time.monotonic()
    case, request = planned.case, planned.request
    done: Done | None = None
    try:
        with _opened(case) as (path, source):
            if source is not None:
                request = {**request, **file_hashes(path, mask_path=case.mask)}
            done = predict_file(
                path,
                planned.paths.map_path,
                checkpoint,
                job.config,
                protocol=case.protocol.over(job.protocol),
                mask_path=case.mask,
                write_validity=job.write_validity,
                write_uncertainty=job.write_uncertainty,
                overwrite=True,
                strict=job.strict,
                threads=job.threads,
                request=request,
                source=source,
                on_slice=on_slice,
            )
            if source is not None:
                done.manifest["input"] = (
                    None  # the converted file is gone, and the export's names may be a patient's
                )
            for extra in job.extras.values():
                extra(done)
        write_json(done.manifest, planned.paths.manifest, overwrite=True)
    except PerfmapError as error:
        return failure(case, error, seconds=time.monotonic() - began)
    except Exception as error:
        if not is_out_of_memory(error):
            return failure(case, error, seconds=time.monotonic() - began)
        done = None
    if done is None:  # raised here, where the failed attempt and all that it held is gone
        raise MemoryError(memory_hint(case))
    name = planned.paths.map_path.relative_to(job.output).as_posix()
    return Row(
        case.name, case.source, name, qc=done.quality.summary, seconds=round(time.monotonic() - began, 3)
    )


def failure(case: Case, error: BaseException, *, seconds: float = 0.0) -> Row:
    """Row of a case that failed; an error that nobody foresaw is named as such."""
    code = error.exit_code if isinstance(error, PerfmapError) else 1
    text = " ".join(str(error).split())
    if code == 1 and not isinstance(error, MemoryError):
        text = f"internal error, {type(error).__name__}: {text}"
    return Row(case.name, case.source, status="failed", reason=text, seconds=round(seconds, 3), code=code)


def finished_record(paths: CasePaths, request: dict[str, Any]) -> dict[str, Any] | None:
    """Manifest of a finished case, if it was asked for in the same words and its map is still whole."""
    try:
        record = read_json(paths.manifest)
        if _key(record["request"]) == _key(request) and record.get("map_sha256") == sha256_of(paths.map_path):
            return record
    except (InputError, KeyError, TypeError, AttributeError):
        pass  # no record, or none of ours: the case is done again
    return None


def known_requests(cases: tuple[Case, ...], job: Job, card: ModelCard) -> dict[str, str]:
    """Each request that has its map already to the name of its case: by this a copy of a series is known."""
    known: dict[str, str] = {}
    for case in cases:
        paths = case_paths(job.output, case, model=card.name, quantity=card.outputs.quantity)
        with suppress(InputError, KeyError, TypeError, AttributeError):
            if paths.manifest.is_file() and paths.map_path.is_file():
                known.setdefault(_key(read_json(paths.manifest)["request"]), case.name)
    return known


def _request(case: Case, job: Job, card: ModelCard) -> dict[str, Any]:
    request = {
        **request_of(
            None if case.dicom else case.path,
            card,
            job.config,
            protocol=case.protocol.over(job.protocol),
            mask_path=case.mask,
        ),
        "beside": sorted(
            [
                *job.extras,
                *(["validity"] if job.write_validity else []),
                *(["sd"] if job.write_uncertainty else []),
            ]
        ),
    }
    return {**request, "dicom_sha256": _hash_of_export(case.dicom)} if case.dicom else request


def _key(request: dict[str, Any]) -> str:
    """A request as text; for DICOM the objects count, not the file that they are converted to on the way."""
    converted = ("input_sha256", "sidecar_sha256") if request.get("dicom_sha256") else ()
    return json_text({key: value for key, value in request.items() if key not in converted})


def _hash_of_export(case: DicomCase) -> str:
    """SHA-256 over all objects of a case, whatever their order and names."""
    files = {frame.file for one in case.series for frame in one.frames}
    digests = []
    try:
        for file in files:
            with file.open() as stream:
                digests.append(hashlib.sha256(stream.read()).hexdigest())
    except (OSError, BadZipFile) as error:
        raise InputError("an object of the export can no longer be read; run again") from error
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


@contextmanager
def _opened(case: Case) -> Iterator[tuple[Path, DicomSource | None]]:
    """The NIfTI file of a case, converted for the time of the block where it is DICOM."""
    if case.dicom is None:
        yield case.path, None
        return
    with staged_case(case.dicom) as staged:
        yield staged.nifti, staged.source


def _still_arriving(case: Case, job: Job) -> str:
    """Why more of a case may come; empty where nothing says so. A clock that was set back keeps nobody waiting."""
    if case.dicom is not None:
        return case.dicom.incomplete
    try:
        age = abs(time.time() - case.path.stat().st_mtime)
    except OSError as error:
        raise InputError(f"cannot read {case.path}: {error.strerror}; check the path") from error
    if age >= job.quiet_seconds:
        return ""
    return f"still arriving: last written {age:.0f} s ago, wanted {job.quiet_seconds:.0f} s of quiet"
