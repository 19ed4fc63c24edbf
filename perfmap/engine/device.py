"""Where networks compute."""

from __future__ import annotations

import torch

from perfmap.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Device of a name: ``auto`` takes a CUDA card where there is one, else the CPU.

    Raises
    ------
    ConfigError
        If the name is unknown, or the card is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise ConfigError(f"device '{name}' is unknown; wanted auto, cpu, cuda or cuda:N")
    if kind == "cuda" and (not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count()):
        raise ConfigError(
            f"device '{name}' is not there ({torch.cuda.device_count()} CUDA devices); use --device cpu or auto"
        )
    return torch.device(name)
