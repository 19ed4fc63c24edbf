"""Training: one loop that reads from top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from perfmap.engine.batches import batches
from perfmap.engine.forward import in_layout, memory_layout
from perfmap.engine.processes import Processes, share_statistics, together
from perfmap.engine.run_folder import (
    STACKS,
    RunState,
    Scores,
    begin_folder,
    check_folder,
    load_state,
    save_state,
    write_log,
)
from perfmap.engine.sources import open_source
from perfmap.engine.train_config import SIMULATOR, TrainConfig, network_arguments
from perfmap.engine.trained_card import (
    Fitting,
    arguments_of,
    card_fields,
    finish_card,
    fit_scale,
    fit_standard_deviation,
    fits_sd,
)
from perfmap.engine.validate import average_into, copy_state, evaluate, loss_of
from perfmap.errors import ConfigError, ModelError
from perfmap.models import build_network
from perfmap.models.card import InputContract, ModelCard, StartingPoint
from perfmap.models.checkpoint import find_checkpoint, load_checkpoint, read_card, save_checkpoint


@dataclass(frozen=True)
class Progress:
    """What the caller may show: sent after every step (`scores` is None) and after every epoch; times in s."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    seconds: float
    budget: float | None = None
    scores: Scores | None = None
    is_best: bool = False


def train(
    config: TrainConfig,
    folder: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress | Fitting], None] = lambda progress: None,
) -> ModelCard:
    """Train a network and leave its best checkpoint in ``folder/model``.

    Parameters
    ----------
    config : TrainConfig
    folder : Path
        Run folder: resolved config, ``log.csv``, resumable state, and the checkpoint.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    threads : int, optional
        Cores the network uses; all of them if not given.
    resume : bool
        Go on from the state in `folder`; its config must be the same but for budget, workers and
        the subjects that the standard deviation is fitted to.
    on_progress : callable
        Called after every step, every epoch, and every subject that something is fitted to (`Fitting`).

    Returns
    -------
    ModelCard
        Of the best checkpoint.

    Raises
    ------
    ConfigError
        If `folder` holds a run already and `resume` is not set, the configs differ, the target is unknown, or a loss is
        no longer finite.
    InputError
        If the data cannot be used.
    """
    with together(device) as processes:
        if config.batch < processes.n:
            raise ConfigError(
                f"a batch of {config.batch} slices cannot be shared by {processes.n} processes; give a larger --batch"
            )
        return _train(config, folder, processes, threads=threads, resume=resume, on_progress=on_progress)


