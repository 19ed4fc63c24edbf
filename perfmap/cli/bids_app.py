"""``perfmap bids-app``: the same batch, called as BIDS Apps are."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from perfmap.cli.common import JsonTarget, LogFile, Quiet, Verbose, check_json, emit_json, start_logging
from perfmap.models import DEFAULT_MODEL


class Level(StrEnum):
    """Levels of a BIDS App."""

    PARTICIPANT = "participant"
    GROUP = "group"


def bids_app(
    bids_dir: Annotated[Path, typer.Argument(metavar="BIDS_DIR", help="BIDS data set, never written to.")],
    output_dir: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the derivative.")],
    level: Annotated[
        Level, typer.Argument(help="participant: maps; group: one summary of what all participants left.")
    ],
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[LABEL]...", help="More labels, for --participant-label 01 02."),
    ] = None,
    participant_label: Annotated[
        list[str] | None,
        typer.Option(
            "--participant-label",
            "--participant_label",
            metavar="LABEL",
            help="Only this participant, with or without 'sub-'; may be repeated.",
        ),
    ] = None,
    session_label: Annotated[
        list[str] | None,
        typer.Option(
            "--session-label", "--session_label", metavar="LABEL", help="Only this session; may be repeated."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="Shipped model by name, or a folder.")
    ] = DEFAULT_MODEL,
    n_cpus: Annotated[
        int | None, typer.Option("--n-cpus", "--n_cpus", min=1, help="Cases side by side; all processors.")
    ] = None,
    validity: Annotated[bool, typer.Option("--validity", help="As in 'perfmap predict'.")] = False,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="As in 'perfmap predict'.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Write nothing where the quality gate says FAIL.")
    ] = (False),
    force: Annotated[bool, typer.Option("--force", help="Do finished cases again.")] = False,
    partial_ok: Annotated[
        bool, typer.Option("--partial-ok", help="End with 0, not 4, where some cases failed.")
    ] = False,
    json: JsonTarget = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Predict the maps of a BIDS data set, with the arguments of a BIDS App. Research use only.

    Runs over different participants may share OUT; 'group' then makes one summary of theirs.

    Example: perfmap bids-app data/ data/derivatives/perfmap participant --participant-label 01 02
    """
    start_logging(quiet=quiet, verbose=verbose, log_file=log_file)
    check_json(json)

    import os

    from perfmap.cli.batch_progress import batch_progress, print_summary
    from perfmap.engine.batch import run_batch
    from perfmap.engine.batch_case import Job
    from perfmap.engine.bids import find_participants, part_name
    from perfmap.engine.predict import PredictConfig
    from perfmap.engine.predict_file import require_uncertainty
    from perfmap.engine.summary import as_dict, merge_parts, summary_path, write_summary
    from perfmap.errors import ConfigError
    from perfmap.models.checkpoint import find_checkpoint, read_card

    participants, sessions = [*(participant_label or ()), *(more or ())], session_label or []
    if more and not participant_label:
        raise ConfigError(f"'{more[0]}' was not understood; give labels behind --participant-label")
    if level is Level.GROUP:
        if participants or sessions:
            raise ConfigError("the level 'group' takes all participants; leave the labels out")
        summary = merge_parts(output_dir)
        write_summary(summary, output_dir)
    else:
        checkpoint = find_checkpoint(model)
        if uncertainty:
            require_uncertainty(read_card(checkpoint))
        job = Job(
            checkpoint,
            output_dir,
            PredictConfig(),
            write_validity=validity,
            write_uncertainty=uncertainty,
            strict=strict,
            force=force,
        )
        cases = find_participants(bids_dir, output=output_dir, participants=participants, sessions=sessions)
        name, lanes = part_name(participants, sessions), n_cpus or os.cpu_count() or 1
        with batch_progress(quiet=quiet) as on_change:
            summary = run_batch(cases, job, lanes=lanes, name=name, on_change=on_change)
    emit_json(as_dict(summary), json)
    if json != "-" and not quiet:
        print_summary(summary, str(summary_path(output_dir, summary.shard, summary.part)))
    raise typer.Exit(summary.exit_code(partial_ok=partial_ok))
