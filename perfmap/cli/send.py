"""``perfmap send``: maps in DICOM to an archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perfmap.cli.common import JsonTarget, LogFile, Quiet, Verbose, emit_json, progress, start_logging


def send(
    to: Annotated[str, typer.Option(metavar="AET@HOST:PORT", help="The archive.")],
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR", help="What 'predict --dicom' wrote. Without it, only the queue is sent."
        ),
    ] = None,
    allow: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Destinations allowed, one AET@HOST:PORT a line. Default: ~/.config/perfmap/destinations.txt.",
        ),
    ] = None,
    queue: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep here what could not be sent, and send what waits here."),
    ] = None,
    retries: Annotated[int, typer.Option(metavar="N", min=0, max=20, help="Further tries.")] = 3,
    wait: Annotated[
        float, typer.Option(metavar="S", min=0.0, help="Pause before the second try, s; doubled each time.")
    ] = 2.0,
    calling_aet: Annotated[str, typer.Option(metavar="AET", help="Own title.")] = "PERFMAP",
    json: JsonTarget = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Send maps in DICOM to an archive that a list allows. Research use only.

    Before anything leaves, every object is checked again: written by perfmap, one study and one patient, the ones
    that it was written with, and no network's map without the conventional map. An archive that cannot be reached
    ends the run with 4; with --queue the maps wait there for the next run.

    Example: perfmap send maps/ --to ARCHIVE@10.0.0.5:104 --queue outbox/
    """
    start_logging(quiet=quiet, verbose=verbose, log_file=log_file)

    import logging

    from perfmap.engine.send import send_folder
    from perfmap.io.dicom_destination import parse_destination, require_allowed

    logger = logging.getLogger("perfmap")
    destination = parse_destination(to)
    require_allowed(destination, allow or Path.home() / ".config" / "perfmap" / "destinations.txt")
    with progress("objects", quiet=quiet) as advance:
        report = send_folder(
            folder,
            destination,
            queue=queue,
            retries=retries,
            wait=wait,
            calling_aet=calling_aet,
            on_object=advance,
        )
    for failure in report.failures:
        logger.error("%s", failure)
    if report.not_taken:
        logger.warning("%s does not take: %s", destination, ", ".join(report.not_taken))
    emit_json(report.as_dict(), json)
    if json != "-" and not quiet:
        typer.echo(f"{report.n_stored} objects stored by {destination}")
    if report.failures or report.not_taken:
        raise typer.Exit(4)
