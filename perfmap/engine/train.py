"""Training: one loop that reads from top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import perfmap
from perfmap.engine.batches import Batch, batches, to_tensors
from perfmap.engine.brightest import fit_brightest
from perfmap.engine.calibrate import calibrate
from perfmap.engine.dataset import Stack
from perfmap.engine.forward import in_layout, memory_layout
from perfmap.engine.losses import correction_loss, weighted_mse
from perfmap.engine.processes import Processes, share_statistics, together
from perfmap.engine.run_folder import (
    STACKS,
    RunState,
    Scores,
    begin_folder,
    check_folder,
    load_state,
    read_curve,
    save_state,
    write_log,
)
from perfmap.engine.sizes import count_multiply_adds, count_parameters
from perfmap.engine.sources import Source, open_source
from perfmap.engine.train_config import SIMULATOR, TrainConfig, network_arguments
from perfmap.errors import ConfigError, ModelError
from perfmap.models import build_network
from perfmap.models.card import InputContract, ModelCard, OutputContract, StartingPoint
from perfmap.models.checkpoint import find_checkpoint, load_checkpoint, read_card, save_checkpoint, write_card
from perfmap.models.voxel_unet import VoxelUNet
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


@dataclass(frozen=True)
class Fitting:
    """What the caller may show once training has ended: what is fitted to how many subjects."""

    subject: int
    subjects: int
    what: str


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
        Go on from the state in `folder`; its config must be the same but for budget and workers.
    on_progress : callable
        Called after every step, every epoch, and every subject that something is fitted to (`Fitting`).

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
    average = _copy_state(network)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    state = RunState(learning_rate=config.learning_rate)
    if resume:
        state = load_state(folder, network, average, optimiser, where)
    use_bf16 = config.precision == "bf16" or (config.precision == "auto" and _computes_bf16(where))

    show = on_progress if processes.is_first else lambda progress: None
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
                loss = _loss(processes.join(predicted.float(), len(batch.target)), batch, where)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                processes.sum_gradients(network)
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
                state.step += 1
                _average_into(average, network, min(config.ema, state.step / (state.step + 10)))
                losses.append(float(loss.detach()))
                show(
                    Progress(
                        epoch + 1,
                        config.epochs,
                        len(losses),
                        n_batches,
                        float(np.mean(losses[-50:])),
                        seconds,
                    )
                )
            state.n_slices = source.n_distinct(epoch + 1)
            scores = evaluate(network, average, validation, config, processes)
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
                    fields = _card_fields(config, source, network, state, scores, processes.n)
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
                    scores,
                    is_best,
                )
            )
    finally:
        source.close()
    if processes.is_first:
        card = _finish_card(folder, state, ended_by)
        is_fitted = (  # a better checkpoint begins without; a resumed run may want other subjects
            card.outputs.uncertainty is not None
            and card.training.config.get("calibration_subjects") == config.calibration_subjects
        )
        if not is_fitted and _fits_sd(config):
            _calibrated(folder, card, config, threads or 1, show)
        if config.target == "ap_rcbv" and card.outputs.brightest is None:
            _scaled(folder, card, config, validation or source.validation(), where, show)
    processes.wait()
    return read_card(folder / "model")


def _fits_sd(config: TrainConfig) -> bool:
    return network_gives_sd(config.inputs) and config.data == SIMULATOR and config.calibration_subjects > 0


def _fresh_network(config: TrainConfig) -> nn.Module:
    try:
        return build_network(config.architecture, **network_arguments(config.inputs), **config.arguments)
    except ModelError as error:
        raise ConfigError(str(error)) from error


def _arguments(network: nn.Module, config: TrainConfig, inputs: InputContract) -> dict[str, Any]:
    """Keyword arguments that make the network again, defaults that may change one day among them."""
    layout = network.layout if isinstance(network, VoxelUNet) else {}
    return {**layout, **network_arguments(inputs), **config.arguments}


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
        ("arguments", card.arguments, _arguments(network, config, inputs)),
        ("inputs", card.inputs.model_dump(), inputs.model_dump()),
    ):
        if found != wanted:
            raise ConfigError(
                f"model '{card.name}' cannot be the start of this run: {what} {found}, wanted {wanted}; "
                "give the same options as it was trained with, or start from random weights"
            )
    network.load_state_dict(before.network.state_dict())
    return StartingPoint(name=card.name, sha256=card.sha256)


def network_gives_sd(inputs: InputContract) -> bool:
    """Whether networks of this contract give a standard deviation beside the map."""
    return inputs.features == "curves+maps"


def _calibrated(
    folder: Path, card: ModelCard, config: TrainConfig, threads: int, show: Callable[[Fitting], None]
) -> None:
    """Write into the card how the network's standard deviation is to be read."""
    n, what = config.calibration_subjects, "standard deviation"
    show(Fitting(0, n, what))
    uncertainty = calibrate(
        load_checkpoint(folder / "model"),
        n_subjects=n,
        seed=config.seed,
        threads=threads,
        on_subject=lambda done: show(Fitting(done, n, what)),
    )
    outputs = card.outputs.model_copy(update={"uncertainty": uncertainty})
    said = card.training.model_copy(update={"config": card.training.config | {"calibration_subjects": n}})
    write_card(folder / "model", card.model_copy(update={"outputs": outputs, "training": said}))


