"""Parcels that wait for their archive: a folder each, so that an outage, a crash or a reboot loses none."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from perfmap.errors import InputError
from perfmap.io.dicom_destination import Destination, parse_destination
from perfmap.io.dicom_parcel import Parcel, read_parcel
from perfmap.io.files import atomic_folder
from perfmap.io.sidecar import sha256_of

_JOB = "job.json"


@dataclass(frozen=True)
class Job:
    """A parcel in the queue.

    Attributes
    ----------
    folder : Path
        Holds the objects and ``job.json``.
    destination : Destination
    """

    folder: Path
    destination: Destination


def enqueue(parcel: Parcel, destination: Destination, queue: Path) -> Job:
    """Copy a parcel into the queue; the same one for the same destination is not copied twice.

    Raises
    ------
    InputError
        If the queue cannot be written.
    """
    key = json.dumps([str(destination), [piece.sop_instance_uid for piece in parcel.pieces]])
    job = Job(queue / hashlib.sha256(key.encode()).hexdigest()[:24], destination)
    if job.folder.exists():
        return job
    queue.mkdir(parents=True, exist_ok=True, mode=0o700)
    with atomic_folder(job.folder) as partial:
        partial.chmod(0o700)
        files = {}
        for number, piece in enumerate(parcel.pieces, start=1):
            name = f"{number:04d}.dcm"
            shutil.copyfile(piece.path, partial / name)
            files[name] = sha256_of(partial / name)
        content = {"destination": str(destination), "identity": _identity(parcel), "files": files}
        (partial / _JOB).write_text(json.dumps(content, indent=1), "utf-8")
    return job


def waiting_jobs(queue: Path) -> list[Job]:
    """Jobs of a queue, oldest first.

    Raises
    ------
    InputError
        If a job is damaged.
    """
    jobs = []
    for path in sorted(queue.glob(f"*/{_JOB}"), key=lambda path: (path.stat().st_mtime_ns, str(path))):
        jobs.append(Job(path.parent, parse_destination(str(_read(path)["destination"]))))
    return jobs


def open_job(job: Job) -> Parcel:
    """The parcel of a job, checked again: each file, the study and the patient are those that were queued.

    Raises
    ------
    InputError
        If anything differs.
    """
    content = _read(job.folder / _JOB)
    parcel = read_parcel(job.folder)
    seen = {piece.path.name: sha256_of(piece.path) for piece in parcel.pieces}
    if seen != content.get("files") or _identity(parcel) != content.get("identity"):
        raise InputError(
            f"queued parcel {job.folder} is not what was put there; take it away and send the maps again"
        )
    return parcel


def remove(job: Job) -> None:
    """Take a delivered job out of the queue."""
    (job.folder / _JOB).unlink(missing_ok=True)  # first: a folder without it is no job
    shutil.rmtree(job.folder, ignore_errors=True)


def _identity(parcel: Parcel) -> str:
    """Study and patient, as a hash: the queue's own files say neither."""
    return hashlib.sha256(f"{parcel.study_instance_uid}\n{parcel.patient_id}".encode()).hexdigest()


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__}); take its folder away") from error
    if not isinstance(content, dict) or "destination" not in content:
        raise InputError(f"{path} is no job of a send queue; take its folder away")
    return content
