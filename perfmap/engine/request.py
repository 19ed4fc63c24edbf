"""What decides the bytes of a map: equal requests give equal maps, and a manifest holds the request that it answers."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import perfmap
from perfmap.engine.cases import Protocol
from perfmap.engine.device import choose_device
from perfmap.engine.predict import PredictConfig
from perfmap.errors import InputError
from perfmap.io.sidecar import sha256_of, sidecar_path
from perfmap.models.card import ModelCard


def request_of(
    input_path: Path | None,
    card: ModelCard,
    config: PredictConfig,
    *,
    protocol: Protocol,
    mask_path: Path | None,
) -> dict[str, Any]:
    """Input, model, settings and version, each by its hash or value; no path and no name of a patient.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    return {
        **file_hashes(input_path, mask_path=mask_path),
        "model": {
            "name": card.name,
            "sha256": card.sha256,
            "inputs": card.inputs.model_dump(mode="json"),
            "outputs": card.outputs.model_dump(mode="json"),
        },
        "settings": config.model_dump(mode="json", exclude={"device"}),
        "device": choose_device(config.device).type,
        "protocol": dict(vars(protocol)),
        "version": perfmap.__version__,
    }


def file_hashes(input_path: Path | None, *, mask_path: Path | None) -> dict[str, str | None]:
    """SHA-256 of the files that a prediction reads; None for what is not there, or not yet converted."""
    sidecar = sidecar_path(input_path) if input_path else None
    return {
        "input_sha256": sha256_of(input_path) if input_path else None,
        "sidecar_sha256": sha256_of(sidecar) if sidecar and sidecar.is_file() else None,
        "mask_sha256": sha256_of(mask_path) if mask_path else None,
    }


def refuse_changed(request: Mapping[str, Any], input_path: Path, *, mask_path: Path | None) -> None:
    """Refuse inputs that are no longer those that the request was made for.

    Raises
    ------
    InputError
        If a file has changed or is gone.
    """
    now = file_hashes(input_path, mask_path=mask_path)
    sidecar = sidecar_path(input_path)
    for (key, found), path in zip(now.items(), (input_path, sidecar, mask_path), strict=True):
        if found != request[key]:
            raise InputError(f"{path} changed while it was read; wait until it is written, and run again")


def environment() -> dict[str, Any]:
    """What a map may depend on in its last bits, beside the request."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "processor": _processor(),
        "processors": os.cpu_count(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
