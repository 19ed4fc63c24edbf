"""Prediction: a series and a checkpoint in, maps out. No file is touched here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from perfmap.engine.device import choose_device
from perfmap.errors import InputError, ModelError
from perfmap.models.card import InputContract
from perfmap.models.checkpoint import Checkpoint
from perfmap.preprocess.brain import voxel_size
from perfmap.preprocess.measures import measure_series
from perfmap.preprocess.motion import MotionReport, correct_motion, estimate_displacement
from perfmap.preprocess.pipeline import Prepared, network_slice, prepare_series
from perfmap.preprocess.resample import from_matrix
from perfmap.preprocess.white_matter import WhiteMatter, estimate_white_matter
from perfmap.series import FloatArray, Series, Volume

# Slices computed together. Fixed, so that a map does not depend on the number of threads.
_BLOCK = 4


class PredictConfig(BaseModel):
    """Settings of a prediction that can change its result; saved beside the map.

    Attributes
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    outside_is_nan : bool
        NaN instead of 0 where there is no reading.
    motion_correction : {"auto", "on", "off"}
        ``auto``: volumes are registered where the head moved more than `perfmap.preprocess.motion.THRESHOLD`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    outside_is_nan: bool = False
    motion_correction: Literal["auto", "on", "off"] = "auto"


@dataclass(frozen=True)
class Prediction:
    """What a prediction gives.

    Attributes
    ----------
    maps : dict of Volume
        The network's map under its quantity, and ``validity`` (see `perfmap.preprocess.pipeline.Validity`).
    prepared : Prepared
        What was found in the series: bolus, brain, scale, notes.
    motion : MotionReport or None
        How the head moved and whether that was corrected; None where nobody looked.
    notes : tuple of str
        What a reader of the maps must know.
    measures : mapping of float
        Quality of the series as it was read, before registration: see `perfmap.preprocess.measures`.
    white_matter : WhiteMatter or None
        What the map's scale rests on; None where none was wanted or found.
    """

    maps: dict[str, Volume]
    prepared: Prepared
    motion: MotionReport | None = None
    notes: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    white_matter: WhiteMatter | None = None


def predict(
    series: Series,
    checkpoint: Checkpoint,
    config: PredictConfig,
    *,
    mask: NDArray[np.bool_] | None = None,
    threads: int = 1,
    in_place: bool = False,
    on_slice: Callable[[int, int], None] = lambda done, total: None,
) -> Prediction:
    """Predict the map of a series.

    Parameters
    ----------
    series : Series
    checkpoint : Checkpoint
    config : PredictConfig
    mask : ndarray of bool, shape (x, y, z), optional
        Brain mask; found in the series where it is not given.
    threads : int
        Blocks of slices computed side by side, one thread each; the result does not depend on it.
    in_place : bool
        The series may be overwritten by the registered one, which saves its size in memory.
    on_slice : callable
        Called with (slices done, slices in all).

    Raises
    ------
    InputError
        If the series is refused; see `prepare_series`.
    ModelError
        If the network gives values that are not finite.
    """
    device = choose_device(config.device)
    network = checkpoint.network.to(device)
    prepared, motion, measures = _prepare_still(
        series, checkpoint.card.inputs, config, mask, in_place=in_place
    )
    planes = np.moveaxis(np.zeros(prepared.baseline.shape, dtype=np.float32), prepared.axis, 0)
    filled = [k for k in range(prepared.n_slices) if np.moveaxis(prepared.mask, prepared.axis, 0)[k].any()]
    blocks = [filled[i : i + _BLOCK] for i in range(0, len(filled), _BLOCK)]
    done = prepared.n_slices - len(filled)
    with _one_thread_each(), ThreadPoolExecutor(max(threads, 1)) as pool:
        for block, images in zip(
            blocks, pool.map(lambda b: _predict_block(network, prepared, b, device), blocks), strict=True
        ):
            planes[block] = images
            done += len(block)
            on_slice(done, prepared.n_slices)
    array = np.moveaxis(planes, 0, prepared.axis)
    notes: tuple[str, ...] = ()
    white_matter: WhiteMatter | None = None
    if not np.isfinite(array[prepared.mask]).all():
        raise ModelError(
            f"model '{checkpoint.card.name}' gives values that are not finite on this series; please report it"
        )
    if checkpoint.card.outputs.reference == "white-matter":
        try:
            white_matter = find_white_matter(prepared)
            array = array / np.float32(white_matter.level_of(array))
        except InputError as error:
            notes = (f"{error}; the map keeps the network's own scale",)
    outside = np.float32(np.nan if config.outside_is_nan else 0.0)
    quantity = checkpoint.card.outputs.quantity
    return Prediction(
        maps={
            quantity: Volume(np.where(prepared.mask, array, outside), series.affine, quantity),
            "validity": Volume(prepared.validity, series.affine),
        },
        prepared=prepared,
        motion=motion,
        notes=(*prepared.notes, *notes),
        measures=measures,
        white_matter=white_matter,
    )


