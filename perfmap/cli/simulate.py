"""``perfmap simulate``: DSC-MRI series with known truth."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from perfmap.cli.common import (
    JsonTarget,
    LogFile,
    Overwrite,
    Quiet,
    Verbose,
    check_json,
    emit_json,
    progress,
    start_logging,
)
from perfmap.errors import ConfigError


class GeometryName(StrEnum):
    """Grids by name."""

    NATIVE = "native"
    UPENN = "upenn"
    STACK = "stack"


class Cohort(StrEnum):
    """Cohorts by name."""

    PAPER = "paper"


def simulate(
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder; each case gets one of its own in it.")
    ],
    n: Annotated[
        int | None,
        typer.Option("--n", min=1, help="Cases of each regime (1 if not given), or patients of a cohort."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    regime: Annotated[
        str | None, typer.Option(help="A name of docs/simulator.md, or all; plain if not given.")
    ] = None,
    geometry: Annotated[
        GeometryName | None,
        typer.Option(
            help="native: 128x128x20 (if not given); upenn: 240x240x155 at 1 mm; stack: a few slices of 128x128."
        ),
    ] = None,
    slices: Annotated[
        int | None,
        typer.Option(min=1, help="Slices of a stack (5 if not given), or from the middle of a volume."),
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(metavar="CASE.json", help="Make a recorded case again instead of drawing.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="With --replay: change the acquisition, e.g. echo_time=0.04."
        ),
    ] = None,
    cohort: Annotated[
        Cohort | None,
        typer.Option(help="paper: 519 patients, 7 slices each, true nrCBV and CaPTk's ap-rCBV (5.6 GB)."),
    ] = None,
    as_nifti: Annotated[
        bool,
        typer.Option(
            "--nifti", help="With --cohort: a folder of NIfTI files a patient, not one file (3 GB)."
        ),
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    overwrite: Overwrite = False,
    json_file: JsonTarget = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Simulate DSC-MRI series together with their true CBV, CBF, MTT, delay, Ktrans and labels.

    Each case is a folder OUT/<regime>-<number>/ with dsc.nii.gz, dsc.json, truth_<name>.nii.gz and case.json,
    from which it can be made again bit for bit. Finished cases are skipped, so an interrupted run goes on.
    Example: perfmap simulate simulated/ --n 4 --seed 0 --regime noisy
    """
    start_logging(quiet=quiet, verbose=verbose, log_file=log_file)
    check_json(json_file, overwrite=overwrite)
    if change and replay is None:
        raise ConfigError("--set changes a recorded case; give --replay CASE.json too")

    if as_nifti and cohort is None:
        raise ConfigError("--nifti is how a cohort is written; other cases are NIfTI anyway")
    chosen = {"--regime": regime, "--geometry": geometry, "--slices": slices}
    given = [name for name, value in chosen.items() if value is not None]
    if cohort is not None and given:
        raise ConfigError(
            f"--cohort paper has its own regime, grid and 7 slices a patient; leave out {', '.join(given)}"
        )
    if cohort is not None and replay is not None:
        raise ConfigError("--cohort and --replay contradict each other; give one of them")
    if replay is not None and (given or n is not None):
        given += ["--n"] if n is not None else []
        raise ConfigError(
            f"--replay makes the recorded case again, changed by --set alone; leave out {', '.join(given)}"
        )

    from perfmap.engine.cohort import simulate_paper_cohort
    from perfmap.engine.simulate import PlannedCase, plan_cases, plan_replay, simulate_cases
    from perfmap.phantom.cohort import PAPER_PATIENTS

    with progress("simulating", quiet=quiet) as report:
        if cohort is not None:
            folders = simulate_paper_cohort(
                output,
                seed=seed,
                n=n or PAPER_PATIENTS,
                jobs=jobs,
                overwrite=overwrite,
                as_nifti=as_nifti,
                progress=report,
            )
        else:
            planned: Sequence[PlannedCase] = (
                plan_cases(
                    regime=regime or "plain",
                    n=n or 1,
                    seed=seed,
                    geometry=(geometry or GeometryName.NATIVE).value,
                    n_slices=slices,
                )
                if replay is None
                else [plan_replay(replay, change or [])]
            )
            folders = simulate_cases(output, planned, jobs=jobs, overwrite=overwrite, progress=report)
    emit_json({"cases": [str(folder) for folder in folders]}, json_file, overwrite=overwrite)
    if not quiet and json_file != "-":
        typer.echo(f"{len(folders)} cases in {output}")