def _scaled(
    folder: Path,
    card: ModelCard,
    config: TrainConfig,
    stacks: Sequence[Stack],
    device: torch.device,
    show: Callable[[Fitting], None],
) -> None:
    """Write into the card which level the brightest voxels of a patient's map are brought to, if that helps."""
    network = in_layout(load_checkpoint(folder / "model").network, card.inputs, device)
    what = "scale of a patient"

    def maps() -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating]]]:
        for done, stack in enumerate(stacks):
            show(Fitting(done, len(stacks), what))
            batch = to_tensors(stack, np.arange(len(stack)), config)
            with torch.inference_mode():
                channels = batch.channels.to(device, memory_format=memory_layout(card.inputs))
                output = network(channels, batch.context.to(device)).float().cpu()
            found = output if output.ndim == 3 else output[:, 0]
            yield (found * batch.inside).numpy(), (batch.target * batch.inside).numpy()

    level = fit_brightest(maps())
    show(Fitting(len(stacks), len(stacks), what))
    if level is None:
        logging.getLogger("perfmap").warning(
            "the scale of ap-rCBV maps stays the network's own: their brightest voxels set none that is better, or "
            "fewer than 5 validation patients say one"
        )
    else:
        reference = {"reference": "brightest", "brightest": float(f"{level * card.outputs.scale:.4g}")}
        outputs = card.outputs.model_copy(update=reference)
        write_card(folder / "model", card.model_copy(update={"outputs": outputs}))


def _loss(predicted: Tensor, batch: Batch, device: torch.device) -> Tensor:
    target, weight = batch.target.to(device), batch.weight.to(device)
    if predicted.ndim == 3:
        return weighted_mse(predicted, target, weight)
    return correction_loss(
        predicted,
        target,
        weight,
        tissue=batch.tissue.to(device),
        lesion=batch.lesion.to(device),
        white=batch.white.to(device),
        inside=batch.inside.to(device),
    )


@torch.no_grad()
def evaluate(
    network: nn.Module,
    weights: dict[str, Tensor],
    stacks: Sequence[Stack],
    config: TrainConfig,
    processes: Processes,
) -> Scores:
    """Scores of `weights` over `stacks`, each process taking its share; the network keeps its own weights and mode."""
    device = processes.device
    own = _copy_state(network)
    training = network.training
    network.load_state_dict(weights)
    network.eval()
    squared = reference = absolute = n_brain = loss = n_weight = 0.0
    for stack in processes.share(stacks):
        batch = to_tensors(stack, np.arange(len(stack)), config)
        output = network(
            batch.channels.to(device, memory_format=memory_layout(config.inputs)), batch.context.to(device)
        )
        output, target, weight = output.float().cpu(), batch.target, batch.weight
        tissue = torch.from_numpy(stack.tissue)
        n = float(weight.sum())
        loss += float(_loss(output, batch, torch.device("cpu"))) * n
        n_weight += n
        error = (output if output.ndim == 3 else output[:, 0]) - target
        brain = weight > 0
        absolute += float(error[brain].abs().sum())
        n_brain += float(brain.sum())
        squared += float((error[tissue] ** 2).sum())
        reference += float((target[tissue] ** 2).sum())
    network.load_state_dict(own)
    network.train(training)
    loss, n_weight, absolute, n_brain, squared, reference = processes.sum(
        np.array([loss, n_weight, absolute, n_brain, squared, reference])
    ).tolist()
    return Scores(
        loss / max(n_weight, 1.0), absolute / max(n_brain, 1.0), (squared / max(reference, 1e-12)) ** 0.5
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


def _card_fields(
    config: TrainConfig,
    source: Source,
    network: nn.Module,
    state: RunState,
    scores: Scores,
    n_processes: int,
) -> dict[str, Any]:
    quantity = QUANTITIES[config.target]
    return {
        "name": config.name,
        "architecture": config.architecture,
        "arguments": _arguments(network, config, source.inputs),
        "inputs": source.inputs,
        "outputs": OutputContract(
            quantity=config.target,
            unit=quantity.unit or "1",
            description=quantity.label,
            reference="white-matter" if config.target == "nrcbv" else "network",
            scale=source.scale,
        ),
        "scale_invariant": source.inputs.scale_invariant,
        "parameters": count_parameters(network),
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
            # A path may name a patient or a place: the card keeps the last part of it.
            "config": {
                **config.model_dump(exclude={"workers", "start_from"}),
                "data": Path(config.data).name,
                "replay_from": config.replay_from and Path(config.replay_from).name,
            },
            "perfmap_version": perfmap.__version__,
            "processes": n_processes,
        },
        "scores": {
            "validation_mae": round(scores.mae * source.scale, 5),
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
            "curve": read_curve(folder),
        }
    )
    card = card.model_copy(update={"training": record})
    write_card(folder / "model", card)
    return card
