"""``perfmap score``: how close maps are to their references, by one convention."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perfmap.cli.common import JsonTarget, LogFile, Overwrite, Quiet, Verbose, emit_json, start_logging

if TYPE_CHECKING:
    from rich.table import Table

    from perfmap.engine.score import CaseScore
    from perfmap.engine.score_table import ScoreTable

_COLUMNS = {
    "nrmse_rms": ("NRMSE\nrms", ".3f"),
    "nrmse_tissue": ("NRMSE\ntissue", ".3f"),
    "nrmse_range": ("NRMSE\nrange", ".4f"),
    "psnr": ("PSNR\ndB", ".2f"),
    "ssim": ("SSIM\nslice", ".3f"),
    "ssim_mask": ("SSIM\nmask", ".3f"),
    "mae_symmetric": ("MAE\n[-1, 1]", ".4f"),
    "ccc": ("CCC\n", ".3f"),
    "slope": ("slope\n", ".2f"),
}
_MOST_ROWS = 40
_WIDTH = 160  # a narrow terminal wraps lines, it never hides digits


def score(
    prediction: Annotated[Path, typer.Argument(metavar="PRED", help="Predicted map, or a folder of them.")],
    reference: Annotated[Path, typer.Argument(metavar="REF", help="Reference map, or a folder of them.")],
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Mask file (one case) or folder; truth_mask beside REF if not given."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Label file (one case) or folder; truth_labels beside REF if not given."
        ),
    ] = None,
    data_range: Annotated[
        float | None,
        typer.Option(metavar="R", help="Intensity range; the reference's 99.5th percentile if not given."),
    ] = None,
    quantity: Annotated[
        str, typer.Option(metavar="NAME", help="Which maps to take where a folder holds several.")
    ] = "nrcbv",
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the figures as CSV, one row a case.")
    ] = None,
    overwrite: Overwrite = False,
    json: JsonTarget = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Score maps against references: NRMSE, PSNR, SSIM, MAE, CCC, by one convention that the table states.

    PRED and REF are files, or folders whose files are paired by case name: 0042.nii.gz,
    0042/truth_nrcbv.nii.gz and sub-0042_desc-x_nrcbv.nii.gz are one case. Beside a folder of the simulator,
    its masks and labels are used.

    Example: perfmap score predicted/ simulated/
    """
    start_logging(quiet=quiet, verbose=verbose, log_file=log_file)

    from rich.console import Console

    from perfmap.engine.score_table import score_files, table_as_csv, table_as_dict
    from perfmap.io.files import atomic_output
    from perfmap.io.sidecar import check_side_outputs

    outputs = [Path(path) for path in (csv, None if json == "-" else json) if path is not None]
    check_side_outputs(outputs, images=(prediction, reference), overwrite=overwrite)
    table = score_files(
        prediction, reference, quantity=quantity, mask=mask, labels=labels, data_range=data_range
    )
    if csv is not None:
        with atomic_output(csv, overwrite=overwrite) as stream:
            stream.write(table_as_csv(table).encode())
    emit_json(table_as_dict(table), json, overwrite=overwrite)
    if quiet:
        return
    console = Console(stderr=json == "-", highlight=False)
    console.width = max(console.width, _WIDTH)
    for line in table.convention:
        console.print(line, markup=False, soft_wrap=True)
    console.print(_rich_table(table))
    for line in _remarks(table):
        console.print(line, markup=False, soft_wrap=True)


def _rich_table(table: ScoreTable) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rich_table = Table(
        title=f"{table.quantity}, {_count(len(table.cases), 'case')}", box=box.SIMPLE_HEAD, pad_edge=False
    )
    rich_table.add_column("case\n", no_wrap=True)
    for head in ("R\n", *(head for head, _ in _COLUMNS.values())):
        rich_table.add_column(head, justify="right", no_wrap=True)
    for case in table.cases[:_MOST_ROWS]:
        figures = [_figure(case.values[key], layout) for key, (_, layout) in _COLUMNS.items()]
        rich_table.add_row(Text(case.case), f"{case.data_range:.3g}", *figures)
    rich_table.add_section()
    for name, row in (("mean", table.mean), ("± SD", table.sd)):
        figures = [_figure(row[key], layout) for key, (_, layout) in _COLUMNS.items()]
        rich_table.add_row(name, "", *figures, style="bold" if name == "mean" else None)
    return rich_table


def _figure(value: float, layout: str) -> str:
    return "–" if value != value else format(value, layout)


def _remarks(table: ScoreTable) -> list[str]:
    hidden = len(table.cases) - _MOST_ROWS
    lines = [f"{hidden} more cases are in the means; see them with --csv or --json"] if hidden > 0 else []
    lines += [remark for case in table.cases for remark in _case_remarks(case)]
    for side, paths in (
        ("prediction", table.unpaired_predictions),
        ("reference", table.unpaired_references),
    ):
        lines += [f"Not scored, {side} without partner: {path}" for path in paths]
    return lines


def _case_remarks(case: CaseScore) -> list[str]:
    lines = []
    if case.n_without_reading:
        part = 100.0 * case.n_without_reading / case.n_voxels
        digits = f"{part:.2g}" if part < 10 else f"{part:.0f}"
        lines.append(
            f"{case.case}: {_count(case.n_without_reading, 'voxel')} ({digits} %) without reading, scored as 0"
        )
    if case.n_without_truth:
        lines.append(f"{case.case}: {_count(case.n_without_truth, 'voxel')} without truth (NaN), not scored")
    lines += [
        f"{case.case}: {_count(n, 'slice')} without a finite {key}, left out of its mean"
        for key, n in case.n_slices_without.items()
    ]
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