def examine(series: Series, inputs: InputContract, *, mask: NDArray[np.bool_] | None = None) -> Prediction:
    """Look at a series as `predict` would, without a network and without maps.

    Motion is looked for and left as it is.

    Parameters
    ----------
    series : Series
    inputs : InputContract
    mask : ndarray of bool, shape (x, y, z), optional
        Brain mask; found in the series where it is not given.

    Raises
    ------
    InputError
        If the series is refused; see `prepare_series`.
    """
    prepared = prepare_series(series, inputs, mask=mask)
    motion = estimate_displacement(
        series.signal, voxel_size=voxel_size(series.affine), baseline=prepared.bolus.baseline
    )
    try:
        white_matter, notes = find_white_matter(prepared), prepared.notes
    except InputError as error:
        white_matter, notes = None, (*prepared.notes, str(error))
    return Prediction(
        maps={},
        prepared=prepared,
        motion=motion,
        notes=notes,
        measures=measure_series(prepared),
        white_matter=white_matter,
    )


def _prepare_still(
    series: Series,
    inputs: InputContract,
    config: PredictConfig,
    mask: NDArray[np.bool_] | None,
    *,
    in_place: bool,
) -> tuple[Prepared, MotionReport | None, dict[str, float]]:
    """Prepare a series, and once more after registration where the head moved; measure it as it was read."""
    prepared = prepare_series(series, inputs, mask=mask)
    measures = measure_series(prepared)
    edges = np.linalg.norm(series.affine[:3, :3], axis=0)
    signal, motion = correct_motion(
        series.signal,
        voxel_size=(float(edges[0]), float(edges[1]), float(edges[2])),
        baseline=prepared.bolus.baseline,
        mode=config.motion_correction,
        in_place=in_place,
    )
    if motion is None or not motion.corrected:
        return prepared, motion, measures
    return prepare_series(replace(series, signal=signal), inputs, mask=mask), motion, measures


def find_white_matter(prepared: Prepared) -> WhiteMatter:
    """White matter of a prepared series; InputError if none can be found."""
    edges = np.linalg.norm(prepared.series.affine[:3, :3], axis=0)
    return estimate_white_matter(
        prepared.baseline,
        prepared.first_pass,
        prepared.mask,
        voxel_size=(float(edges[0]), float(edges[1]), float(edges[2])),
    )


def plain_nrcbv(prepared: Prepared) -> Volume:
    """The plain first-pass integral over its level in white matter: what a network has to beat.

    Raises
    ------
    InputError
        If no white matter can be found.
    """
    level = np.float32(find_white_matter(prepared).level)
    return Volume(prepared.first_pass / level, prepared.series.affine, "nrcbv")


def _predict_block(
    network: torch.nn.Module, prepared: Prepared, block: list[int], device: torch.device
) -> FloatArray:
    """Maps of some slices on the series' own matrix. Shape (len(block), rows, columns)."""
    inputs = prepared.inputs
    curves = np.stack([network_slice(prepared, k)[0] for k in block])  # (b, n_times, matrix, matrix)
    valid = np.repeat(prepared.time_mapping.valid[None], len(block), axis=0)  # (b, n_times)
    with torch.inference_mode():
        images = (
            network(torch.from_numpy(curves).to(device), torch.from_numpy(valid).to(device))
            .float()
            .cpu()
            .numpy()
        )
    rows, columns = np.delete(prepared.baseline.shape, prepared.axis)
    return np.stack([from_matrix(image, (int(rows), int(columns)), inputs.interpolation) for image in images])


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """PyTorch computes with one thread inside, as many blocks run side by side; restored afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
