"""Regions of interest, and their means under every method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from benchmarks.evidence.methods import Reading
from perfmap.phantom.priors import LABELS, LESION_CLASSES

LEAST_VOXELS = 12
PURE = 0.9


@dataclass(frozen=True)
class Region:
    """One region of one subject.

    Attributes
    ----------
    kind : str
        Tissue class.
    n : int
        Voxels.
    ktrans : float
        Mean, 1/min.
    truth : float
        Mean true nrCBV.
    means, alike : dict of str to float
        Mean of every method's map, as written and divided by the map's mean in true white matter.
    """

    kind: str
    n: int
    ktrans: float
    truth: float
    means: dict[str, float]
    alike: dict[str, float]


def region_of(reading: Reading, where: np.ndarray, kind: str) -> Region:
    """Means over a mask."""
    truth = reading.truth
    return Region(
        kind=kind,
        n=int(where.sum()),
        ktrans=float(truth["ktrans"][where].mean()),
        truth=float(truth["nrcbv"][where].mean()),
        means={method: float(array[where].mean()) for method, array in reading.maps.items()},
        alike={method: float(reading.alike(method)[where].mean()) for method in reading.maps},
    )


def lesions_of(reading: Reading, classes: tuple[str, ...] = LESION_CLASSES) -> dict[str, np.ndarray]:
    """Masks of every lesion compartment: connected voxels of one class, each purely of it; at least 12 of them."""
    truth = reading.truth
    pure = (truth["purity"] > PURE) & truth["mask"]
    found: dict[str, np.ndarray] = {}
    for name in classes:
        parts, n = ndimage.label(pure & (truth["labels"] == LABELS[name]), np.ones((3, 3, 3)))
        for number in range(1, n + 1):
            where = parts == number
            if where.sum() >= LEAST_VOXELS:
                found[f"{name} {number}"] = where
    return found


def lesion_regions(reading: Reading, classes: tuple[str, ...] = LESION_CLASSES) -> list[Region]:
    """Every lesion compartment of a reading."""
    return [region_of(reading, where, key.split()[0]) for key, where in lesions_of(reading, classes).items()]


def tissue_mean(reading: Reading, name: str) -> Region:
    """Pure voxels of a healthy class."""
    truth = reading.truth
    where = truth["mask"] & (truth["labels"] == LABELS[name]) & (truth["purity"] > PURE)
    return region_of(reading, where, name)
