"""``perfmap roi``: what a map says about a region."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from perfmap.cli.common import JsonTarget, LogFile, Overwrite, Quiet, Verbose, emit_json, start_logging


def roi(
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="Map written by 'perfmap predict'.")],
    mask: Annotated[
        Path, typer.Option(metavar="FILE", help="The region, on the map's grid: 0 outside, labels inside.")
    ],
    label: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="N", help="Take this label of the mask, not all; may be repeated."),
    ] = None,
    overwrite: Overwrite = False,
    json: JsonTarget = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Read a map inside of a region: mean, its 95 % interval, for nrCBV the shares above 1.0 and 1.75, volume.

    The interval rests on <map>_sd, which 'perfmap predict --uncertainty' writes, and on the correlation length in the
    map's sidecar. It says how far the network may be off, not how much the tissue varies.

    Example: perfmap roi nrcbv.nii.gz --mask tumour.nii.gz
    """
    start_logging(quiet=quiet, verbose=verbose, log_file=log_file)

    import logging

    from rich.console import Console
    from rich.table import Table

    from perfmap.engine.roi import read_region
    from perfmap.quantities import QUANTITIES, RESEARCH_ONLY

    reading, sidecar = read_region(map_path, mask, labels=label or ())
    quantity = sidecar.get("Quantity")
    unit = str(sidecar.get("Units", "")) or "unit not known"
    emit_json(
        {
            **asdict(reading),
            "above": {f"{threshold:g}": share for threshold, share in reading.above.items()},
            "map": map_path.name,
            "mask": mask.name,
            "labels": label or "all",
            "quantity": quantity,
            "unit": unit,
            "warning": RESEARCH_ONLY,
        },
        json,
        overwrite=overwrite,
    )
    for note in reading.notes:
        logging.getLogger("perfmap").warning("%s", note)
    if json == "-" or quiet:
        return
    known = QUANTITIES.get(str(quantity))
    table = Table("reading", "value", title=known.label if known else map_path.name)
    interval = f"{reading.interval[0]:.2f} to {reading.interval[1]:.2f}" if reading.interval else "not known"
    for name, value in (
        (f"mean ({unit})", f"{reading.mean:.3g}"),
        ("95 % interval of the mean", interval),
        ("SD between voxels", f"{reading.sd_of_voxels:.3g}"),
        *((f"above {threshold:g}", f"{100 * share:.1f} %") for threshold, share in reading.above.items()),
        ("volume", f"{reading.volume_ml:.2f} ml"),
        ("voxels", f"{reading.n_voxels - reading.n_without_reading} of {reading.n_voxels}"),
    ):
        table.add_row(name, value)
    Console(soft_wrap=True).print(table)
    typer.echo(RESEARCH_ONLY)
