"""A folder of maps to an archive, by way of a queue where one is wanted: the thin edge between files and network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfmap.errors import ConfigError, PerfmapError
from perfmap.io.dicom_destination import Destination
from perfmap.io.dicom_parcel import Parcel, read_parcel
from perfmap.io.dicom_send import CALLING_AET, Delivery, Undelivered, send_parcel, send_with_retries
from perfmap.io.send_queue import enqueue, open_job, remove, waiting_jobs
from perfmap.quantities import RESEARCH_ONLY

_logger = logging.getLogger("perfmap")


@dataclass
class SendReport:
    """What came of it."""

    deliveries: list[Delivery] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def not_taken(self) -> list[str]:
        """Kinds of objects that the archive does not know."""
        return sorted({name for delivery in self.deliveries for name in delivery.not_taken})

    @property
    def n_stored(self) -> int:
        """Objects stored."""
        return sum(delivery.stored for delivery in self.deliveries)

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "warning": RESEARCH_ONLY,
            "sent": len(self.deliveries),
            "objects": self.n_stored,
            "not_taken": self.not_taken,
            "failures": self.failures,
        }


def send_folder(
    folder: Path | None,
    destination: Destination,
    *,
    queue: Path | None = None,
    retries: int = 3,
    wait: float = 2.0,
    calling_aet: str = CALLING_AET,
    on_object: Callable[[int, int], None] = lambda done, total: None,
) -> SendReport:
    """Send a folder, and whatever waits in the queue for the same destination.

    Parameters
    ----------
    folder : Path or None
        As ``perfmap predict --dicom`` wrote it; None to send the queue alone.
    destination : Destination
        Already found in the list of those allowed.
    queue : Path, optional
        What cannot be delivered stays there.
    retries : int
        Further tries, of the first parcel that meets an outage; those behind it are tried once.
    wait : float
        Pause before the second try, s; doubled each time.
    calling_aet : str
    on_object : callable
        Called with (objects stored, objects in all) of the parcel at hand.

    Raises
    ------
    InputError
        If the folder may not be sent.
    ConfigError
        If there is neither folder nor queue.
    """
    if folder is None and queue is None:
        raise ConfigError("nothing to send: give DIR, or --queue FOLDER")
    report = SendReport()

    def deliver(parcel: Parcel, tries: int) -> None:
        delivery = send_with_retries(
            lambda: send_parcel(parcel, destination, calling_aet=calling_aet, on_object=on_object),
            retries=tries,
            wait=wait,
        )
        for note in delivery.notes:
            _logger.warning("%s", note)
        report.deliveries.append(delivery)

    parcel = read_parcel(folder) if folder is not None else None
    if queue is None:
        if parcel is not None:
            try:
                deliver(parcel, retries)
            except Undelivered as error:
                report.failures.append(f"{error}; nothing is kept: give --queue FOLDER, or send again")
        return report
    if parcel is not None:
        enqueue(parcel, destination, queue)
    for job in waiting_jobs(queue):
        if job.destination != destination:
            continue
        try:
            deliver(open_job(job), retries)
            remove(job)
        except Undelivered as error:
            report.failures.append(f"{error}; the maps wait in {queue}")
            retries = 0
        except PerfmapError as error:
            report.failures.append(str(error))
    return report
