"""Normal-appearing white matter, estimated from the series itself, to normalise relative CBV by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perfmap.errors import InputError
from perfmap.preprocess.slices import slice_axis

_MIN_VOXELS = 30
_N_STEPS = 60


@dataclass(frozen=True)
class WhiteMatter:
    """Estimate of normal-appearing white matter.

    Attributes
    ----------
    level : float
        Mean first-pass integral of white matter, unit of the map.
    mask : ndarray, bool, shape (x, y, z)
        Voxels that are taken for white matter, to transfer the level to another map.
    """

    level: float
    mask: NDArray[np.bool_]

    def level_of(self, other: NDArray[np.floating], first_pass: NDArray[np.floating]) -> float:
        """Level of another map of the same brain: this one's, times the ratio of the medians over the mask.

        Raises
        ------
        InputError
            If the level is not positive.
        """
        ratio = float(np.median(other[self.mask]) / np.median(first_pass[self.mask]))
        if not ratio > 0:
            raise InputError(
                f"white matter of the map has a median {ratio:.3g} times that of the first-pass integral, wanted "
                "a positive one; give a mask of white matter with --nawm"
            )
        return self.level * ratio


def estimate_white_matter(
    baseline: NDArray[np.floating],
    first_pass: NDArray[np.floating],
    mask: NDArray[np.bool_],
    *,
    voxel_size: tuple[float, float, float],
) -> WhiteMatter:
    """Find the level of white matter in a first-pass map.

    Parameters
    ----------
    baseline : ndarray, shape (x, y, z)
        S0, arbitrary unit.
    first_pass : ndarray, shape (x, y, z)
        First-pass integral of −ln(S/S0) or ΔR2*.
    mask : ndarray of bool, shape (x, y, z)
        Brain.
    voxel_size : tuple of float
        Edge lengths of a voxel, mm.

    Returns
    -------
    WhiteMatter

    Raises
    ------
    InputError
        If too few brain voxels show a bolus.
    """
    inside = mask & np.isfinite(first_pass) & (first_pass > 0)
    if inside.sum() < _MIN_VOXELS:
        raise InputError(
            f"white matter not found: {int(inside.sum())} brain voxels show a bolus, wanted at least "
            f"{_MIN_VOXELS}; give a mask of white matter with --nawm"
        )
    axis = slice_axis(np.diag([*voxel_size, 1.0]))
    size = [3, 3, 3]
    size[axis] = 1
    typical = float(np.median(first_pass[inside]))
    smooth = ndimage.median_filter(np.where(inside, first_pass, typical), size=size)
    edge = [ndimage.distance_transform_edt(plane) for plane in np.moveaxis(mask, axis, 0)]
    depth = np.moveaxis(np.stack(edge), 0, axis)
    tissue = inside & (smooth > 0.25 * typical) & (smooth < 3 * typical)
    tissue &= depth >= min(3.0, 0.5 * float(depth.max()))
    level, white = _two_tissues(np.log(smooth[tissue]))
    found = np.zeros(mask.shape, dtype=bool)
    found[tissue] = white
    return WhiteMatter(float(np.exp(level)), found)


def _two_tissues(values: NDArray[np.floating]) -> tuple[float, NDArray[np.bool_]]:
    """Two Gaussians of one width on log values: mean of the lower one, and the values that belong to it."""
    low, high = np.percentile(values, [30, 75])
    width, part = float(values.std()) / 2, 0.5
    share = np.zeros_like(values)
    for _ in range(_N_STEPS):
        a = part * np.exp(-0.5 * ((values - low) / width) ** 2)
        b = (1 - part) * np.exp(-0.5 * ((values - high) / width) ** 2)
        share = a / np.maximum(a + b, 1e-30)
        low, high = np.average(values, weights=share + 1e-9), np.average(values, weights=1 - share + 1e-9)
        spread = share * (values - low) ** 2 + (1 - share) * (values - high) ** 2
        width, part = max(float(np.sqrt(spread.mean())), 0.02), float(share.mean())
    white = (share > 0.5) & (np.abs(values - low) < 1.5 * width)
    return float(low), white
