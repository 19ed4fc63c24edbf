"""The card of a run: what it says while the run lasts, how it ended, and what is fitted afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import perfmap
from perfmap.engine.batches import to_tensors
from perfmap.engine.brightest import fit_brightest
from perfmap.engine.calibrate import calibrate
from perfmap.engine.dataset import Stack
from perfmap.engine.forward import in_layout, memory_layout
from perfmap.engine.run_folder import RunState, Scores, read_curve
from perfmap.engine.sizes import count_multiply_adds, count_parameters
from perfmap.engine.sources import Source
from perfmap.engine.train_config import SIMULATOR, TrainConfig, network_arguments
from perfmap.errors import InputError
from perfmap.models.card import InputContract, ModelCard, OutputContract
from perfmap.models.checkpoint import load_checkpoint, read_card, write_card
from perfmap.models.voxel_unet import VoxelUNet
from perfmap.quantities import QUANTITIES


@dataclass(frozen=True)
class Fitting:
    """What the caller may show once training has ended: what is fitted to how many subjects."""

    subject: int
    subjects: int
    what: str


def arguments_of(network: nn.Module, config: TrainConfig, inputs: InputContract) -> dict[str, Any]:
    """Keyword arguments that make the network again, defaults that may change one day among them."""
    layout = network.layout if isinstance(network, VoxelUNet) else {}
    return {**layout, **network_arguments(inputs), **config.arguments}


def card_fields(
    config: TrainConfig,
    source: Source,
    network: nn.Module,
    state: RunState,
    scores: Scores,
    n_processes: int,
) -> dict[str, Any]:
    """Fields of a checkpoint's card as `save_checkpoint` takes them, while the run lasts."""
    quantity = QUANTITIES[config.target]
    return {
        "name": config.name,
        "architecture": config.architecture,
        "arguments": arguments_of(network, config, source.inputs),
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


def finish_card(
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


def fits_sd(config: TrainConfig) -> bool:
    """Whether the run ends with fitting the standard deviation that its network gives."""
    return (
        config.inputs.features == "curves+maps"
        and config.data == SIMULATOR
        and config.calibration_subjects > 0
    )


def fit_standard_deviation(
    folder: Path,
    card: ModelCard,
    config: TrainConfig,
    device: torch.device,
    threads: int,
    show: Callable[[Fitting], None],
) -> None:
    """Write into the card how the network's standard deviation is to be read, if enough lesions are met."""
    n, what = config.calibration_subjects, "standard deviation"
    show(Fitting(0, n, what))
    try:
        uncertainty = calibrate(
            load_checkpoint(folder / "model"),
            n_subjects=n,
            seed=config.seed,
            device=str(device),
            threads=threads,
            on_subject=lambda done: show(Fitting(done, n, what)),
        )
    except InputError as error:
        logging.getLogger("perfmap").warning("no standard deviation is fitted: %s", error)
        return
    outputs = card.outputs.model_copy(update={"uncertainty": uncertainty})
    said = card.training.model_copy(update={"config": card.training.config | {"calibration_subjects": n}})
    write_card(folder / "model", card.model_copy(update={"outputs": outputs, "training": said}))


def fit_scale(
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
