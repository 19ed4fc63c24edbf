"""Networks and their checkpoints. Importing this room does not import torch; building a network does."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from perfmap.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

DEFAULT_MODEL = "voxel-unet"
"""Checkpoint that `perfmap predict` takes where none is named."""

# name on the command line: (module, class)
ARCHITECTURES: dict[str, tuple[str, str]] = {
    "conv3d": ("perfmap.models.conv3d", "Conv3D"),
    "convlstm": ("perfmap.models.conv_lstm", "ConvLSTM2D"),
    "unet-gru": ("perfmap.models.unet_gru", "UNetGRU"),
    "voxel-unet": ("perfmap.models.voxel_unet", "VoxelUNet"),
}


def build_network(architecture: str, **arguments: Any) -> nn.Module:
    """A fresh network; ModelError if the name or an argument is unknown."""
    if architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ModelError(f"architecture '{architecture}' is unknown; choose one of: {known}")
    module, name = ARCHITECTURES[architecture]
    try:
        network: nn.Module = getattr(import_module(module), name)(**arguments)
    except (TypeError, ValueError) as error:
        raise ModelError(f"architecture '{architecture}' does not take these arguments: {error}") from error
    return network
