"""How close a map is to its reference: arrays in, floats out.

Nothing here knows masks, files or patients: the caller picks the voxels, clips, and names the intensity
range. `data_range` is required wherever a metric depends on it, because a range taken quietly from the data
makes figures of two maps incomparable. `perfmap.engine.score` holds the one convention that perfmap reports.

Two metrics go by names that the literature uses for different things. The paper that perfmap implements
(doi 10.15587/1729-4061.2026.360606) slips on both, see `nrmse_rms`, `nrmse_range` and `psnr`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.metrics import structural_similarity

from perfmap.errors import InputError

SSIM_WINDOW = 7
"""Side of the uniform window of `ssim_map`, pixels: scikit-image's default."""


def nrmse_rms(prediction: ArrayLike, reference: ArrayLike) -> float:
    """Root mean square error divided by the root mean square of the reference: Equation 1 of the paper.

    A factor common to both maps changes nothing, and a map of zeros scores exactly 1. The paper prints this
    equation, yet its tables cannot have been computed by it: they obey NRMSE = 10^(−PSNR/20), which holds for
    `nrmse_range` alone. Compare with the paper's tables by `nrmse_range`, never by this figure.

    Parameters
    ----------
    prediction, reference : array_like, same shape
        Finite values in one unit.

    Returns
    -------
    float
        0 is perfect. Of a reference that is 0 throughout: ``inf``, or ``nan`` if the prediction is 0 too.

    Raises
    ------
    InputError
        If the shapes differ, or there is no value, or a value is not finite.
    """
    predicted, wanted = _pair(prediction, reference)
    scale = float(np.sqrt(np.mean(wanted**2)))
    error = _rmse(predicted, wanted)
    if scale == 0.0:
        return float("nan") if error == 0.0 else float("inf")
    return error / scale


def nrmse_range(prediction: ArrayLike, reference: ArrayLike, *, data_range: float) -> float:
    """Root mean square error divided by the intensity range: what the paper's tables hold.

    The paper's text (Equation 1) divides by the root mean square of the reference instead; its printed pairs
    of NRMSE and PSNR fit only this definition, for which NRMSE = 10^(−PSNR/20) exactly. Since that makes it
    PSNR in another dress, it carries no information of its own beside `psnr`.

    Parameters
    ----------
    prediction, reference : array_like, same shape
        Finite values in one unit.
    data_range : float
        Width of the intensity range, in the same unit, > 0.

    Returns
    -------
    float
        0 is perfect.

    Raises
    ------
    InputError
        If the shapes differ, there is no value, a value is not finite, or `data_range` is not positive.
    """
    predicted, wanted = _pair(prediction, reference)
    return _rmse(predicted, wanted) / _checked_range(data_range)


def psnr(prediction: ArrayLike, reference: ArrayLike, *, data_range: float) -> float:
    """Peak signal-to-noise ratio, 10·log10(range² / MSE), in decibels.

    Equation 3 of the paper lacks the logarithm; its tables are in decibels all the same.

    Parameters
    ----------
    prediction, reference : array_like, same shape
        Finite values in one unit.
    data_range : float
        Peak value, in the same unit, > 0. Doubling it adds 6.02 dB to every map.

    Returns
    -------
    float
        dB; ``inf`` for a perfect prediction.

    Raises
    ------
    InputError
        If the shapes differ, there is no value, a value is not finite, or `data_range` is not positive.
    """
    error = nrmse_range(prediction, reference, data_range=data_range)
    return float("inf") if error == 0.0 else float(-20.0 * np.log10(error))


def mae_symmetric(prediction: ArrayLike, reference: ArrayLike, *, data_range: float) -> float:
    """Mean absolute error of two maps brought from [0, range] to [−1, 1]: 2·MAE / range.

    The scale on which the paper compares itself with temp-pix2pix (Kossen 2023).

    Parameters
    ----------
    prediction, reference : array_like, same shape
        Finite values in one unit.
    data_range : float
        Value that becomes 1, in the same unit, > 0; 0 becomes −1.

    Returns
    -------
    float
        0 is perfect, 2 the worst for maps within the range.

    Raises
    ------
    InputError
        If the shapes differ, there is no value, a value is not finite, or `data_range` is not positive.
    """
    predicted, wanted = _pair(prediction, reference)
    return float(2.0 * np.mean(np.abs(predicted - wanted)) / _checked_range(data_range))


