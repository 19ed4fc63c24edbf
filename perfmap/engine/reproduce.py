"""Make a map again from its manifest, and compare the two byte for byte."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

import perfmap
from perfmap.engine.cases import Protocol
from perfmap.engine.export import find_cases, staged_case, the_case
from perfmap.engine.predict import PredictConfig
from perfmap.engine.predict_file import predict_file
from perfmap.errors import InputError, ModelError
from perfmap.io.dicom_files import holds_dicom
from perfmap.io.nifti import read_volume
from perfmap.io.sidecar import read_json, sha256_of
from perfmap.models.checkpoint import Checkpoint, find_checkpoint, load_checkpoint

ACROSS_PROCESSORS = 1e-4
"""Difference over the 99th percentile that another type of processor may make."""


@dataclass(frozen=True)
class Reproduction:
    """What became of it.

    Attributes
    ----------
    wanted, found : str
        SHA-256 of the map in the manifest, and of the map made now.
    difference : float or None
        Largest difference over the 99th percentile; None where the first map is not at hand.
    """

    wanted: str
    found: str
    difference: float | None = None

    @property
    def same(self) -> bool:
        """Whether the bytes are equal."""
        return self.wanted == self.found


def reproduce(
    manifest: Path,
    *,
    input_path: Path | None = None,
    mask_path: Path | None = None,
    model: str | None = None,
    threads: int = 1,
) -> Reproduction:
    """Predict once more what a manifest describes.

    Parameters
    ----------
    manifest : Path
        ``…_manifest.json`` of a batch, or what ``perfmap predict --json`` wrote.
    input_path, mask_path : Path, optional
        Where the inputs lie now, if not where the manifest says. An export of DICOM has to be named.
    model : str, optional
        Name or folder of the model, if it is not a shipped one.
    threads : int

    Raises
    ------
    InputError
        If this is no manifest, or an input is not the one that the map was made of.
    ModelError
        If the model is another one.
    """
    record = read_json(manifest)
    try:
        request: dict[str, Any] = record["request"]
        wanted, name = str(record["map_sha256"]), str(request["model"]["name"])
        config = PredictConfig(**request["settings"], device=request["device"])
        protocol = Protocol(**request["protocol"])
        version = str(request["version"])
    except (KeyError, TypeError, ValidationError) as error:
        if isinstance(record.get("request"), dict) and "timing" in record["request"]:
            raise InputError(
                f"{manifest} was written by an earlier state of this version; predict again to have one that is read"
            ) from error
        raise InputError(f"{manifest} is no manifest of a map ({error}); give what predict wrote") from error
    if version != perfmap.__version__:
        raise InputError(
            f"{manifest} is of perfmap {version}, this is {perfmap.__version__}; install that one"
        )
    checkpoint = load_checkpoint(find_checkpoint(model or name))
    _check_model(checkpoint, request)
    series, mask = _place(record, "input", input_path), _place(record, "mask", mask_path)
    if series is None:
        raise InputError(f"{manifest} does not say where its input lies; give it with --input")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perfmap-")))
        if holds_dicom(series):
            series = _converted(series, protocol, str(request["input_sha256"]), stack)
        for path, key in ((series, "input_sha256"), (mask, "mask_sha256")):
            if (sha256_of(path) if path else None) != request[key]:
                raise InputError(f"{path} is not the file that the map was made of; give the one that was")
        again = folder / "map.nii.gz"
        predict_file(series, again, checkpoint, config, protocol=protocol, mask_path=mask, threads=threads)
        return Reproduction(
            wanted, sha256_of(again), _difference(manifest.parent / str(record["map"]), again)
        )


def _converted(export: Path, protocol: Protocol, wanted: str, stack: ExitStack) -> Path:
    """The series of an export that a map was made of, converted: the original, or its motion-corrected twin."""
    prefer: Literal["original", "moco"]
    converted: Path | None = None
    refusal: InputError | None = None
    for prefer in ("original", "moco"):
        try:
            case = the_case(find_cases(export, prefer=prefer, time_step=protocol.time_step))
            converted = stack.enter_context(staged_case(case)).nifti
        except InputError as error:
            refusal = refusal or error  # an original that does not convert may be why the twin was taken
            continue
        if sha256_of(converted) == wanted:
            return converted
    if converted is None:
        raise refusal or InputError(f"{export} holds no series")
    return converted


def _check_model(checkpoint: Checkpoint, request: Mapping[str, Any]) -> None:
    wanted = str(request["model"]["sha256"])
    if checkpoint.card.sha256 != wanted:
        raise ModelError(
            f"model '{checkpoint.card.name}' has sha256 {checkpoint.card.sha256[:12]}…, the map was made with "
            f"{wanted[:12]}…; give that model with --model"
        )


def _place(record: Mapping[str, Any], key: str, given: Path | None) -> Path | None:
    named = record.get(key)
    return given or (Path(str(named)) if named else None)


def _difference(first: Path, second: Path) -> float | None:
    if not first.is_file():
        return None
    one, two = (np.nan_to_num(read_volume(path).array.astype(np.float64)) for path in (first, second))
    level = float(np.percentile(np.abs(one), 99))
    apart = float(np.abs(one - two).max()) if one.shape == two.shape else math.inf
    return apart / level if level else apart
