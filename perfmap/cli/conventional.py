"""``perfmap conventional``: a series in, conventional maps out."""

from __future__ import annotations

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
    start_logging,
)


def conventional(
    input_path: Annotated[Path, typer.Argument(metavar="INPUT", help="4D DSC-MRI series, .nii or .nii.gz.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUTDIR", help="Folder for <map>.nii.gz and sidecars.")
    ],
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="firstpass, full, gamma, bsw, bidirectional, dual-echo, captk, ssvd, csvd, osvd or tikhonov.",
        ),
    ] = "firstpass",
    window: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What is integrated: first-pass or full; by default full for full, bsw, bidirectional and "
            "dual-echo.",
        ),
    ] = None,
    maps: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Some of nrcbv,rcbv,cbv,cbf,mtt,tmax,ttp,bat,k2, or ap_rcbv,psr,ph with captk. "
            "Default: nrcbv,rcbv; all three with captk.",
        ),
    ] = None,
    aif: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|MASK|auto",
            help="Arterial input: ΔR2* (1/s) a volume as text, a NIfTI mask of artery voxels, or auto.",
        ),
    ] = None,
    aif_method: Annotated[
        str, typer.Option(metavar="NAME", help="How auto looks for arteries: score or k-means.")
    ] = "score",
    venous_rescaling: Annotated[
        bool, typer.Option("--venous-rescaling", help="Scale the arterial input to the area of a vein.")
    ] = False,
    second_echo: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Later echo of the same series, for dual-echo.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Brain mask on the grid of the series.")
    ] = None,
    mask_method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How the brain is looked for where no mask is given: otsu, niblack, cusum or deepbet.",
        ),
    ] = "otsu",
    nawm: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Mask of normal-appearing white matter; estimated if not given."),
    ] = None,
    hematocrit_factor: Annotated[
        float, typer.Option(metavar="KH", help="(1 − H_large)/(1 − H_small) of the absolute maps.")
    ] = 0.733,
    motion_correction: Annotated[
        str, typer.Option(metavar="NAME", help="auto (only where the head moved), on or off.")
    ] = "auto",
    bolus: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Of several boluses in one series, the N-th; the last full one if not given.",
        ),
    ] = None,
    grid: Annotated[
        str,
        typer.Option(metavar="NAME", help="Interpolated images: compute on the grid acquired, or stored."),
    ] = "acquired",
    time_step: Annotated[
        float | None,
        typer.Option(metavar="S", help="Interval between two volumes, s; wins over header and sidecar."),
    ] = None,
    repetition_time: Annotated[
        float | None, typer.Option(metavar="S", help="Time between excitations, s, where it differs.")
    ] = None,
    echo_time: Annotated[
        float | None, typer.Option(metavar="S", help="Echo time, s; it cancels in relative maps.")
    ] = None,
    overwrite: Overwrite = False,
    json: JsonTarget = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Compute conventional perfusion maps of a DSC-MRI series. Research use only.

    nrcbv is CBV relative to normal-appearing white matter; cbv (ml/100 ml) and the flow maps rest on an arterial
    input and are only as good as it is. Each map is written on the input's grid, with a sidecar (.json).

    Example: perfmap conventional dsc.nii.gz -o maps --method bsw
    """
    start_logging(quiet=quiet, verbose=verbose, log_file=log_file)

    import logging

    from perfmap.engine.conventional_config import make_config
    from perfmap.engine.conventional_file import ConventionalInputs, conventional_file

    config = make_config(
        method=method,
        window=window,
        maps=tuple(name.strip() for name in maps.split(",")) if maps else (),
        hematocrit_factor=hematocrit_factor,
        aif_method=aif_method,
        venous_rescaling=venous_rescaling,
        motion_correction=motion_correction,
        mask_method=mask_method,
        bolus=bolus,
        grid=grid,
    )
    check_json(json, images=[input_path], overwrite=overwrite)
    done = conventional_file(
        input_path,
        output,
        config,
        inputs=ConventionalInputs(
            time_step, repetition_time, echo_time, mask=mask, nawm=nawm, second_echo=second_echo, aif=aif
        ),
        overwrite=overwrite,
    )
    for note in done.result.notes:
        logging.getLogger("perfmap").warning("%s", note)
    emit_json(done.manifest, json, overwrite=overwrite)
    if json != "-" and not quiet:
        for path in done.paths.values():
            typer.echo(str(path))