def ssim_map(prediction: ArrayLike, reference: ArrayLike, *, data_range: float) -> NDArray[np.float64]:
    """Structural similarity around every pixel, slice by slice in 2D (doi 10.1109/TIP.2003.819861).

    scikit-image's defaults: a uniform window of 7 × 7 pixels, k1 = 0.01, k2 = 0.03, sample covariance. The
    code of Wang 2004 uses a Gaussian window; the paper does not say which it used.

    Parameters
    ----------
    prediction, reference : array_like, shape (x, y) or (x, y, z)
        Finite values in one unit; z counts slices.
    data_range : float
        Dynamic range, in the same unit, > 0.

    Returns
    -------
    ndarray, float64, same shape
        1 where the neighbourhoods are equal.

    Raises
    ------
    InputError
        If the shapes differ, are not 2D or 3D, a slice is smaller than the window, a value is not finite, or
        `data_range` is not positive.
    """
    predicted, wanted = _pair(prediction, reference)
    if predicted.ndim not in (2, 3) or min(predicted.shape[:2]) < SSIM_WINDOW:
        raise InputError(
            f"maps of shape {predicted.shape} for SSIM, wanted (x, y) or (x, y, z) with x and y of at least "
            f"{SSIM_WINDOW} pixels; score larger slices"
        )
    width = _checked_range(data_range)
    slices = np.atleast_3d(predicted), np.atleast_3d(wanted)
    similarity = np.stack(
        [
            structural_similarity(  # type: ignore[no-untyped-call]
                slices[1][..., k], slices[0][..., k], win_size=SSIM_WINDOW, data_range=width, full=True
            )[1]
            for k in range(slices[0].shape[2])
        ],
        axis=-1,
    )
    return similarity.reshape(predicted.shape)


def ssim(prediction: ArrayLike, reference: ArrayLike, *, data_range: float) -> float:
    """Mean structural similarity over whole slices, as scikit-image gives it (half a window off each edge).

    Wide empty background pulls this figure towards 1, in the paper as here: read it beside the mean of
    `ssim_map` inside the brain.

    Parameters
    ----------
    prediction, reference : array_like, shape (x, y) or (x, y, z)
        Finite values in one unit; of several slices the mean is taken.
    data_range : float
        Dynamic range, in the same unit, > 0.

    Returns
    -------
    float
        1 is perfect.

    Raises
    ------
    InputError
        As `ssim_map`.
    """
    return mean_ssim(ssim_map(prediction, reference, data_range=data_range))


def mean_ssim(similarity: NDArray[np.float64]) -> float:
    """Mean of a map of `ssim_map` without the border in which the window leaves the slice.

    Parameters
    ----------
    similarity : ndarray, shape (x, y) or (x, y, z)
        Output of `ssim_map`.

    Returns
    -------
    float
        What scikit-image's ``structural_similarity`` returns, averaged over slices.
    """
    border = (SSIM_WINDOW - 1) // 2
    return float(np.mean(similarity[border:-border, border:-border]))


def ccc(prediction: ArrayLike, reference: ArrayLike) -> float:
    """Lin's concordance correlation coefficient (Lin 1989, doi 10.2307/2532051).

    2·cov / (var_p + var_r + (mean_p − mean_r)²), moments divided by n as in Lin's paper. Unlike Pearson's
    correlation it falls with a wrong scale or offset.

    Parameters
    ----------
    prediction, reference : array_like, same shape
        Finite values in one unit.

    Returns
    -------
    float
        1 only for equal maps; ``nan`` where both maps are one and the same constant.

    Raises
    ------
    InputError
        If the shapes differ, or there is no value, or a value is not finite.
    """
    predicted, wanted = _pair(prediction, reference)
    offset = predicted.mean() - wanted.mean()
    spread = predicted.var() + wanted.var() + offset**2
    if spread == 0.0:
        return float("nan")
    covariance = np.mean((predicted - predicted.mean()) * (wanted - wanted.mean()))
    return float(2.0 * covariance / spread)


def regression(prediction: ArrayLike, reference: ArrayLike) -> tuple[float, float]:
    """Slope and intercept of the least squares line prediction ≈ slope · reference + intercept.

    Parameters
    ----------
    prediction, reference : array_like, same shape
        Finite values in one unit.

    Returns
    -------
    slope : float
        Below 1 a map is compressed towards its mean. ``nan`` where the reference is constant.
    intercept : float
        Prediction at a reference of 0, in the maps' unit; ``nan`` likewise.

    Raises
    ------
    InputError
        If the shapes differ, or there is no value, or a value is not finite.
    """
    predicted, wanted = _pair(prediction, reference)
    variance = float(wanted.var())
    if variance == 0.0:
        return float("nan"), float("nan")
    slope = float(np.mean((predicted - predicted.mean()) * (wanted - wanted.mean()))) / variance
    return slope, float(predicted.mean() - slope * wanted.mean())


