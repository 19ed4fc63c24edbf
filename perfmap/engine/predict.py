"""Prediction: a series and a checkpoint in, maps out. No file is touched here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from perfmap.engine.device import choose_device
from perfmap.engine.forward import SliceInput, filled_slices, in_layout, run_network, white_matter_probability
from perfmap.engine.threads import one_thread_each
from perfmap.errors import InputError, ModelError
from perfmap.models.card import InputContract
from perfmap.models.checkpoint import Checkpoint
from perfmap.physics.captk import brightest_level
from perfmap.preprocess.brain import voxel_size
from perfmap.preprocess.measures import measure_series
from perfmap.preprocess.motion import MotionReport, correct_motion, estimate_displacement
from perfmap.preprocess.one_bolus import OneBolus, one_bolus
from perfmap.preprocess.pipeline import Prepared, network_slice, prepare_series
from perfmap.preprocess.white_matter import WhiteMatter, estimate_white_matter
from perfmap.series import FloatArray, Series, Volume

_FIRST_LOOK = 4  # slices, evenly spread, on which white matter is looked for
# What can be white matter of normal appearance: voxels, and shares of the brain.
_CAPTK_SCALE = (
    "the map has one patient's own scale, as CaPTk's, learnt on series like UPENN-GBM's: with other protocols or a "
    "part of the brain it can be off by a factor of two"
)
_LEAST_BRAIN = 0.05
"""Share of the series that has to be brain where a map is scaled by the brightest thousandth of all voxels."""
_LEAST_WHITE, _LEAST_SHARE, _MOST_SHARE = 30, 0.05, 0.6
_LEAST_SURE = 0.25
"""Mean probability of what a network takes for white matter, below which it knows none. In 40 simulated subjects of all
regimes the default of the fifth run had 0.44 at the least, 0.83 in the median; networks that were trained too shortly
to know white matter 0.02 to 0.11."""


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
    bolus : int or None
        Which bolus of a series with several is read, counted from 1; None takes the last full one.
    grid : {"acquired", "stored"}
        On which grid images that the scanner interpolated are computed; the map lies on the stored one always.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    outside_is_nan: bool = False
    motion_correction: Literal["auto", "on", "off"] = "auto"
    bolus: int | None = Field(default=None, ge=1)
    grid: Literal["acquired", "stored"] = "acquired"


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
    boluses : dict or None
        All boluses and the one that was read, where the series holds several; volumes counted in the whole series,
        those of `prepared` in the part that was read.
    """

    maps: dict[str, Volume]
    prepared: Prepared
    motion: MotionReport | None = None
    notes: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    white_matter: WhiteMatter | None = None
    boluses: dict[str, object] | None = None


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
        Slices computed side by side, one thread each; the result does not depend on it.
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
    with one_thread_each():
        return _predict(
            series,
            checkpoint,
            config,
            mask=mask,
            threads=threads,
            in_place=in_place,
            on_slice=on_slice,
        )


def _predict(
    series: Series,
    checkpoint: Checkpoint,
    config: PredictConfig,
    *,
    mask: NDArray[np.bool_] | None,
    threads: int,
    in_place: bool,
    on_slice: Callable[[int, int], None],
) -> Prediction:
    device = choose_device(config.device)
    part = _part_read(series, checkpoint.card.inputs, config.bolus, mask)
    series = part.series
    network = in_layout(checkpoint.network, checkpoint.card.inputs, device)
    prepared, motion, measures = _prepare_still(
        series, checkpoint.card.inputs, config, mask, in_place=in_place
    )
    filled = filled_slices(prepared.mask, prepared.axis)
    skipped = prepared.n_slices - len(filled)
    corrects = prepared.inputs.features == "curves+maps"
    kept: dict[int, SliceInput] = {}
    first = _white_matter_by_network(network, prepared, filled, device, threads, kept) if corrects else None
    outputs = run_network(
        network,
        prepared,
        filled,
        device=device,
        threads=threads,
        white_level=first.level if first else None,
        read=lambda k: kept.pop(k, None) or network_slice(prepared, k),
        on_slice=lambda done: on_slice(skipped + done, prepared.n_slices),
    )
    array = _volume(prepared, filled, outputs[:, 0]) * np.float32(checkpoint.card.outputs.scale)
    notes: tuple[str, ...] = ()
    white_matter: WhiteMatter | None = None
    if not np.isfinite(outputs).all():
        raise ModelError(
            f"model '{checkpoint.card.name}' gives values that are not finite on this series; please report it"
        )
    level = np.float32(1.0)
    if checkpoint.card.outputs.reference == "white-matter":
        try:
            white_matter = _white_matter_of(prepared, filled, outputs) if corrects else None
            if white_matter is not None:
                level = array[white_matter.mask].mean(dtype=np.float64).astype(np.float32)
            else:
                white_matter = find_white_matter(prepared)
                level = np.float32(white_matter.level_of(array))
        except InputError as error:
            notes = (f"{error}; the map keeps the network's own scale",)
    elif checkpoint.card.outputs.brightest is not None:
        own = brightest_level(np.where(prepared.mask, array, 0))
        if own > 0 and prepared.mask.mean() >= _LEAST_BRAIN:
            level = np.float32(own / checkpoint.card.outputs.brightest)
            notes = (_CAPTK_SCALE,)
        else:
            notes = (
                "brain fills too little of the series to scale the map by; it keeps the network's own scale",
            )
    outside = np.float32(np.nan if config.outside_is_nan else 0.0)
    quantity, uncertainty = checkpoint.card.outputs.quantity, checkpoint.card.outputs.uncertainty

    def masked(values: FloatArray) -> Volume:
        return Volume(np.where(prepared.mask, values, outside), series.affine, quantity)

    maps = {quantity: masked(array / level), "validity": Volume(prepared.validity, series.affine)}
    if uncertainty is not None:
        spread = np.exp(outputs[:, 1]) * np.float32(uncertainty.sd_of_scale * checkpoint.card.outputs.scale)
        maps[f"{quantity}_sd"] = masked(_volume(prepared, filled, spread) / level)
    return Prediction(
        maps=maps,
        prepared=prepared,
        motion=motion,
        notes=(*part.notes, *prepared.notes, *notes),
        measures=measures,
        white_matter=white_matter,
        boluses=part.described(),
    )


