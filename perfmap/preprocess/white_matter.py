"""Normal-appearing white matter, estimated from the series itself, to normalise relative CBV by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.preprocess.atlas import place_brain, white_matter_share

PURITY = 0.95
"""Voxels whose tissue is white matter to this part, by the average brain, are taken …"""
MIN_VOXELS = 100
"""… and the purest of the rest, where these are fewer."""
MIN_PURITY = 0.5


@dataclass(frozen=True)
class WhiteMatter:
    """Estimate of normal-appearing white matter.

    Attributes
    ----------
    level : float
        Mean first-pass integral of white matter, unit of the map.
    mask : ndarray, bool, shape (x, y, z)
        Voxels that are taken for white matter, to read the level of another map.
    misfit : float
        How badly the average brain's outline fits the brain mask: mean squared difference, 0 to 1.
    """

    level: float
    mask: NDArray[np.bool_]
    misfit: float = 0.0

    def level_of(self, other: NDArray[np.floating]) -> float:
        """Level of another map of the same brain, shape (x, y, z).

        Raises
        ------
        InputError
            If it is not positive.
        """
        return _level(other[self.mask])


def estimate_white_matter(
    baseline: NDArray[np.floating],
    first_pass: NDArray[np.floating],
    mask: NDArray[np.bool_],
    *,
    voxel_size: tuple[float, float, float],
) -> WhiteMatter:
    """Find the level of white matter in a first-pass map.

    An average brain is laid over the mask; the level is the median of the map over the voxels that are deep in
    its white matter. Neither the contrast between grey and white matter nor lesions decide where that is, so
    the estimate holds for any ratio of their volumes. A lesion pulls the median only where it fills a large
    part of the deep white matter.

    Parameters
    ----------
    baseline : ndarray, shape (x, y, z)
        S0, arbitrary unit; voxels without signal are left out.
    first_pass : ndarray, shape (x, y, z)
        First-pass integral of −ln(S/S0) or ΔR2*.
    mask : ndarray of bool, shape (x, y, z)
        Brain, axes along RAS+.
    voxel_size : tuple of float
        Edge lengths of a voxel, mm.

    Returns
    -------
    WhiteMatter

    Raises
    ------
    InputError
        If the slices hold too little white matter, or its level is not positive.
    """
    inside = np.asarray(mask & np.isfinite(first_pass) & (baseline > 0))
    voxels = np.argwhere(inside)
    if voxels.size:
        placement = place_brain(inside, voxel_size=voxel_size)
        share = white_matter_share(placement, voxels, voxel_size=voxel_size)
        enough = np.sort(share)[-min(MIN_VOXELS, share.size)]
        chosen = voxels[share >= max(min(PURITY, float(enough)), MIN_PURITY)]
    if not voxels.size or len(chosen) < MIN_VOXELS // 10:
        raise InputError(
            f"white matter not found in a brain of {len(voxels)} voxels; 'perfmap conventional --nawm' takes a mask"
        )
    white = np.zeros(mask.shape, dtype=bool)
    white[tuple(chosen.T)] = True
    return WhiteMatter(_level(first_pass[white]), white, placement.misfit)


def _level(values: NDArray[np.floating]) -> float:
    level = float(np.median(values))
    if not level > 0:
        raise InputError(
            f"the median of the map over white matter is {level:.3g}, wanted a positive number; "
            "'perfmap conventional --nawm' takes a mask of white matter"
        )
    return level
