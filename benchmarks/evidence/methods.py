"""Every method on one simulated series: conventional maps, networks, and two cheats that the table has to catch.

All of them read the same series, brought to rest where the head moved, inside the same brain mask, and all are
divided by the level of the white matter that perfmap finds: maps *as written*.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from benchmarks.conventional_table import VOLUME_ROWS, found_once
from benchmarks.evidence.store import Arrays, Code, digest_of, kept
from benchmarks.evidence.subjects import purity
from perfmap.engine.conventional import conventional
from perfmap.engine.conventional_config import make_config
from perfmap.engine.predict import PredictConfig, predict
from perfmap.engine.quality import Status, assess
from perfmap.errors import PerfmapError
from perfmap.models.card import ModelCard
from perfmap.models.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from perfmap.phantom.case import CaseParameters, series_of, simulate_case
from perfmap.phantom.priors import LABELS, TISSUE, Prior
from perfmap.phantom.protocol import MotionParameters
from perfmap.phantom.subject import build_subject
from perfmap.preprocess.brain import find_brain, voxel_size
from perfmap.preprocess.motion import correct_motion
from perfmap.preprocess.white_matter import WhiteMatter
from perfmap.series import Series

CONVENTIONAL = ("first pass", "full", "gamma", "BSW", "BSW, first pass", "bidirectional")
SLOW = ("gamma",)
"""Left out of quick runs."""
CHEATS = ("paint", "blur")
BLUR_SIGMA = 0.6
"""SD of the Gaussian of the cheat `blur`, pixels in plane."""
VESSEL_NRCBV = 9.0
"""What `paint` fills vessels with: about a fifth of a voxel is blood."""


@dataclass(frozen=True)
class Scene:
    """One series to read: a record, and whether the brain's voxels change places."""

    case: CaseParameters
    shuffled: bool = False

    def name(self, code: Code) -> str:
        """Hash of the record and of the simulator's code."""
        return digest_of(self.case.model_dump_json(exclude_defaults=True), str(self.shuffled), code.simulator)


@dataclass(frozen=True)
class Setup:
    """What workers need to know.

    Attributes
    ----------
    models : tuple of (str, str)
        Name of every network that gives nrCBV, and what its maps are `made_from`.
    conventional : tuple of str
        Conventional methods to compute.
    store : Path or None
        Where series and maps are kept; None: nowhere.
    code : Code
        What the names of kept things are made with.
    """

    models: tuple[tuple[str, str], ...]
    conventional: tuple[str, ...]
    store: Path | None
    code: Code


def made_from(card: ModelCard) -> str:
    """What the maps of a network hang on beside the code: its weights, what it reads and how its output is read."""
    return digest_of(card.sha256, card.inputs.model_dump_json(), card.outputs.model_dump_json())


@dataclass
class Reading:
    """What every method made of a scene.

    Attributes
    ----------
    truth : dict of str to ndarray
        Of the simulator, and ``purity``: the share of each voxel that is of its label's class.
    affine : ndarray, shape (4, 4)
    mask : ndarray, bool, shape (x, y, z)
        Brain as found in the series.
    maps : dict of str to ndarray, shape (x, y, z)
        nrCBV as written, by method; a method that refused the series is missing.
    sds : dict of str to ndarray
        Standard deviation, of networks that state one.
    warned : dict of str to bool
        Whether perfmap's quality gate warns of a network's prediction.
    refused : dict of str to str
        Why a method, or ``all`` of them, gave no map.
    """

    truth: Arrays
    affine: np.ndarray
    mask: np.ndarray
    maps: Arrays = field(default_factory=dict)
    sds: Arrays = field(default_factory=dict)
    warned: dict[str, bool] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def alike(self, method: str) -> np.ndarray:
        """A map divided by its mean over the true normal-appearing white matter."""
        array = self.maps[method]
        return array / array[self.truth["nawm"]].mean()


def read_scene(scene: Scene, setup: Setup) -> Reading:
    """Simulate a scene and read it with every method."""
    series, truth = _simulated(scene, setup)
    name = scene.name(setup.code)
    key = digest_of(name, setup.code.engine, "brain")
    found, notes = kept(setup.store, key, lambda: _brain(series, scene.case), packed=False)
    reading = Reading(truth, series.affine, found.get("mask", truth["mask"]), refused=dict(notes))
    if notes:
        return reading
    still = replace(series, signal=found["still"]) if "still" in found else series
    for method in setup.conventional:
        key = digest_of(name, setup.code.engine, method, repr(VOLUME_ROWS[method]))
        arrays, said = kept(
            setup.store,
            key,
            lambda method=method: _integrated(still, reading.mask, found["white"], method),
            packed=True,
        )
        _enter(reading, method, arrays, said)
    for model, source in setup.models:
        key = digest_of(name, source, setup.code.network)
        arrays, said = kept(
            setup.store,
            key,
            lambda model=model: _predicted(still, reading.mask, checkpoint_of(model)),
            packed=True,
        )
        _enter(reading, model, arrays, said)
    reading.maps["paint"] = painted(truth["labels"])
    if "first pass" in reading.maps:
        reading.maps["blur"] = blurred(reading.maps["first pass"], sigma=BLUR_SIGMA)
    return reading


def _enter(reading: Reading, method: str, arrays: Arrays, said: dict[str, Any]) -> None:
    if "map" not in arrays:
        reading.refused[method] = said["refused"]
        return
    reading.maps[method] = arrays["map"]
    if "warned" in said:
        reading.warned[method] = said["warned"]
    if "sd" in arrays:
        reading.sds[method] = arrays["sd"]


