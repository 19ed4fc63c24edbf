"""Series and maps that were computed before, kept so that new weights cost only their own predictions.

A stored thing is named by a hash of what made it: the record of the case, and the source code of the package's rooms
that computed it. Changed code or changed weights therefore compute anew. What stands in `benchmarks/` is not hashed:
after a change of how a method is called there, empty the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import perfmap
from perfmap.io.files import atomic_path

ROOT = Path(perfmap.__file__).parent
SIMULATOR = ("phantom", "physics", "series.py")
ENGINE = (
    "physics",
    "preprocess",
    "engine/conventional.py",
    "engine/conventional_config.py",
    "engine/conventional_values.py",
    "series.py",
)
QUALITY = ("engine/quality.py", "engine/quality_table.py", "engine/training_range.py")
NETWORK = ("physics", "preprocess", "engine/predict.py", "engine/forward.py", "models", "series.py", *QUALITY)

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Code:
    """Hashes of the source code that made what is stored: of the simulator, the conventional engine, the networks."""

    simulator: str
    engine: str
    network: str


def present_code() -> Code:
    """Hashes of the code as it is now."""
    return Code(code_digest(SIMULATOR), code_digest(ENGINE), code_digest(NETWORK))


@cache
def code_digest(parts: tuple[str, ...]) -> str:
    """Hash of the source of some rooms or files of the package."""
    digest = hashlib.sha256()
    for part in parts:
        path = ROOT / part
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(ROOT).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def digest_of(*words: str) -> str:
    """Name of a stored thing, from everything that decides it."""
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]


def kept(
    folder: Path | None, name: str, make: Callable[[], tuple[Arrays, dict[str, Any]]], *, packed: bool
) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and their notes from the store, made and stored where they are missing.

    Parameters
    ----------
    folder : Path or None
        None: nothing is kept.
    name : str
        From `digest_of`.
    make : callable
        Gives the arrays and a dictionary that JSON can hold.
    packed : bool
        Compress: maps are mostly empty, series mostly noise.
    """
    path = None if folder is None else folder / name[:2] / f"{name}.npz"
    if path is not None and path.is_file():
        with np.load(path, allow_pickle=False) as content:
            arrays = {key: content[key] for key in content.files if key != "_notes"}
            return arrays, json.loads(str(content["_notes"]))
    arrays, notes = make()
    if path is not None:
        with atomic_path(path, overwrite=True) as partial, partial.open("wb") as file:
            save = np.savez_compressed if packed else np.savez
            save(file, _notes=np.asarray(json.dumps(notes)), **arrays)
    return arrays, notes
