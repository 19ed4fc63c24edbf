"""Where training examples come from: the simulator on the fly, or a cohort on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

import numpy as np

from perfmap.engine.dataset import TRAIN, VALIDATION, SimulatedStacks, Stack, load_stack
from perfmap.engine.patients import Patient, find_patients, largest_intensity, patient_stack, split_patients
from perfmap.engine.processes import Processes
from perfmap.engine.run_folder import kept_subjects
from perfmap.engine.train_config import SIMULATOR, TrainConfig
from perfmap.errors import ConfigError, InputError
from perfmap.models.card import InputContract
from perfmap.quantities import QUANTITIES

logger = logging.getLogger(__name__)
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Source:
    """Where stacks come from; `scale` is what the network's 1 stands for, in the target's unit."""

    inputs: InputContract
    passes: int
    description: str
    n_validation: int
    training: Callable[[int], list[Stack]]
    validation: Callable[[], list[Stack]]
    close: Callable[[], None]
    n_distinct: Callable[[int], int]
    scale: float = 1.0


def open_source(config: TrainConfig, folder: Path, processes: Processes) -> Source:
    """The source a config names; InputError or ConfigError if it cannot be used. Subjects are kept in `folder`.

    Each of several processes simulates its share of the subjects; then all have all of them.
    """
    if config.target not in QUANTITIES:
        raise ConfigError(f"target '{config.target}' is unknown; choose one of {', '.join(QUANTITIES)}")
    if config.data == SIMULATOR:
        return _simulated_source(config, folder, processes)
    return _cohort_source(config, tell=processes.is_first)


def _simulated_source(config: TrainConfig, folder: Path, processes: Processes) -> Source:
    if config.target != "nrcbv":
        raise ConfigError(f"target '{config.target}' is not simulated on the fly, only nrcbv; give DATA")
    if config.inputs.normalisation == "training-max":
        raise ConfigError(
            "normalisation 'training-max' wants training data on disk; give DATA, or use log-ratio"
        )
    earlier_run = None if config.replay_from is None else Path(config.replay_from)
    before = [] if earlier_run is None else processes.agree(kept_subjects(earlier_run, config))
    stacks = SimulatedStacks(
        config.inputs,
        seed=config.seed,
        n_slices=config.slices_per_subject,
        workers=config.workers,
        folder=folder if config.replayed_subjects else None,
    )
    n = config.subjects_per_epoch
    ahead: dict[int, list[Future[Stack]]] = {}

    def replayed(epoch: int) -> list[int]:
        """Numbers of the subjects that an epoch sees again: this run's own, then those of the run before."""
        drawn = np.random.default_rng([config.seed, 98, epoch]).permutation(epoch * n + len(before))
        return [int(i) for i in drawn[: config.replayed_subjects]]

    def n_distinct(epochs: int) -> int:
        taken = {i - epoch * n for epoch in range(epochs) for i in replayed(epoch) if i >= epoch * n}
        return (epochs * n + len(taken)) * config.slices_per_subject

    def training(epoch: int) -> list[Stack]:
        """Stacks of this epoch, new ones and some of earlier epochs; the new ones of the next are begun."""
        for e in (epoch, epoch + 1):
            if e not in ahead and e < config.epochs:
                ahead[e] = stacks.submit(TRAIN, processes.share(range(e * n, (e + 1) * n)))
        again = [
            stacks.kept(TRAIN, i) if i < epoch * n else _read_again(before[i - epoch * n])
            for i in replayed(epoch)
        ]
        fresh = processes.gather([future.result() for future in ahead.pop(epoch)])
        return fresh + again

    def validation() -> list[Stack]:
        mine = processes.share(range(config.validation_subjects))
        return processes.gather([future.result() for future in stacks.submit(VALIDATION, mine)])

    return Source(
        inputs=config.inputs,
        passes=config.passes,
        description="simulated DSC-MRI, wide random regime, sampled on the fly"
        + (f", and subjects of an earlier run ({earlier_run.name})" if earlier_run else ""),
        n_validation=config.validation_subjects * config.slices_per_subject,
        training=training,
        validation=validation,
        close=stacks.close,
        n_distinct=n_distinct,
    )


def _read_again(path: Path) -> Stack:
    try:
        return load_stack(path)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(
            f"subject {path} of an earlier run cannot be read ({error}); take it away and begin anew"
        ) from error