def sd_of_mean(
    sd: ArrayLike, mask: ArrayLike, *, voxel_size: Sequence[float], correlation_length: float
) -> float:
    """Standard deviation of the mean of a map over a region, from that of its voxels and how far errors reach.

    Errors of two voxels at distance d are taken to be correlated by exp(−d²/(2·l²)). Without correlation the mean of n
    voxels is √n times as certain as one of them; with l far beyond the region it is as uncertain as one voxel.

    Parameters
    ----------
    sd : array_like, shape (x, y, z)
        Standard deviation of each voxel, unit of the map.
    mask : array_like of bool, shape (x, y, z)
        The region.
    voxel_size : sequence of float
        Edge lengths, mm.
    correlation_length : float
        l, mm; 0 for independent errors.

    Returns
    -------
    float
        Unit of the map.

    Raises
    ------
    InputError
        If the shapes differ or the region is empty.
    """
    spread, region = np.asarray(sd, dtype=np.float64), np.asarray(mask, dtype=bool)
    if spread.shape != region.shape:
        raise InputError(
            f"map of shape {spread.shape} and region of shape {region.shape}, wanted the same grid"
        )
    if not region.any():
        raise InputError("the region holds no voxel, wanted at least one; check the mask")
    inside = np.where(region, spread, 0.0)
    spread_around = inside
    for axis, edge in enumerate(voxel_size):
        reach = int(np.ceil(4.0 * correlation_length / edge))
        if reach:
            distance = np.arange(-reach, reach + 1) * edge
            kernel = np.exp(-0.5 * (distance / correlation_length) ** 2)
            spread_around = ndimage.convolve1d(spread_around, kernel, axis=axis, mode="constant")
    return float(np.sqrt(max((inside * spread_around).sum(), 0.0)) / region.sum())


def coefficient_of_variation(values: ArrayLike) -> float:
    """Standard deviation (n − 1) over the mean.

    Parameters
    ----------
    values : array_like
        At least two finite values of one sign.

    Returns
    -------
    float
        ``nan`` where the mean is 0.

    Raises
    ------
    InputError
        If there are fewer than two values, or one is not finite.
    """
    array = _checked_values(values, at_least=2)
    centre = float(array.mean())
    return float(array.std(ddof=1)) / abs(centre) if centre != 0 else float("nan")


def within_subject_cv(first: ArrayLike, second: ArrayLike) -> float:
    """Within-subject coefficient of variation of pairs: the root mean square of |a − b|/√2 over (a + b)/2.

    What the quantitative-imaging literature calls wCV (Raunig et al. 2015, doi 10.1177/0962280214537344); the
    repeatability coefficient is 2.77 times as large.

    Parameters
    ----------
    first, second : array_like, same shape
        Two measurements of each subject, finite; pairs with a mean of 0 have no such figure.

    Returns
    -------
    float
        0 where both agree.

    Raises
    ------
    InputError
        If the shapes differ, there is no value, a value is not finite, or the mean of a pair is 0.
    """
    one, two = _pair(first, second)
    middle = (one + two) / 2
    if (middle == 0).any():
        raise InputError(
            f"{int((middle == 0).sum())} pairs have a mean of 0, wanted none; leave them out of the wCV"
        )
    return float(np.sqrt(np.mean(((one - two) / middle) ** 2) / 2))


def cohen_kappa(first: ArrayLike, second: ArrayLike) -> float:
    """Cohen's kappa: agreement of two classifications beyond chance (Cohen 1960, doi 10.1177/001316446002000104).

    Parameters
    ----------
    first, second : array_like, same shape
        Class of every item: bool, or any finite numbers.

    Returns
    -------
    float
        1 for full agreement, 0 for that of chance; ``nan`` where both know but one and the same class.

    Raises
    ------
    InputError
        If the shapes differ, or there is no item, or a class is not finite.
    """
    one, two = _pair(first, second)
    classes = np.union1d(one, two)
    observed = float(np.mean(one == two))
    chance = float(sum(np.mean(one == c) * np.mean(two == c) for c in classes))
    return (observed - chance) / (1 - chance) if chance < 1 else float("nan")


def _rmse(predicted: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((predicted - wanted) ** 2)))


def _pair(prediction: ArrayLike, reference: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    predicted, wanted = np.asarray(prediction, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if predicted.shape != wanted.shape:
        raise InputError(
            f"prediction has shape {predicted.shape} and reference {wanted.shape}, wanted the same; "
            "resample one onto the other's grid"
        )
    if predicted.size == 0:
        raise InputError("no voxel to compare, wanted at least one; check the mask")
    for name, values in (("prediction", predicted), ("reference", wanted)):
        n_bad = int(np.count_nonzero(~np.isfinite(values)))
        if n_bad:
            raise InputError(f"{name} holds {n_bad} non-finite values, wanted none; mask or replace them")
    return predicted, wanted


def _checked_values(values: ArrayLike, *, at_least: int) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size < at_least:
        raise InputError(f"{array.size} values, wanted at least {at_least}; measure more of them")
    n_bad = int(np.count_nonzero(~np.isfinite(array)))
    if n_bad:
        raise InputError(f"{n_bad} of {array.size} values are not finite, wanted none; leave them out")
    return array


def _checked_range(data_range: float) -> float:
    if not (np.isfinite(data_range) and data_range > 0):
        raise InputError(f"data range is {data_range}, wanted a positive number in the unit of the map")
    return float(data_range)
