"""Calibration of a network's standard deviation, on subjects of the validation part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perfmap.engine.dataset import VALIDATION, as_registered
from perfmap.engine.losses import FITTED_BY, ONE_SIGMA, TWO_SIGMA
from perfmap.engine.predict import PredictConfig, predict
from perfmap.errors import InputError
from perfmap.metrics import sd_of_mean
from perfmap.models.card import Uncertainty
from perfmap.models.checkpoint import Checkpoint
from perfmap.phantom.case import draw_case, series_of, simulate_case
from perfmap.phantom.priors import LABELS, LESION_CLASSES
from perfmap.series import FloatArray

REGION_COVER = 0.95
"""Share of lesions whose true mean is to lie within 1.96 standard deviations of the mean."""
LENGTHS = (0.0, *np.geomspace(1.0, 60.0, 25).round(2).tolist())
"""Correlation lengths that are tried, mm."""
_LEAST_LESION = 20  # voxels
_LEAST_LESIONS = 5


@dataclass(frozen=True)
class Region:
    """A lesion: its box of the standard deviation, which voxels of it are lesion, their size, the error of the mean."""

    sd: FloatArray
    mask: NDArray[np.bool_]
    voxel_size: tuple[float, float, float]
    error: float


def calibrate(
    checkpoint: Checkpoint,
    *,
    n_subjects: int,
    seed: int,
    n_slices: int = 6,
    device: str = "auto",
    threads: int = 1,
    on_subject: Callable[[int], None] = lambda done: None,
) -> Uncertainty:
    """Fit what a network's standard deviation is multiplied by, and how far its errors are correlated.

    A subject's factor is the middle, on a logarithmic scale, between those that make one standard deviation cover 68 %
    and two cover 95 % of its brain's voxels: errors have longer tails than a Gaussian. The network's is the median of
    the subjects': a few on which it goes wrong altogether would make it far too wide for all others, by how much
    depends on which are drawn. The length makes 1.96 standard deviations of a lesion's mean cover 95 % of the lesions,
    or as many as the longest that is tried covers.

    Parameters
    ----------
    checkpoint : Checkpoint
        As training leaves it (`perfmap.engine.losses`); what its card says of its standard deviation is not used.
    n_subjects, n_slices : int
        Simulated subjects of the validation part, and slices of each.
    seed : int
        Of the training run, so that no subject of its training part is met.
    device : str
        As in `PredictConfig`.
    threads : int
    on_subject : callable
        Called with the number of subjects done.

    Returns
    -------
    Uncertainty

    Raises
    ------
    InputError
        If there are fewer than five lesions.
    """
    raw = Uncertainty(distribution=FITTED_BY, correlation_length_mm=0.0)
    outputs = checkpoint.card.outputs.model_copy(update={"uncertainty": raw})
    plain = Checkpoint(checkpoint.card.model_copy(update={"outputs": outputs}), checkpoint.network)
    config = PredictConfig(motion_correction="off", device=device)
    ratios: list[NDArray[np.float32]] = []
    regions: list[Region] = []
    for index in range(n_subjects):
        rng = np.random.default_rng([seed, VALIDATION, 10_000 + index])
        case = as_registered(draw_case(rng, geometry="stack", n_slices=n_slices), rng)
        simulated = simulate_case(case)
        series = series_of(simulated)
        try:
            prediction = predict(series, plain, config, threads=threads)
        except InputError:
            on_subject(index + 1)
            continue
        quantity = outputs.quantity
        found = np.asarray(prediction.maps[quantity].array, dtype=np.float32)
        sd = np.asarray(prediction.maps[f"{quantity}_sd"].array, dtype=np.float32)
        labels, brain = (
            simulated.truth["labels"],
            prediction.prepared.mask & simulated.truth["mask"].astype(bool),
        )
        if not brain.any():
            on_subject(index + 1)
            continue
        error = found - simulated.truth[quantity]
        ratios.append((np.abs(error[brain]) / sd[brain]).astype(np.float32))
        lesion = brain & np.isin(labels, [LABELS[name] for name in LESION_CLASSES])
        edges = tuple(float(edge) for edge in np.linalg.norm(series.affine[:3, :3], axis=0))
        regions += _regions(error, sd, lesion, (edges[0], edges[1], edges[2]))
        on_subject(index + 1)
    return fit_uncertainty(ratios, regions)


def fit_uncertainty(ratios: Sequence[NDArray[np.floating]], regions: list[Region]) -> Uncertainty:
    """Factor and correlation length from what was measured.

    Parameters
    ----------
    ratios : sequence of ndarray, shape (n,)
        |error| over the network's standard deviation, of the brain voxels of each subject.
    regions : list of Region

    Raises
    ------
    InputError
        If there are fewer than five lesions.
    """
    if len(regions) < _LEAST_LESIONS:
        raise InputError(
            f"calibration met {len(regions)} lesions, wanted at least {_LEAST_LESIONS}; take more subjects"
        )
    of_subject = np.array([np.quantile(of_one, (ONE_SIGMA, TWO_SIGMA)) for of_one in ratios])  # (subjects, 2)
    factor = float(np.median(np.sqrt(of_subject.prod(axis=1) / 2.0)))
    return Uncertainty(
        distribution=FITTED_BY,
        sd_factor=round(factor, 4),
        correlation_length_mm=_fit_length(regions, factor),
    )


def _regions(
    error: FloatArray, sd: FloatArray, lesion: NDArray[np.bool_], edges: tuple[float, float, float]
) -> list[Region]:
    parts, _ = ndimage.label(lesion)
    regions = []
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        mask = parts[box] == number
        if mask.sum() >= _LEAST_LESION:
            regions.append(Region(sd[box], mask, edges, float(error[box][mask].mean())))
    return regions


def _fit_length(regions: list[Region], factor: float) -> float:
    """The shortest length that covers enough lesions; the longest tried if none does."""
    for length in LENGTHS:
        spreads = [
            factor * sd_of_mean(r.sd, r.mask, voxel_size=r.voxel_size, correlation_length=length)
            for r in regions
        ]
        covered = np.mean([abs(r.error) <= 1.96 * s for r, s in zip(regions, spreads, strict=True)])
        if covered >= REGION_COVER:
            return float(length)
    return float(LENGTHS[-1])