def _train(
    config: TrainConfig,
    folder: Path,
    processes: Processes,
    *,
    threads: int | None,
    resume: bool,
    on_progress: Callable[[Progress | Fitting], None],
) -> ModelCard:
    where = processes.device
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(config.seed)
    torch.use_deterministic_algorithms(config.deterministic)
    check_folder(config, folder, resume=resume)
    network = _fresh_network(config)
    # A run that goes on has its own weights: the checkpoint it began with may be gone, or another by now.
    kept = folder / "model" if resume and (folder / "model").is_dir() else None
    started_from = read_card(kept).training.started_from if kept else None
    # What cannot begin is refused before data are read, unless these decide what the network is told.
    waits = config.inputs.normalisation == "training-max"
    if not kept and not waits:
        started_from = _begin_with(network, config, config.inputs)
    source = open_source(config, folder / STACKS, processes)
    inputs = source.inputs
    if not kept and waits:
        started_from = _begin_with(network, config, inputs)
    if processes.is_first and not resume:
        begin_folder(config, folder)  # only now: a run that is refused leaves nothing behind
    processes.wait()
    if processes.n > 1:
        network = share_statistics(network)
    layout = memory_layout(inputs)
    network = in_layout(network, inputs, where)
    average = copy_state(network)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    state = RunState(learning_rate=config.learning_rate)
    if resume:
        state = load_state(folder, network, average, optimiser, where)
    use_bf16 = config.precision == "bf16" or (config.precision == "auto" and _computes_bf16(where))

    show = on_progress if processes.is_first else lambda progress: None
    budget = None if config.minutes is None else 60 * config.minutes
    began = time.monotonic() - state.seconds
    try:
        validation = [] if _why_ended(config, state) else source.validation()
        while (ended_by := _why_ended(config, state)) is None:
            epoch = state.epoch
            stacks = source.training(epoch)
            n_slices = sum(len(stack) for stack in stacks)
            n_batches = max(source.passes * n_slices // config.batch, 1)
            rng = np.random.default_rng([config.seed, 99, epoch])
            losses: list[float] = []
            network.train()
            for batch in batches(stacks, config, rng, source.passes):
                if len(batch.target) < processes.n:
                    continue  # a last, small batch that not every process would have a slice of
                seconds = processes.agree(time.monotonic() - began)
                if losses and config.minutes is not None and seconds / 60 >= config.minutes:
                    break  # an epoch of a slow network can be most of the budget
                share = max(
                    (epoch + len(losses) / n_batches) / config.epochs,
                    seconds / 60 / config.minutes if config.minutes else 0.0,
                )
                _set_learning_rate(optimiser, _scheduled(config, state.learning_rate, share))
                with torch.autocast(where.type, dtype=torch.bfloat16, enabled=use_bf16):
                    predicted = network(
                        batch.channels[processes.rank :: processes.n].to(where, memory_format=layout),
                        batch.context[processes.rank :: processes.n].to(where),
                    )
                loss = loss_of(processes.join(predicted.float(), len(batch.target)), batch, where)
                if not torch.isfinite(loss):
                    raise ConfigError(
                        f"loss {float(loss.detach()):g} in epoch {epoch + 1}: training diverged; lower --learning-rate"
                    )
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                processes.sum_gradients(network)
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
                state.step += 1
                average_into(average, network, min(config.ema, state.step / (state.step + 10)))
                losses.append(float(loss.detach()))
                show(
                    Progress(
                        epoch + 1,
                        config.epochs,
                        len(losses),
                        n_batches,
                        float(np.mean(losses[-50:])),
                        seconds,
                        budget,
                    )
                )
            state.n_slices = source.n_distinct(epoch + 1)
            scores = evaluate(network, average, validation, config, processes)
            if not np.isfinite(scores.loss):
                raise ConfigError(
                    f"validation loss {scores.loss:g} after epoch {epoch + 1}: training diverged; lower --learning-rate"
                )
            is_best = scores.loss < state.best_loss
            state.stale = 0 if is_best else state.stale + 1
            if is_best:
                state.best_loss, state.best_epoch = scores.loss, epoch + 1
            elif config.schedule == "plateau" and state.stale % 3 == 0:
                state.learning_rate *= 0.5
            state.epoch, state.seconds = epoch + 1, processes.agree(time.monotonic() - began)
            if processes.is_first:
                write_log(folder, state, float(np.mean(losses)), scores)
                if is_best:
                    fields = card_fields(config, source, network, state, scores, processes.n)
                    fields["training"]["started_from"] = started_from
                    save_checkpoint(folder / "model", average, fields)
                save_state(folder, network, average, optimiser, state)
            show(
                Progress(
                    epoch + 1,
                    config.epochs,
                    n_batches,
                    n_batches,
                    float(np.mean(losses)),
                    state.seconds,
                    budget,
                    scores,
                    is_best,
                )
            )
    finally:
        source.close()
    if processes.is_first:
        card = finish_card(folder, state, ended_by)
        is_fitted = (  # a better checkpoint begins without; a resumed run may want other subjects
            card.outputs.uncertainty is not None
            and card.training.config.get("calibration_subjects") == config.calibration_subjects
        )
        if not is_fitted and fits_sd(config):
            fit_standard_deviation(folder, card, config, where, torch.get_num_threads(), show)
        elif not is_fitted and config.inputs.features == "curves+maps" and config.data != SIMULATOR:
            logging.getLogger("perfmap").warning(
                "no standard deviation is fitted on DATA: 'perfmap predict --uncertainty' will refuse this model"
            )
        if config.target == "ap_rcbv" and card.outputs.brightest is None:
            fit_scale(folder, card, config, validation or source.validation(), where, show)
    processes.wait()
    return read_card(folder / "model")


def _fresh_network(config: TrainConfig) -> nn.Module:
    try:
        return build_network(config.architecture, **network_arguments(config.inputs), **config.arguments)
    except ModelError as error:
        raise ConfigError(str(error)) from error


def _why_ended(config: TrainConfig, state: RunState) -> Literal["epochs", "minutes", "patience"] | None:
    """Which of its ends a run has reached; None: it goes on."""
    if config.minutes is not None and state.seconds / 60 >= config.minutes:
        return "minutes"
    if config.patience is not None and state.stale >= config.patience:
        return "patience"
    return "epochs" if state.epoch >= config.epochs else None


def _begin_with(network: nn.Module, config: TrainConfig, inputs: InputContract) -> StartingPoint | None:
    """Load the weights that a run begins with, if it names any."""
    if config.start_from is None:
        return None
    before = load_checkpoint(find_checkpoint(config.start_from))
    card = before.card
    for what, found, wanted in (
        ("architecture", card.architecture, config.architecture),
        ("arguments", card.arguments, arguments_of(network, config, inputs)),
        ("inputs", card.inputs.model_dump(), inputs.model_dump()),
    ):
        if found != wanted:
            raise ConfigError(
                f"model '{card.name}' cannot be the start of this run: {what} {found}, wanted {wanted}; "
                "give the same options as it was trained with, or start from random weights"
            )
    network.load_state_dict(before.network.state_dict())
    return StartingPoint(name=card.name, sha256=card.sha256)


def _scheduled(config: TrainConfig, base: float, share: float) -> float:
    """Learning rate after `share` of the budget, with a linear rise over the first hundredth."""
    rise = min(share / 0.01, 1.0)
    if config.schedule != "cosine":
        return base * max(rise, 0.05)
    fall = 0.5 * (1.0 + float(np.cos(np.pi * min(share, 1.0))))
    return base * max(min(rise, fall), 0.01)


def _set_learning_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = value


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    capability = torch.backends.cpu.get_cpu_capability()
    return capability.startswith("AVX512")
