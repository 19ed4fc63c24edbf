"""``perfmap predict``: a series in, a map out."""

from __future__ import annotations

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
    emit_json,
    progress,
    start_logging,
)
from perfmap.errors import ConfigError, InputError
from perfmap.models import DEFAULT_MODEL


class Prefer(StrEnum):
    """Which of two versions of one acquisition is taken."""

    ORIGINAL = "original"
    MOCO = "moco"


class Grid(StrEnum):
    """What interpolated images are computed on."""

    ACQUIRED = "acquired"
    STORED = "stored"


class MotionCorrection(StrEnum):
    """When volumes are registered."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


def predict(
    context: typer.Context,
    input_path: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="4D DSC-MRI series, .nii or .nii.gz, or a DICOM export (folder, .zip); for many: a folder, a "
            "quoted glob, a BIDS data set, or a study list (.csv).",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Map to write (.nii, .nii.gz), or a folder; for many always a folder.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(metavar="NAME|PATH", help="Shipped model by name (see 'perfmap models'), or a folder."),
    ] = DEFAULT_MODEL,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda or cuda:N.")] = "auto",
    time_step: Annotated[
        float | None,
        typer.Option(metavar="S", help="Interval between two volumes, s; wins over header and sidecar."),
    ] = None,
    repetition_time: Annotated[
        float | None,
        typer.Option(metavar="S", help="Time between excitations, s, where it is not the time step."),
    ] = None,
    echo_time: Annotated[
        float | None, typer.Option(metavar="S", help="Echo time, s. It cancels in a relative map.")
    ] = None,
    flip_angle: Annotated[
        float | None,
        typer.Option(
            metavar="DEG", help="Flip angle, degrees; wins over the sidecar. It tells how much T1 is seen."
        ),
    ] = None,
    field_strength: Annotated[
        float | None, typer.Option(metavar="T", help="Field strength, tesla; wins over the sidecar.")
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Brain mask on the grid of the series; found if not given."),
    ] = None,
    validity: Annotated[
        bool,
        typer.Option("--validity", help="Write why each voxel has a reading or none: <map>_validity.nii.gz."),
    ] = False,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty", help="Write each voxel's standard deviation, in the map's unit: <map>_sd.nii.gz."
        ),
    ] = False,
    nan: Annotated[bool, typer.Option("--nan", help="NaN instead of 0 where there is no reading.")] = False,
    motion_correction: Annotated[
        MotionCorrection, typer.Option(help="Register the volumes: auto does so where the head moved.")
    ] = MotionCorrection.AUTO,
    bolus: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Of several boluses in one series, the N-th; the last full one if not given.",
        ),
    ] = None,
    grid: Annotated[
        Grid,
        typer.Option(
            help="Images that the scanner interpolated: compute on the acquired grid, or as stored."
        ),
    ] = Grid.ACQUIRED,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a PNG of the map beside the plain integral.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a one-file HTML report to look through.")
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Write nothing, and end with 5, where the quality gate says FAIL."),
    ] = False,
    dicom: Annotated[
        Path | None,
        typer.Option(metavar="OUTDIR", help="Write the map back as DICOM; the input has to be DICOM."),
    ] = None,
    dicom_form: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Some of mr,sc,pm. Default: mr,sc, and pm if highdicom is there."),
    ] = None,
    prefer: Annotated[
        Prefer, typer.Option(help="Of a DICOM series and its motion-corrected twin, the one to take.")
    ] = Prefer.ORIGINAL,
    keep_phi: Annotated[
        bool, typer.Option("--keep-phi", help="Name outputs of DICOM by PatientID, not by a pseudonym.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Processor cores to use; all of them if not given.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Many cases: also those that have their map already.")
    ] = False,
    quiet_period: Annotated[
        float, typer.Option(metavar="S", min=0, help="Many cases: a file younger than this is incomplete.")
    ] = 0.0,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Many cases: only the I-th of N parts of the list.")
    ] = None,
    partial_ok: Annotated[
        bool, typer.Option("--partial-ok", help="Many cases: end with 0, not 4, where some failed.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Many cases: N processes on this machine (extra 'cluster')."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Many cases: workers of a Dask scheduler, tcp://HOST:8786."),
    ] = None,
    overwrite: Overwrite = False,
    json: JsonTarget = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Predict the CBV map of one DSC-MRI series, or of many, with a neural network. Research use only.

    The map is nrCBV: CBV relative to normal-appearing white matter, a pure number, on exactly the input's grid.
    A sidecar (.json) with model, settings and everything found in the series is written beside it.

    Of many, finished ones are skipped on the next run, a bad one does not stop the others, and summary.csv in
    OUT says what became of each.

    Example: perfmap predict dsc.nii.gz -o cbv.nii.gz

    Example: perfmap predict studies/ -o derivatives/perfmap
    """
    start_logging(quiet=quiet, verbose=verbose, log_file=log_file)

    import logging
    import os

    from perfmap.engine.cases import Protocol, is_single
    from perfmap.engine.device import choose_device
    from perfmap.engine.export import find_cases, staged_case, the_case
    from perfmap.engine.predict import PredictConfig
    from perfmap.engine.predict_file import map_path_for, predict_file, refuse_other_file
    from perfmap.io.dicom_files import holds_dicom
    from perfmap.io.dicom_out import check_dicom_folder, chosen_forms
    from perfmap.io.sidecar import check_side_outputs, has_image_name, image_stem
    from perfmap.models.checkpoint import find_checkpoint, load_checkpoint

    logger = logging.getLogger("perfmap")
    choose_device(device)
    config = PredictConfig(
        device=device,
        outside_is_nan=nan,
        motion_correction=motion_correction.value,
        bolus=bolus,
        grid=grid.value,
    )
    protocol = Protocol(time_step, repetition_time, echo_time, flip_angle, field_strength)
    if dicom is None and dicom_form is not None:
        raise ConfigError("--dicom-form needs --dicom OUTDIR")
    forms = chosen_forms(dicom_form)
    refuse_other_file(output)
    many = not is_single(input_path, output)
    if dicom is not None:
        check_dicom_folder(dicom, input_path, overwrite=overwrite or many)
    if many:
        from perfmap.cli.predict_many import extras_for, predict_many
        from perfmap.engine.batch_case import Job
        from perfmap.engine.predict_file import require_uncertainty
        from perfmap.models.checkpoint import read_card

        if uncertainty:
            require_uncertainty(read_card(find_checkpoint(model)))
        job = Job(
            model=find_checkpoint(model),
            output=output,
            config=config,
            protocol=protocol,
            write_validity=validity,
            write_uncertainty=uncertainty,
            strict=strict,
            force=force,
            quiet_seconds=quiet_period,
            extras=extras_for(figures=figure, reports=report, dicom=dicom, forms=forms),
        )
        code = predict_many(
            input_path,
            job,
            mask=mask,
            prefer=prefer.value,
            keep_phi=keep_phi,
            shard=shard,
            workers=workers,
            scheduler=scheduler,
            threads=threads,
            partial_ok=partial_ok,
            json=json,
            overwrite=overwrite,
            quiet=quiet,
        )
        raise typer.Exit(code)
    if shard or workers or scheduler or force or partial_ok:
        raise ConfigError(
            "--force, --shard, --workers, --scheduler and --partial-ok are for many cases; give a folder"
        )
    if has_image_name(output) and image_stem(output).endswith(("_sd", "_validity")):
        raise ConfigError(
            f"--output {output} is named like what is written beside a map; give a name without _sd or _validity"
        )
    if figure is not None and figure.suffix.lower() != ".png":
        raise ConfigError(
            f"--figure {figure} cannot be written: pictures are PNG; give a name that ends in .png"
        )
    if mask is not None and mask.is_dir():
        raise InputError(f"--mask {mask} is a folder, wanted the mask of this one series; name its file")
    is_export = holds_dicom(input_path)
    if input_path.is_dir() and not is_export:
        raise InputError(
            f"{input_path} is a folder without DICOM images, wanted one series for the map {output}; name its file, "
            "or give a folder as --output to predict all that it holds"
        )
    checkpoint = load_checkpoint(find_checkpoint(model))
    source = None
    if is_export:
        with progress("files", quiet=quiet) as looked_at:
            case = the_case(
                find_cases(
                    input_path,
                    prefer=prefer.value,
                    keep_phi=keep_phi,
                    time_step=time_step,
                    on_file=lambda n_files: looked_at(n_files, n_files),
                )
            )
        staged = context.with_resource(staged_case(case))
        input_path, source = staged.nifti, staged.source
    map_path = map_path_for(input_path, output, checkpoint.card.outputs.quantity)
    extras = [Path(extra) for extra in (figure, report, None if json == "-" else json) if extra is not None]
    check_side_outputs(extras, images=[input_path, map_path], overwrite=overwrite)
    logger.info("model %s, sha256 %s", checkpoint.card.name, checkpoint.card.sha256)
    with progress("slices", quiet=quiet) as advance:
        done = predict_file(
            input_path,
            output,
            checkpoint,
            config,
            protocol=protocol,
            mask_path=mask,
            write_validity=validity,
            write_uncertainty=uncertainty,
            overwrite=overwrite,
            strict=strict,
            threads=threads or os.cpu_count() or 1,
            source=source,
            on_slice=advance,
        )
    for note in (*(source.notes if source else ()), *done.prediction.notes):
        logger.warning("%s", note)
    for reason in done.quality.reasons:
        logger.warning("quality %s", reason)
    if figure is not None:
        from perfmap.report.prediction import write_prediction_figure

        write_prediction_figure(done, figure, overwrite=overwrite)
    if report is not None:
        from perfmap.report.prediction import write_prediction_report

        write_prediction_report(done, report, overwrite=overwrite)
    manifest = done.manifest
    if dicom is not None:
        from perfmap.report.dicom import write_prediction_dicom

        manifest = {
            **manifest,
            "dicom": write_prediction_dicom(done, dicom, forms, overwrite=overwrite),
        }
    emit_json(manifest, json, overwrite=overwrite)
    if json != "-" and not quiet:
        typer.echo(str(done.map_path))
