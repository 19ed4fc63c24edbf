"""The one real slice at hand: agreement with the integral, and steadiness against added noise. Never a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.conventional_table import VOLUME_ROWS
from benchmarks.evidence.methods import BLUR_SIGMA, blurred, checkpoint_of
from benchmarks.evidence.run import Figure, Result, Run, by_method
from perfmap.engine.conventional import conventional
from perfmap.engine.conventional_config import make_config
from perfmap.engine.predict import PredictConfig, predict
from perfmap.preprocess.brain import find_brain
from perfmap.series import Series

TITLE = "A real slice"
FIGURES = (
    Figure("spearman", "Spearman's ρ with the first-pass integral, normal tissue", ".3f", least=0.95),
    Figure("noise", "within-voxel CV under added noise over that of the integral", ".2f", most=0.5,
           aim=" while *Resolution* holds", holding="Resolution"),
    Figure("cv", "within-voxel CV under added noise, %", ".0f"),
)  # fmt: skip
INTRO = """One slice of one volunteer or patient (TR 2 s), through the cerebellum; no reference CBV exists. *Normal
tissue*: brain voxels without the brightest tenth of the integral (vessels). Noise of √3 times the standard
deviation of the voxel's own baseline is added twice, Rician; the within-voxel CV is the root mean square of |A −
B|/√2 over the mean, maps divided by their brain mean, each voxel's capped at 2. A blur passes the second row: it
counts only where *Resolution* holds."""
VESSEL_SHARE = 0.10
CAP = 2.0


def measure(run: Run) -> Result:
    """Read the slice as it is and with noise added twice."""
    if run.in_vivo is None:
        return Result({}, [], ["Not run: give the slice with `make evidence IN_VIVO=PATH`."])
    series = read_slice(run.in_vivo)
    brain = find_brain(series)
    clean = _maps(series, brain.mask, run)
    rng = np.random.default_rng(3)
    sigma = np.sqrt(3) * series.signal[..., brain.bolus.baseline].std(axis=-1, ddof=1)
    first, second = (_maps(_noisier(series, sigma, rng), brain.mask, run) for _ in range(2))
    plain = clean["first pass"][brain.mask]
    normal = plain < np.quantile(plain, 1 - VESSEL_SHARE)

    def cv(method: str) -> float:
        one, two = (found[method][brain.mask] / found[method][brain.mask].mean() for found in (first, second))
        return capped_cv(one, two)

    def figures(method: str) -> dict[str, float] | None:
        if method not in clean:
            return None
        return {
            "spearman": float(spearmanr(clean[method][brain.mask][normal], plain[normal]).statistic),
            "noise": cv(method) / cv("first pass"),
            "cv": 100 * cv(method),
        }

    notes = [f"{int(brain.mask.sum())} brain voxels, {int(normal.sum())} of them taken for normal tissue."]
    return Result(by_method(run.methods, figures), [], notes)


def capped_cv(one: np.ndarray, two: np.ndarray) -> float:
    """Root mean square over voxels of |a − b|/√2 over (a + b)/2, at most `CAP` each (pairs of mean ≤ 0: `CAP`)."""
    middle = (one + two) / 2
    good = middle > 0
    values = np.full(one.shape, CAP)
    values[good] = np.minimum(np.abs(one - two)[good] / np.sqrt(2) / middle[good], CAP)
    return float(np.sqrt(np.mean(values**2)))


def read_slice(path: Path) -> Series:
    """Series of an npz file with ``signal`` (x, y, z, t) and ``repetition_time`` (s)."""
    with np.load(path, allow_pickle=False) as content:
        signal = content["signal"].astype(np.float32)
        step = float(content["repetition_time"])
    return Series(signal, np.diag([1.8, 1.8, 5.0, 1.0]), step, step)


def _noisier(series: Series, sigma: np.ndarray, rng: np.random.Generator) -> Series:
    noise = rng.standard_normal((2, *series.signal.shape)).astype(np.float32) * sigma[..., None].astype(
        np.float32
    )
    return replace(series, signal=np.hypot(series.signal + noise[0], noise[1]))


def _maps(series: Series, mask: np.ndarray, run: Run) -> dict[str, np.ndarray]:
    """Maps of every method but `paint`, which no truth can serve here; each in its own scale."""
    found = {}
    for name in run.setup.conventional:
        config = make_config(**{"maps": ("rcbv",), **VOLUME_ROWS[name]})
        found[name] = np.asarray(conventional(series, config, mask=mask).maps["rcbv"].array)
    for name in run.networks:
        config = PredictConfig(device="cpu", motion_correction="off")
        found[name] = np.asarray(predict(series, checkpoint_of(name), config, mask=mask).maps["nrcbv"].array)
    found["blur"] = blurred(found["first pass"], sigma=BLUR_SIGMA)
    return found
