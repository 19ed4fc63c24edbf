"""The folder of a training run: config, log, and a state from which it goes on. No pickle in it."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from perfmap.engine.dataset import TRAIN
from perfmap.engine.train_config import TrainConfig
from perfmap.errors import ConfigError, ModelError
from perfmap.io.files import check_output
from perfmap.models.card import LossCurve

CONFIG, LOG, STATE, PROGRESS = "config.json", "log.csv", "state.safetensors", "state.json"
STACKS = "stacks"  # subjects that are kept to be seen again


@dataclass(frozen=True)
class Scores:
    """Losses over a set of slices.

    Attributes
    ----------
    loss : float
        What training minimises.
    mae : float
        Mean absolute error over the brain, unit of the target.
    nrmse_tissue : float
        RMS error over tissue divided by the RMS of the reference there.
    """

    loss: float
    mae: float
    nrmse_tissue: float


@dataclass
class RunState:
    """What a resumed run needs beside the tensors."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    best_loss: float = float("inf")
    best_epoch: int = 0
    learning_rate: float = 0.0
    n_slices: int = 0
    stale: int = 0


def check_folder(config: TrainConfig, folder: Path, *, resume: bool) -> None:
    """Refuse a folder that holds a run already, or, to resume, none with the same settings; nothing is written."""
    if not resume:
        if (folder / PROGRESS).exists():
            raise ConfigError(
                f"{folder} holds a training run already; go on with --resume, or choose another folder"
            )
        check_output(folder / CONFIG, overwrite=True)
        return
    try:
        before = TrainConfig.model_validate_json((folder / CONFIG).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder} holds no training run that could go on ({CONFIG} is missing or damaged); check --output, or "
            "leave out --resume"
        ) from error
    free = {"epochs", "minutes", "patience", "workers", "calibration_subjects"}
    old, new = before.model_dump(exclude=free), config.model_dump(exclude=free)
    changed = [key for key in old if old[key] != new[key]]
    if changed:
        raise ConfigError(
            f"the run in {folder} was begun with other settings ({', '.join(changed)}); "
            "resume with the same, or begin anew"
        )


def kept_subjects(folder: Path, config: TrainConfig) -> list[Path]:
    """Files of the training subjects that an earlier run has kept in its folder, sorted.

    Raises
    ------
    ConfigError
        If `folder` holds no run, or one that kept none, whose network reads other inputs than that of `config`, whose
        subjects have another number of slices, or which drew the very subjects that this one will draw.
    """
    try:
        before = TrainConfig.model_validate_json((folder / CONFIG).read_text("utf-8"))
    except (OSError, ValueError):
        raise ConfigError(
            f"{folder} holds no training run of this version; give --replay-from a folder that 'perfmap train -o' wrote"
        ) from None
    files = sorted((folder / STACKS).glob(f"{TRAIN}-*.npz"))
    for is_so, what in (
        (not files, "that kept no simulated subjects"),
        (before.inputs != config.inputs, "whose network reads other inputs"),
        (
            before.slices_per_subject != config.slices_per_subject,
            f"with {before.slices_per_subject} slices a subject, wanted {config.slices_per_subject}",
        ),
        (before.seed == config.seed, f"of the same seed, {config.seed}, and so of the same subjects"),
    ):
        if is_so:
            raise ConfigError(
                f"{folder} holds a run {what}; give another to --replay-from, or another --seed"
            )
    return files


def begin_folder(config: TrainConfig, folder: Path) -> None:
    """Write the config of a new run; subjects that an earlier one kept before it ended without a state go."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kept in (folder / STACKS).glob("[0-9]-" + "[0-9]" * 6 + ".npz"):
            kept.unlink()  # nothing else in there is ours
        (folder / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", "utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}; choose another folder") from error


def save_state(
    folder: Path,
    network: nn.Module,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    state: RunState,
) -> None:
    """Everything that a run needs to go on, as safetensors and JSON; each file replaced whole."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.items()}
    for index, values in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{key}": value for key, value in values.items()}
    partial = folder / (STATE + ".part")
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, partial)
    partial.replace(folder / STATE)
    partial = folder / (PROGRESS + ".part")
    partial.write_text(json.dumps(vars(state), indent=2) + "\n", "utf-8")
    partial.replace(folder / PROGRESS)


def load_state(
    folder: Path,
    network: nn.Module,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    device: torch.device,
) -> RunState:
    """Put the tensors of a run into network, running average and optimiser; return the rest of its state."""
    try:
        tensors = load_file(folder / STATE, device=str(device))
        state = RunState(**json.loads((folder / PROGRESS).read_text("utf-8")))
        network.load_state_dict(_part(tensors, "network."))
        average.update(_part(tensors, "average."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _part(tensors, "optimiser.").items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = tensor
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"the state in {folder} cannot be resumed: {str(error).splitlines()[0]}") from error
    return state


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def write_log(folder: Path, state: RunState, training_loss: float, scores: Scores) -> None:
    """Add one epoch to ``log.csv``."""
    path = folder / LOG
    row = {
        "epoch": state.epoch,
        "step": state.step,
        "seconds": round(state.seconds, 1),
        "training_loss": training_loss,
        "validation_loss": scores.loss,
        "validation_mae": scores.mae,
        "validation_nrmse_tissue": scores.nrmse_tissue,
    }
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def read_curve(folder: Path) -> LossCurve:
    """Losses of every epoch from ``log.csv``, to five digits; an epoch that was begun again counts once."""
    with (folder / LOG).open(newline="", encoding="utf-8") as file:
        rows = {int(row["epoch"]): row for row in csv.DictReader(file)}
    training, validation = (
        tuple(float(f"{float(rows[epoch][name]):.5g}") for epoch in sorted(rows))
        for name in ("training_loss", "validation_loss")
    )
    return LossCurve(training=training, validation=validation)
