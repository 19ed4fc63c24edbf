"""Checkpoints: a folder with ``model.safetensors`` and ``card.json``. No pickle is ever loaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from perfmap.errors import ModelError
from perfmap.models import build_network
from perfmap.models.card import ModelCard

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "model.safetensors"
CARD = "card.json"
_PACKAGE = Path(__file__).resolve().parents[1]
# In a wheel the weights lie inside of the package, in a source tree beside it.
_SHIPPED = (_PACKAGE / "_weights", _PACKAGE.parent / "weights")


@dataclass(frozen=True)
class Checkpoint:
    """A network ready to predict, with its card."""

    card: ModelCard
    network: nn.Module


def shipped_models() -> dict[str, Path]:
    """Folders of the checkpoints that come with perfmap, by name."""
    for root in _SHIPPED:
        if root.is_dir():
            return {folder.name: folder for folder in sorted(root.iterdir()) if (folder / CARD).is_file()}
    return {}


def find_checkpoint(model: str) -> Path:
    """Folder of a model named as shipped, or given by its path (the folder or a file in it)."""
    shipped = shipped_models()
    if model in shipped:
        return shipped[model]
    path = Path(model)
    folder = path.parent if path.name in (WEIGHTS, CARD) else path
    if (folder / CARD).is_file():
        return folder
    if (folder / "model" / CARD).is_file():
        raise ModelError(f"{folder} is a training run, not a model; give {folder / 'model'}")
    known = ", ".join(sorted(shipped)) or "none"
    raise ModelError(
        f"model '{model}' is neither shipped ({known}) nor a folder with {CARD} and {WEIGHTS}; "
        "see 'perfmap models', or name such a folder"
    )


def read_card(folder: Path) -> ModelCard:
    """Card of a checkpoint; ModelError if it is missing, damaged or of another format."""
    path = folder / CARD
    try:
        return ModelCard.model_validate_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"card {path} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ModelError(f"card {path} is not valid at '{where}': {first['msg']}") from error


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read card and weights, check the one against the other, build the network in float32, eval mode."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    card = read_card(folder)
    path = folder / WEIGHTS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"weights {path} cannot be read: {error.strerror or error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != card.sha256:
        raise ModelError(
            f"weights {path} have sha256 {found[:12]}…, the card says {card.sha256[:12]}…; copy both again"
        )
    network = build_network(card.architecture, **card.arguments)
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in load(content).items()})
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"weights {path} do not fit architecture '{card.architecture}': {reason}") from error
    return Checkpoint(card=card, network=network.eval().requires_grad_(False))


def weights_to_bytes(state: dict[str, Tensor], *, half: bool) -> bytes:
    """Serialise a state dict; `half` stores floating-point tensors as float16."""
    import torch
    from safetensors.torch import save

    def stored(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu().contiguous()
        return tensor.to(torch.float16) if half and tensor.is_floating_point() else tensor

    return save({name: stored(tensor) for name, tensor in state.items()})


def save_checkpoint(
    folder: Path, state: dict[str, Tensor], card_fields: dict[str, Any], *, half: bool = True
) -> ModelCard:
    """Write weights and card; the card's sha256 is that of the weights written.

    Parameters
    ----------
    folder : Path
        Made where missing; an older checkpoint in it is replaced file by file, the card last.
    state : dict of Tensor
        The network's state dict.
    card_fields : dict
        Everything of `ModelCard` but ``sha256``.
    half : bool
        Store weights as float16.
    """
    content = weights_to_bytes(state, half=half)
    card = ModelCard(**card_fields, sha256=hashlib.sha256(content).hexdigest())
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / WEIGHTS, content)
    write_card(folder, card)
    return card


def write_card(folder: Path, card: ModelCard) -> None:
    """Write a card, replacing the one that is there."""
    _replace(folder / CARD, (json.dumps(card.model_dump(), indent=2, sort_keys=True) + "\n").encode())


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    partial.replace(path)