def painted(labels: np.ndarray) -> np.ndarray:
    """The cheat that knows every tissue and measures nothing: the class mean of the priors at each label."""
    white = _mean_of(TISSUE["wm"].cbv)
    means = np.zeros(max(LABELS.values()) + 1, dtype=np.float32)
    for name, number in LABELS.items():
        if name.startswith("vessel"):
            means[number] = VESSEL_NRCBV
        elif name != "background":
            means[number] = _mean_of(TISSUE[name].cbv) / white
    return means[labels]


def _mean_of(prior: Prior) -> float:
    if prior.shape == "normal":
        return prior.mean
    if prior.shape == "log_normal":
        return prior.mean * float(np.exp(prior.sd**2 / 2))
    return (prior.low + prior.high) / 2


def blurred(array: np.ndarray, *, sigma: float) -> np.ndarray:
    """A map smoothed in plane; `sigma` in pixels."""
    return ndimage.gaussian_filter(array, (sigma, sigma, 0.0))


def brought_to_rest(series: Series, motion: MotionParameters) -> Series:
    """The series after perfmap's motion correction where the head moved; else itself.

    Whether it moved is read from the record: measuring it in every series would be most of the time spent here.
    """
    if motion.walk == 0 and not motion.jumps:
        return series
    bolus = find_brain(series).bolus
    signal, report = correct_motion(
        series.signal, voxel_size=voxel_size(series.affine), baseline=bolus.baseline, spikes=bolus.spikes
    )
    return replace(series, signal=signal) if report is not None and report.corrected else series


def _simulated(scene: Scene, setup: Setup) -> tuple[Series, Arrays]:
    def make() -> tuple[Arrays, dict[str, Any]]:
        subject = build_subject(scene.case.subject, scene.case.geometry)
        case = simulate_case(scene.case, subject)
        arrays = {f"truth_{name}": array for name, array in case.truth.items()}
        if scene.case.acquisition.artefacts.epi_shift == 0:  # else the truth was moved, and purity was not
            arrays["truth_purity"] = purity(subject)
        signal = case.signal
        if scene.shuffled:
            signal, arrays = _shuffle(signal, arrays)
        # Stored in 65,535 steps of the largest value: a hundredth of the weakest noise that is simulated.
        step = float(signal.max()) / 65535
        arrays["signal"] = np.round(np.maximum(signal, 0) / step).astype(np.uint16)
        series = series_of(case)
        notes = {"step": step, "time_step": series.time_step, "repetition_time": series.repetition_time}
        return arrays | {"affine": series.affine}, notes | {"echo_time": series.echo_time}

    arrays, notes = kept(setup.store, scene.name(setup.code), make, packed=False)
    truth = {name[6:]: array for name, array in arrays.items() if name.startswith("truth_")}
    signal = arrays["signal"].astype(np.float32) * np.float32(notes["step"])
    times = (notes["time_step"], notes["repetition_time"], notes["echo_time"])
    protocol = scene.case.acquisition
    told = {"flip_angle": protocol.flip_angle, "field_strength": protocol.field_strength}
    return Series(signal, arrays["affine"], *times, **told), truth


def _shuffle(signal: np.ndarray, truth: Arrays) -> tuple[np.ndarray, Arrays]:
    """Let the brain's voxels change places, truth and signal alike: no anatomy is left to read."""
    inside = truth["truth_mask"]
    order = np.random.default_rng(20).permutation(int(inside.sum()))
    mixed = signal.copy()
    mixed[inside] = signal[inside][order]
    arrays = {name: array.copy() for name, array in truth.items()}
    for name, array in arrays.items():
        array[inside] = truth[name][inside][order]
    return mixed, arrays


def _brain(series: Series, case: CaseParameters) -> tuple[Arrays, dict[str, Any]]:
    """Brain, white matter, and the registered series where the head moved."""
    try:
        still = brought_to_rest(series, case.acquisition.motion)
        mask, white = found_once(still)
    except PerfmapError as error:
        return {}, {"all": str(error)}
    arrays = {"mask": mask, "white": white.mask}
    return arrays | ({"still": still.signal} if still is not series else {}), {}


def _integrated(
    series: Series, mask: np.ndarray, white: np.ndarray, method: str
) -> tuple[Arrays, dict[str, Any]]:
    """Map of a conventional method over its level in white matter."""
    config = make_config(**{"maps": ("rcbv",), **VOLUME_ROWS[method]})
    try:
        array = np.asarray(conventional(series, config, mask=mask).maps["rcbv"].array)
        level = WhiteMatter(1.0, white).level_of(array)
    except PerfmapError as error:
        return {}, {"refused": str(error)}
    return {"map": np.where(mask, array / level, 0).astype(np.float32)}, {}


@lru_cache(maxsize=8)
def checkpoint_of(name: str) -> Checkpoint:
    """A model, loaded once a process."""
    return load_checkpoint(find_checkpoint(name))


def _predicted(series: Series, mask: np.ndarray, checkpoint: Checkpoint) -> tuple[Arrays, dict[str, Any]]:
    """Map of a network, its standard deviation where it gives one, and whether perfmap warns."""
    config = PredictConfig(device="cpu", motion_correction="off")
    try:
        prediction = predict(series, checkpoint, config, mask=mask)
    except PerfmapError as error:
        return {}, {"refused": str(error)}
    arrays = {"map": np.asarray(prediction.maps["nrcbv"].array, dtype=np.float32)}
    if "nrcbv_sd" in prediction.maps:
        arrays["sd"] = np.asarray(prediction.maps["nrcbv_sd"].array, dtype=np.float32)
    report = assess(prediction, checkpoint.card)
    return arrays, {"warned": report.status is not Status.PASS, "reasons": list(report.reasons)}
