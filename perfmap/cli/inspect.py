"""``perfmap inspect``: what an export or a series holds, and why each series is taken or left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from perfmap.cli.common import JsonTarget, Overwrite, Quiet, emit_json, progress, wide_console
from perfmap.cli.predict import Prefer


def inspect(
    input_path: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="DICOM export (folder, .zip, DICOMDIR), or a NIfTI series."),
    ],
    prefer: Annotated[
        Prefer, typer.Option(help="Of a series and its motion-corrected twin, the one to take.")
    ] = Prefer.ORIGINAL,
    quiet_period: Annotated[
        float, typer.Option(metavar="S", min=0, help="A series with a file younger than this is incomplete.")
    ] = 0.0,
    time_step: Annotated[
        float | None,
        typer.Option(metavar="S", help="Interval between two volumes, s; settles contradictions."),
    ] = None,
    quality: Annotated[
        bool,
        typer.Option(
            "--quality/--no-quality", help="Judge every case by the quality gate; reads all images."
        ),
    ] = True,
    bolus: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Of several boluses in one series, judge the N-th; the last full one if not given.",
        ),
    ] = None,
    keep_phi: Annotated[
        bool, typer.Option("--keep-phi", help="Show texts that name the patient, and the PatientID.")
    ] = False,
    json: JsonTarget = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """List every series of an export and say why it is taken for DSC-MRI or left. Nothing is predicted.

    Example: perfmap inspect export/ --json -
    """
    from perfmap.engine.inspect import inspect_input

    with progress("files", quiet=quiet) as looked_at:
        found = inspect_input(
            input_path,
            prefer=prefer.value,
            keep_phi=keep_phi,
            quiet_minutes=quiet_period / 60.0,
            time_step=time_step,
            quality=quality,
            bolus=bolus,
            on_file=lambda n_files: looked_at(n_files, n_files),
        )
    if json is not None:
        emit_json(found, json, overwrite=overwrite)
    if json != "-":
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = wide_console()
    if found["kind"] == "nifti":
        table = Table("series", "shape", "time step, s", "echo time, ms", "taken", "why")
        for line in found["series"]:
            echo = "?" if line["echo_time_s"] is None else f"{1000 * line['echo_time_s']:g}"
            shape, step = "×".join(map(str, line["shape"])), f"{line['time_step_s']:g}"
            table.add_row(
                escape(line["name"]), shape, step, echo, _yes(line["taken"]), escape(line["reason"])
            )
    else:
        table = Table("study", "series", "description", "files", "slices × volumes", "TE, ms", "taken", "why")
        for line in found["series"]:
            table.add_row(
                str(line["study"]),
                line["number"],
                escape(line["description"]),
                f"{line['n_files']} {line['modality']}",
                f"{line['n_slices']} × {line['n_volumes']}" if line["n_volumes"] else "",
                ", ".join(f"{value:g}" for value in line["echo_times_ms"]),
                _yes(line["taken"]),
                escape(line["reason"]),
            )
    console.print(table)
    for case in found["cases"]:
        for note in filter(None, [case.get("incomplete", ""), *case["notes"]]):
            console.print(f"{case['name']}: {note}", markup=False)
        if "quality" in case:
            for note in case["quality"].get("notes", []):
                console.print(f"{case['name']}: {note}", markup=False)
            said = case["quality"]["reasons"] or ["PASS"]
            for reason in said:
                console.print(f"{case['name']}: quality {reason}", markup=False)
    for reason, n_files in found.get("left_files", {}).items():
        console.print(f"{n_files} file{'s' if n_files > 1 else ''} left: {reason}", markup=False)
    typer.echo(found["warning"])


def _yes(taken: bool) -> str:
    return "yes" if taken else "no"
