"""The scale of a patient's ap-rCBV: CaPTk divides by the brightest voxels of all, which no single slice shows.

A network that reads slice by slice guesses that scale. Its finished map holds all slices, and can be brought to the
scale that the quantity's own definition gives it; what the network smooths off the brightest voxels is fitted.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from perfmap.physics.captk import brightest_level

_LEAST_PATIENTS = 5


def fit_brightest(patients: Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]]) -> float | None:
    """What the brightest level of a network's maps is to be brought to, from maps whose reference is known.

    Parameters
    ----------
    patients : iterable of (map, reference), each of shape (n, h, w)
        All slices of a patient, 0 outside of the brain.

    Returns
    -------
    float or None
        Median, over the patients, of the level that the map would have if its scale were the best one; in the unit of
        the maps. None where fewer than five patients say something, or where that brings the maps no closer to
        their references than they are.
    """
    wanted, plain, levels, products, powers = [], [], [], [], []
    for found, reference in patients:
        image, truth = found.astype(np.float64), reference.astype(np.float64)
        level, product, power = brightest_level(image), float((image * truth).sum()), float((image**2).sum())
        total = float((truth**2).sum())
        if not (level > 0 and product > 0):  # nothing found, or a reference that is not a number
            continue
        wanted.append(level * product / power)
        levels.append(level)
        products.append(product / total)
        powers.append(power / total)
        plain.append(1 - 2 * product / total + power / total)  # of the reference's power, in error
    if len(wanted) < _LEAST_PATIENTS:
        return None
    brightest = float(np.median(wanted))
    factor = brightest / np.array(levels)
    scaled = 1 - 2 * factor * np.array(products) + factor**2 * np.array(powers)
    return brightest if float(np.mean(scaled)) < float(np.mean(plain)) else None
