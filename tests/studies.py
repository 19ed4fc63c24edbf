"""Small studies on disk and a small network: what tests of whole runs need."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from perfmap.io.nifti import write_series
from perfmap.models import build_network
from perfmap.models.card import InputContract, OutputContract
from perfmap.models.checkpoint import save_checkpoint
from tests.heads import head_series
from tests.models.test_checkpoint import card_fields


def save_small_model(folder: Path, *, seed: int = 0) -> Path:
    """A small network with random weights: how files are treated does not depend on what it has learnt."""
    torch.manual_seed(seed)
    arguments = {"n_times": 45, "widths": [4, 4, 8, 8, 8]}
    fields = {
        **card_fields(),
        "arguments": arguments,
        "inputs": InputContract(matrix=32),
        "outputs": OutputContract(
            reference="network"
        ),  # no search for white matter: it takes most of the time
    }
    save_checkpoint(folder, build_network("unet-gru", **arguments).state_dict(), fields, half=False)
    return folder


def write_study(path: Path, *, seed: int, n_slices: int = 3) -> Path:
    """A series of a small head; another seed gives other noise."""
    series, _ = head_series(shape=(32, 32, n_slices), n_times=40, seed=seed)
    write_series(series, path, overwrite=True)
    return path


def truncate(path: Path, share: float = 0.5) -> Path:
    """Keep the first part of a file, as a copy that stopped would."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def hashes(folder: Path, pattern: str = "*.nii.gz") -> dict[str, str]:
    """SHA-256 of the files below a folder, by their path in it."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob(pattern))
    }
