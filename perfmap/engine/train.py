"""Training: one loop that reads from top to bottom."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

import perfmap
from perfmap.engine.dataset import Stack
from perfmap.engine.device import choose_device
from perfmap.engine.run_folder import RunState, Scores, begin_folder, load_state, save_state, write_log
from perfmap.engine.sources import Source, open_source
from perfmap.engine.train_config import TrainConfig
from perfmap.models import build_network
from perfmap.models.card import InputContract, ModelCard, OutputContract
from perfmap.models.checkpoint import CARD, read_card, save_checkpoint
from perfmap.quantities import QUANTITIES


@dataclass(frozen=True)
class Progress:
    """What the caller may show: sent after every step (`scores` is None) and after every epoch."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    seconds: float
    scores: Scores | None = None
    is_best: bool = False


def train(
    config: TrainConfig,
    folder: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
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
        Go on from the state in `folder`; its config must be the same but for budget and workers.
    on_progress : callable
        Called after every step and every epoch.

    Returns
    -------
    ModelCard
        Of the best checkpoint.

    Raises
    ------
    ConfigError
        If `folder` holds a run already and `resume` is not set, or the configs differ.
    InputError
        If the data cannot be used.
    """
    where = choose_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(config.seed)
    torch.use_deterministic_algorithms(config.deterministic)
    begin_folder(config, folder, resume=resume)

    source = open_source(config)
    inputs = source.inputs
    network = build_network(config.architecture, n_times=inputs.n_times, **config.arguments)
    network = network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = _copy_state(network)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    state = RunState(learning_rate=config.learning_rate)
    if resume:
        state = load_state(folder, network, average, optimiser, where)
    use_bf16 = config.precision == "bf16" or (config.precision == "auto" and _computes_bf16(where))

    ended_by: Literal["epochs", "minutes", "patience"] = "epochs"
    began = time.monotonic() - state.seconds
    try:
        validation = source.validation()
        for epoch in range(state.epoch, config.epochs):
            stacks = source.training(epoch)
            n_fresh = sum(len(stack) for stack in stacks)
            n_batches = max(source.passes * n_fresh // config.batch, 1)
            rng = np.random.default_rng([config.seed, 99, epoch])
            losses: list[float] = []
            network.train()
            for curves, valid, target, weight in _batches(stacks, config, rng, source.passes):
                share = max(
                    (epoch + len(losses) / n_batches) / config.epochs,
                    (time.monotonic() - began) / 60 / config.minutes if config.minutes else 0.0,
                )
                _set_learning_rate(optimiser, _scheduled(config, state.learning_rate, share))
                with torch.autocast(where.type, dtype=torch.bfloat16, enabled=use_bf16):
                    predicted = network(curves.to(where, memory_format=torch.channels_last), valid.to(where))
                loss = weighted_mse(predicted.float(), target.to(where), weight.to(where))
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
                state.step += 1
                _average_into(average, network, min(config.ema, state.step / (state.step + 10)))
                losses.append(float(loss.detach()))
                on_progress(
                    Progress(
                        epoch + 1,
                        config.epochs,
                        len(losses),
                        n_batches,
                        float(np.mean(losses[-50:])),
                        time.monotonic() - began,
                    )
                )
            state.n_slices += n_fresh
            scores = evaluate(network, average, validation, config, where)
            is_best = scores.loss < state.best_loss
            state.stale = 0 if is_best else state.stale + 1
            if is_best:
                state.best_loss, state.best_epoch = scores.loss, epoch + 1
            elif config.schedule == "plateau" and state.stale % 3 == 0:
                state.learning_rate *= 0.5
            state.epoch, state.seconds = epoch + 1, time.monotonic() - began
            out_of_time = config.minutes is not None and state.seconds / 60 >= config.minutes
            if out_of_time:
                ended_by = "minutes"
            elif config.patience is not None and state.stale >= config.patience:
                ended_by = "patience"
            write_log(folder, state, float(np.mean(losses)), scores)
            if is_best:
                save_checkpoint(
                    folder / "model", average, _card_fields(config, source, network, state, scores)
                )
            save_state(folder, network, average, optimiser, state)
            on_progress(
                Progress(
                    epoch + 1,
                    config.epochs,
                    n_batches,
                    n_batches,
                    float(np.mean(losses)),
                    state.seconds,
                    scores,
                    is_best,
                )
            )
            if ended_by != "epochs":
                break
    finally:
        source.close()
    return _finish_card(folder, state, ended_by)


def weighted_mse(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error, each pixel counted by its weight. All of shape (b, h, w)."""
    return (weight * (predicted - target) ** 2).sum() / weight.sum().clamp_min(1.0)


@torch.no_grad()
def evaluate(
    network: nn.Module,
    weights: dict[str, Tensor],
    stacks: Sequence[Stack],
    config: TrainConfig,
    device: torch.device,
) -> Scores:
    """Scores of `weights` over `stacks`; the network keeps its own weights and mode."""
    own = _copy_state(network)
    training = network.training
    network.load_state_dict(weights)
    network.eval()
    squared = reference = absolute = n_brain = loss = n_weight = 0.0
    for stack in stacks:
        curves, valid, target, weight = _to_tensors(stack, np.arange(len(stack)), config)
        predicted = (
            network(curves.to(device, memory_format=torch.channels_last), valid.to(device)).float().cpu()
        )
        tissue = torch.from_numpy(stack.tissue)
        error = predicted - target
        loss += float((weight * error**2).sum())
        n_weight += float(weight.sum())
        brain = weight > 0
        absolute += float(error[brain].abs().sum())
        n_brain += float(brain.sum())
        squared += float((error[tissue] ** 2).sum())
        reference += float((target[tissue] ** 2).sum())
    network.load_state_dict(own)
    network.train(training)
    return Scores(
        loss / max(n_weight, 1.0), absolute / max(n_brain, 1.0), (squared / max(reference, 1e-12)) ** 0.5
    )


def _batches(
    stacks: Sequence[Stack], config: TrainConfig, rng: np.random.Generator, passes: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Shuffled batches over all slices, `passes` times, half of them mirrored left to right."""
    places = [(i, j) for i, stack in enumerate(stacks) for j in range(len(stack))]
    for _ in range(passes):
        order = rng.permutation(len(places))
        for start in range(0, len(order) - config.batch + 1, config.batch) or [0]:
            parts = [
                _to_tensors(stacks[places[p][0]], np.array([places[p][1]]), config)
                for p in order[start : start + config.batch]
            ]
            curves, valid, target, weight = (torch.cat(group) for group in zip(*parts, strict=True))
            mirrored = torch.from_numpy(rng.random(len(curves)) < 0.5)
            for tensor in (curves, target, weight):
                tensor[mirrored] = tensor[mirrored].flip(-2)  # axis x
            yield curves, valid, target, weight


def _to_tensors(
    stack: Stack, which: np.ndarray[Any, Any], config: TrainConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Float32 tensors of some slices: curves (b, t, h, w), valid (b, t), target (b, h, w), weight (b, h, w)."""
    coverage = torch.from_numpy(stack.coverage[which].astype(np.float32))
    tissue = torch.from_numpy(stack.tissue[which])
    target = torch.from_numpy(stack.target[which].astype(np.float32)).clamp(max=config.target_limit)
    weight = torch.where(tissue, coverage, coverage * config.small_class_weight) * (coverage > 0.5)
    if config.balanced:
        weight = weight / (0.5 + 0.5 * target)
    return (
        torch.from_numpy(stack.curves[which].astype(np.float32)),
        torch.from_numpy(np.repeat(stack.valid[None], len(which), axis=0)),
        target,
        weight,
    )


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


def _copy_state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _average_into(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            average[name].lerp_(tensor.detach(), 1.0 - decay)
        else:
            average[name].copy_(tensor)


def count_multiply_adds(network: nn.Module, inputs: InputContract) -> int:
    """Multiply-adds of one slice, counted by PyTorch's own counter (two operations each)."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next(network.parameters()).device
    training = network.training
    network.eval()
    curves = torch.zeros(1, inputs.n_times, inputs.matrix, inputs.matrix, device=device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(curves, torch.ones(1, inputs.n_times, device=device))
    network.train(training)
    return int(counter.get_total_flops() // 2)


def _card_fields(
    config: TrainConfig, source: Source, network: nn.Module, state: RunState, scores: Scores
) -> dict[str, Any]:
    quantity = QUANTITIES[config.target]
    return {
        "name": config.name,
        "architecture": config.architecture,
        "arguments": {"n_times": source.inputs.n_times, **config.arguments},
        "inputs": source.inputs,
        "outputs": OutputContract(
            quantity=config.target,
            unit=quantity.unit or "1",
            description=quantity.label,
            reference="white-matter" if config.target == "nrcbv" else "network",
        ),
        "scale_invariant": source.inputs.scale_invariant,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "multiply_adds": count_multiply_adds(network, source.inputs),
        "training": {
            "data": source.description,
            "seed": config.seed,
            "n_train_slices": state.n_slices,
            "n_validation_slices": source.n_validation,
            "epochs": state.epoch,
            "best_epoch": state.best_epoch,
            "steps": state.step,
            "seconds": round(state.seconds, 1),
            "slices_per_second": round(state.step * config.batch / max(state.seconds, 1e-9), 2),
            "ended_by": "interrupted",  # until the run ends
            "config": config.model_dump(exclude={"workers"}),
            "perfmap_version": perfmap.__version__,
        },
        "scores": {
            "validation_mae": round(scores.mae, 5),
            "validation_nrmse_tissue": round(scores.nrmse_tissue, 5),
        },
    }


def _finish_card(
    folder: Path, state: RunState, ended_by: Literal["epochs", "minutes", "patience"]
) -> ModelCard:
    """Write into the best checkpoint's card how the whole run ended."""
    card = read_card(folder / "model")
    record = card.training.model_copy(
        update={
            "epochs": state.epoch,
            "steps": state.step,
            "n_train_slices": state.n_slices,
            "seconds": round(state.seconds, 1),
            "ended_by": ended_by,
        }
    )
    card = card.model_copy(update={"training": record})
    partial = folder / "model" / (CARD + ".part")
    partial.write_text(json.dumps(card.model_dump(), indent=2, sort_keys=True) + "\n", "utf-8")
    partial.replace(folder / "model" / CARD)
    return card