def _part_read(
    series: Series, inputs: InputContract, number: int | None, mask: NDArray[np.bool_] | None
) -> OneBolus:
    """The part with one bolus; a network that reads the volumes as they were acquired gets all unless asked."""
    if inputs.time_alignment == "as-acquired" and number is None:
        return OneBolus(series)
    return one_bolus(series, number, mask=mask)


def _volume(prepared: Prepared, slices: Sequence[int], planes: FloatArray) -> FloatArray:
    """Planes of some slices as a volume; 0 in the others."""
    volume = np.moveaxis(np.zeros(prepared.baseline.shape, dtype=np.float32), prepared.axis, 0)
    volume[list(slices)] = planes
    return np.moveaxis(volume, 0, prepared.axis)


def first_look(filled: Sequence[int]) -> list[int]:
    """The slices at which a network that looks twice looks first: the middles of up to four equal parts."""
    n_parts = min(_FIRST_LOOK, len(filled))
    return [filled[(2 * i + 1) * len(filled) // (2 * n_parts)] for i in range(n_parts)]


def _white_matter_by_network(
    network: torch.nn.Module,
    prepared: Prepared,
    filled: list[int],
    device: torch.device,
    threads: int,
    kept: dict[int, SliceInput],
) -> WhiteMatter | None:
    """White matter as the network sees it at a first look at some slices; the estimate by shape if it sees none."""
    few = first_look(filled)

    def read(k: int) -> SliceInput:
        return kept.setdefault(k, network_slice(prepared, k))

    outputs = run_network(network, prepared, few, device=device, threads=threads, read=read)
    found = _white_matter_of(prepared, few, outputs)
    if found is None:
        try:
            found = find_white_matter(prepared)
        except InputError:
            return None
    return found


def _white_matter_of(prepared: Prepared, slices: Sequence[int], outputs: FloatArray) -> WhiteMatter | None:
    """White matter where the network is surer of it than not, at least its surest twentieth; None if it knows none."""
    probability = _volume(prepared, slices, white_matter_probability(outputs))
    looked_at = _volume(prepared, slices, np.ones_like(outputs[:, 0])).astype(bool) & prepared.mask
    surest = float(np.quantile(probability[looked_at], 1.0 - _LEAST_SHARE))
    mask = looked_at & (probability >= min(0.5, surest))
    if not _LEAST_WHITE <= int(mask.sum()) <= _MOST_SHARE * int(looked_at.sum()):
        return None
    if float(probability[mask].mean()) < _LEAST_SURE:
        return None
    level = float(prepared.first_pass[mask].mean(dtype=np.float64))
    return WhiteMatter(level, mask) if level > 0 else None


@one_thread_each()
def examine(
    series: Series,
    inputs: InputContract,
    *,
    bolus: int | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> Prediction:
    """Look at a series as `predict` would, without a network and without maps.

    Motion is looked for and left as it is.

    Parameters
    ----------
    series : Series
    inputs : InputContract
    bolus : int, optional
        Of several boluses the one to look at, as in `PredictConfig`.
    mask : ndarray of bool, shape (x, y, z), optional
        Brain mask; found in the series where it is not given.

    Raises
    ------
    InputError
        If the series is refused; see `prepare_series`.
    """
    part = _part_read(series, inputs, bolus, mask)
    series = part.series
    prepared = prepare_series(series, inputs, mask=mask)
    motion = estimate_displacement(
        series.signal,
        voxel_size=voxel_size(series.affine),
        baseline=prepared.bolus.baseline,
        spikes=prepared.bolus.spikes,
    )
    try:
        white_matter, notes = find_white_matter(prepared), (*part.notes, *prepared.notes)
    except InputError as error:
        white_matter, notes = None, (*part.notes, *prepared.notes, str(error))
    return Prediction(
        maps={},
        prepared=prepared,
        motion=motion,
        notes=notes,
        measures=measure_series(prepared),
        white_matter=white_matter,
        boluses=part.described(),
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
        spikes=prepared.bolus.spikes,
        mode=config.motion_correction,
        in_place=in_place,
    )
    if motion is None:  # left alone by request, but not unseen
        measures["motion_left"] = estimate_displacement(
            series.signal,
            voxel_size=voxel_size(series.affine),
            baseline=prepared.bolus.baseline,
            spikes=prepared.bolus.spikes,
        ).max_displacement
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