def _cohort_source(config: TrainConfig, *, tell: bool) -> Source:
    """Patients on disk; a series that cannot be used is left out, and named where `tell`."""
    patients: dict[str, list[Patient]] = {}
    for patient in find_patients(Path(config.data), target=config.target):
        patients.setdefault(patient.name, []).append(patient)
    _refuse_shared_series(patients)
    split = split_patients(list(patients), seed=config.seed)
    inputs, n_left_out = config.inputs, 0

    def read(part: str, names: Sequence[str], how: Callable[[Patient], _Read]) -> list[_Read]:
        nonlocal n_left_out
        found, reasons = [], []
        for patient in (patient for name in names for patient in patients[name]):
            try:
                found.append(how(patient))
            except InputError as error:
                reasons.append(f"patient {patient.name}: {error}")
        if not found:
            raise InputError(
                f"no patient of the {part} part can be used; {reasons[0]}; mend it, or draw the parts by another --seed"
            )
        n_left_out += len(reasons)
        for reason in reasons if tell else ():
            logger.warning("left out of the %s part, %s", part, reason)
        return found

    def stack_of(patient: Patient) -> Stack:
        return patient_stack(patient, inputs, slices=config.slices)

    def in_own_unit(patient: Patient) -> tuple[Stack, float]:
        """A patient divided by its own largest intensity, and that."""
        own = largest_intensity(patient)
        return patient_stack(
            patient, inputs.model_copy(update={"training_max": own}), slices=config.slices
        ), own

    if inputs.normalisation == "training-max":
        # The constant is that of the series that can be used, which is known when they have been.
        pairs = read("training", split.train, in_own_unit)
        largest = max(own for _, own in pairs)
        inputs = inputs.model_copy(update={"training_max": largest})
        kept = [_brighter(stack, own / largest) for stack, own in pairs]
    else:
        kept = read("training", split.train, stack_of)
    scale = 1.0 if config.target == "nrcbv" else tissue_mean(kept)
    kept = [rescaled(stack, scale) for stack in kept]
    validation = [rescaled(stack, scale) for stack in read("validation", split.validation, stack_of)]
    left_out = f", {n_left_out} series of them left out as unusable" if n_left_out else ""
    return Source(
        inputs=inputs,
        passes=1,
        description=(
            f"cohort of {len(patients)} patients, target {config.target}, "
            f"split {len(split.train)}/{len(split.validation)}/{len(split.test)}{left_out}"
        ),
        n_validation=sum(len(stack) for stack in validation),
        training=lambda epoch: kept,
        validation=lambda: validation,
        close=lambda: None,
        n_distinct=lambda epochs: sum(len(stack) for stack in kept),
        scale=scale,
    )


def _refuse_shared_series(patients: dict[str, list[Patient]]) -> None:
    """One series under two names could stand in two parts."""
    owners: dict[Path, str] = {}
    for patient in (patient for visits in patients.values() for patient in visits):
        owner = owners.setdefault(patient.series.resolve(), patient.name)
        if owner != patient.name:
            raise InputError(
                f"{patient.series.name} is the series of the patients {owner} and {patient.name}; give it to one"
            )


def _brighter(stack: Stack, factor: float) -> Stack:
    """The stack with its channels multiplied by a factor."""
    return replace(stack, curves=(stack.curves.astype(np.float32) * np.float32(factor)).astype(np.float16))


def tissue_mean(stacks: Sequence[Stack]) -> float:
    """Mean of the target over the tissue of all stacks, to three digits: what a network's 1 stands for.

    Targets of other scales than nrCBV's, whose mean over tissue is between 1 and 2, are divided by it, so that the
    same first weights, learning rate and loss serve for all of them.
    """
    total = sum(float(stack.target[stack.tissue].astype(np.float64).sum()) for stack in stacks)
    mean = total / max(sum(int(stack.tissue.sum()) for stack in stacks), 1)
    if not mean > 0:
        raise InputError(
            f"the reference maps have a mean of {mean:.3g} in tissue, wanted a positive one; check them"
        )
    return float(f"{mean:.3g}")


def rescaled(stack: Stack, scale: float) -> Stack:
    """The stack with its target divided by `scale`."""
    if scale == 1.0:
        return stack
    target = (stack.target.astype(np.float32) / np.float32(scale)).astype(np.float16)
    return replace(stack, target=target)
