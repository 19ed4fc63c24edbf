"""``perfmap train``: a network from simulated or own data."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from perfmap.cli.common import LogFile, Quiet, Verbose, start_logging
from perfmap.errors import ConfigError


class Normalisation(StrEnum):
    """Strategies by name."""

    LOG_RATIO = "log-ratio"
    TRAINING_MAX = "training-max"


class Schedule(StrEnum):
    """How the learning rate falls."""

    COSINE = "cosine"
    PLATEAU = "plateau"
    CONSTANT = "constant"


class Precision(StrEnum):
    """Arithmetic of the forward pass."""

    AUTO = "auto"
    BF16 = "bf16"
    FP32 = "fp32"


def train(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            help="Cohort folder (<patient>.npz, or <patient>/dsc.nii.gz with truth_<target>.nii.gz), or CSV manifest "
            "(patient,series,reference[,labels][,nawm]). Without it: the simulator, sampled on the fly.",
        ),
    ] = None,
    arch: Annotated[
        str, typer.Option(help="Network; 'perfmap models --architectures' lists them.")
    ] = "unet-gru",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Run folder; runs/<name> if not given."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; own-<arch> if not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the state in the run folder.")] = False,
    target: Annotated[str, typer.Option(help="Quantity of the reference maps.")] = "nrcbv",
    normalisation: Annotated[
        Normalisation,
        typer.Option(help="How signal becomes input; training-max is the paper's and wants DATA."),
    ] = Normalisation.LOG_RATIO,
    slices: Annotated[str, typer.Option(help="Slices of DATA: all, paper, or start:stop:step.")] = "all",
    start_from: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Begin with the weights of this model (name or folder) instead of random ones.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of split, weights, order and simulator.")] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs at the most.")] = 60,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Wall-clock budget; the schedule is fitted to it. Fitting the standard deviation comes on top."
        ),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many epochs without a better validation loss.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Slices a step.")] = 8,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW, at its highest.")] = 1e-3,
    schedule: Annotated[Schedule, typer.Option(help="How the learning rate falls.")] = Schedule.COSINE,
    plain_mse: Annotated[
        bool, typer.Option("--plain-mse", help="The paper's loss: every pixel weighs the same.")
    ] = False,
    attention: Annotated[bool, typer.Option("--attention", help="scSE attention in every block.")] = False,
    widths: Annotated[
        str | None,
        typer.Option(metavar="N,N,…", help="Channels of the network's blocks; its own if not given."),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="auto takes bf16 where the machine has it.")
    ] = Precision.AUTO,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Same seed, same weights, on the same machine.")
    ] = False,
    subjects: Annotated[int, typer.Option(min=1, help="Fresh simulated subjects an epoch.")] = 160,
    slices_per_subject: Annotated[
        int,
        typer.Option(
            min=1, help="Slices of each; fewer of more subjects cost the same and show more protocols."
        ),
    ] = 6,
    validation_subjects: Annotated[
        int, typer.Option(min=1, help="Simulated subjects of the validation part.")
    ] = 24,
    calibration_subjects: Annotated[
        int,
        typer.Option(
            min=0, help="Subjects that a standard deviation is fitted to when training has ended; 0: none."
        ),
    ] = 120,
    replayed_subjects: Annotated[
        int,
        typer.Option(
            min=0,
            help="Subjects of earlier epochs (and of --replay-from) seen again in each epoch; all stay in the run "
            "folder, 6 MB each.",
        ),
    ] = 0,
    replay_from: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Run folder of an earlier training whose subjects are among the --replayed-subjects.",
        ),
    ] = None,
    lesion_weight: Annotated[
        float, typer.Option(help="Weight of lesions in the loss, where labels are known.")
    ] = 1.0,
    scrambled: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of slices whose pieces change places: looks then tell nothing."
        ),
    ] = 0.0,
    small_class_weight: Annotated[
        float,
        typer.Option(min=0, max=1, help="Weight of vessels and CSF in the loss, where labels are known."),
    ] = 0.1,
    workers: Annotated[int, typer.Option(min=1, help="Processes that simulate.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Cores the network uses; all if not given.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda or cuda:N.")] = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_file: LogFile = None,
) -> None:
    """Train a network and keep the checkpoint that is best on the validation part.

    The run folder holds the resolved settings, log.csv, a state to go on from (--resume) and the checkpoint in
    model/, which 'perfmap predict --model DIR/model' takes. Several processes: torchrun --nproc-per-node N -m perfmap
    train ...

    Example: perfmap train --arch unet-gru --minutes 90
    """
    start_logging(quiet=quiet, verbose=verbose, log_file=log_file)

    from pydantic import ValidationError

    from perfmap.cli.training_progress import training_progress
    from perfmap.engine.memory import keep_freed_memory
    from perfmap.engine.processes import is_first_process
    from perfmap.engine.train import train as run_training
    from perfmap.engine.train_config import SIMULATOR, TrainConfig, default_inputs
    from perfmap.models import ARCHITECTURES
    from perfmap.models.card import InputContract

    arguments: dict[str, Any] = {"attention": True} if attention else {}
    if widths is not None:
        numbers = [width.strip() for width in widths.split(",")]
        if not all(number.isdecimal() and int(number) > 0 for number in numbers):
            raise ConfigError(
                f"--widths '{widths}' cannot be read; wanted whole numbers from 1, e.g. 16,8,4,2"
            )
        arguments["widths"] = [int(number) for number in numbers]
    if data is None and slices != "all":
        raise ConfigError(f"--slices {slices} chooses slices of DATA, and none is given; leave it out")
    if replay_from is not None and not (data is None and replayed_subjects):
        raise ConfigError(
            "--replay-from gives some of the --replayed-subjects N; give N too"
            if data is None
            else "--replay-from belongs to a training on the simulator, without DATA; leave one of them out"
        )
    if data is not None and replayed_subjects:
        raise ConfigError(
            "--replayed-subjects belongs to a training on the simulator, without DATA; leave one of them out"
        )
    if data is not None and (given := _options_of_the_simulator(context)):
        raise ConfigError(
            f"DATA is given, and {' and '.join(given)} would shape a training on the simulator; leave one of them out"
        )
    is_log_ratio = normalisation is Normalisation.LOG_RATIO
    if arch not in ARCHITECTURES:
        raise ConfigError(
            f"--arch {arch} is unknown; choose one of {', '.join(ARCHITECTURES)}, which 'perfmap models "
            "--architectures' describes"
        )
    if not is_log_ratio and default_inputs(arch).features != "curves":
        raise ConfigError(
            f"--normalisation {normalisation.value} is for networks that read intensities, and {arch} reads maps too; "
            "leave it out"
        )
    if plain_mse and default_inputs(arch).features != "curves":
        raise ConfigError(
            f"--plain-mse is for networks that give a map alone; {arch} has a loss of its own, leave it out"
        )
    try:
        config = TrainConfig(
            name=name or f"own-{arch}",  # shipped ones carry the bare names
            architecture=arch,
            arguments=arguments,
            inputs=default_inputs(arch)
            if is_log_ratio
            else InputContract(
                normalisation="training-max",
                time_alignment="as-acquired",
                interpolation="nearest",
                training_max=1.0,
            ),
            start_from=start_from,
            data=SIMULATOR if data is None else str(data.resolve()),
            target=target,
            target_limit=15.0 if target == "nrcbv" else None,
            slices=slices,
            seed=seed,
            epochs=epochs,
            minutes=minutes,
            patience=patience,
            batch=batch,
            learning_rate=learning_rate,
            schedule=schedule.value,
            small_class_weight=1.0 if plain_mse else small_class_weight,
            balanced=not plain_mse,
            precision=precision.value,
            deterministic=deterministic,
            subjects_per_epoch=subjects,
            slices_per_subject=slices_per_subject,
            validation_subjects=validation_subjects,
            replayed_subjects=replayed_subjects,
            replay_from=None if replay_from is None else str(replay_from.resolve()),
            calibration_subjects=calibration_subjects,
            passes=1 if replayed_subjects else 3,
            lesion_weight=lesion_weight,
            scrambled=scrambled,
            workers=workers,
        )
    except ValidationError as error:
        wrong = error.errors()[0]
        name = ".".join(str(part) for part in wrong["loc"]).replace("_", "-")
        wanted = (
            "small letters, digits, '.', '_' and '-'"
            if name == "name"
            else wrong["msg"].removeprefix("Input should be ")
        )
        raise ConfigError(f"--{name} is {wrong['input']!r}, wanted {wanted}") from None
    keep_freed_memory()
    folder = output or Path("runs") / config.name
    quiet = quiet or not is_first_process()
    if data is None and not quiet:
        typer.echo("no DATA given: training on simulated DSC-MRI, sampled on the fly", err=True)
    with training_progress(quiet=quiet) as show:
        card = run_training(config, folder, device=device, threads=threads, resume=resume, on_progress=show)
    if not quiet:
        typer.echo(
            f"{folder / 'model'}: best of {card.training.epochs} epochs is {card.training.best_epoch}, "
            f"validation nrmse_tissue {card.scores['validation_nrmse_tissue']:.4f}"
        )


def _options_of_the_simulator(context: typer.Context) -> list[str]:
    """Options of the command line that say how subjects are simulated."""
    return [
        f"--{name.replace('_', '-')}"
        for name in (
            "subjects",
            "slices_per_subject",
            "validation_subjects",
            "calibration_subjects",
            "workers",
        )
        if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"
    ]
