"""``perfmap cases``: what predict would take from an input, frozen into a study list."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perfmap.cli.common import LogFile, Overwrite, Quiet, Verbose, start_logging


def cases(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="As 'perfmap predict' takes it.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="LIST.csv", help="Write the list of cases.")
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """List the cases of an input and the files that are none; freeze the list for shards.

    Example: perfmap cases studies/ -o cases.csv
    """
    start_logging(quiet=quiet, verbose=verbose, log_file=log_file)

    from perfmap.engine.cases import as_study_list, discover
    from perfmap.io.study_list import write_study_list

    found = discover(source)
    if output is not None:
        write_study_list(as_study_list(found), output, overwrite=overwrite)
    if quiet:
        return
    for case in found.cases:
        typer.echo(f"{case.name}\t{case.source}" + (f"\t{case.problem}" if case.problem else ""))
    for entry in found.left_out:
        typer.echo(f"left out\t{entry.path}\t{entry.reason}")
