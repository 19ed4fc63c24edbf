"""``perfmap merge``: the summaries of all shards made one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perfmap.cli.common import JsonTarget, LogFile, Quiet, Verbose, emit_json, start_logging


def merge(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder that all shards shared.")],
    partial_ok: Annotated[
        bool, typer.Option("--partial-ok", help="End with 0, not 4, where some cases failed.")
    ] = False,
    json: JsonTarget = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Merge the summaries of 'perfmap predict --shard' into summary.csv and summary.json.

    Example: perfmap merge derivatives/perfmap
    """
    start_logging(quiet=quiet, verbose=verbose, log_file=log_file)

    from perfmap.cli.batch_progress import print_summary
    from perfmap.engine.summary import as_dict, merge_shards, write_summary

    summary = merge_shards(output)
    path = write_summary(summary, output)
    emit_json(as_dict(summary), json)
    if json != "-" and not quiet:
        print_summary(summary, str(path))
    raise typer.Exit(summary.exit_code(partial_ok=partial_ok))
