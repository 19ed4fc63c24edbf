"""Slices: which ones, and there and back again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import ConfigError, InputError

# Diumin & Alkhimova 2026: every 15th axial slice from the 25th to the 130th of 1 mm series, seven a patient.
PAPER_SLICES = range(25, 130, 15)
_THICKER = 1.5


def slice_axis(affine: NDArray[np.float64]) -> int:
    """Axis along which the series was acquired slice by slice.

    The axis with the largest voxel edge where that is at least 1.5 times the others, else z (axial).
    """
    edges = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0)
    thickest = int(np.argmax(edges))
    others = np.delete(edges, thickest)
    return thickest if edges[thickest] >= _THICKER * others.max() else 2


def select_slices(n_slices: int, rule: str) -> list[int]:
    """Indices of the slices to use.

    Parameters
    ----------
    n_slices : int
        Number of slices of the series.
    rule : str
        ``all``; ``paper`` (25, 40, 55, 70, 85, 100, 115); or ``start:stop:step`` as in Python.

    Raises
    ------
    ConfigError
        If the rule cannot be read.
    InputError
        If it selects no slice, or ``paper`` meets a series that has not all of its slices.
    """
    if rule == "all":
        return list(range(n_slices))
    if rule == "paper":
        if n_slices <= PAPER_SLICES[-1]:
            raise InputError(
                f"series has {n_slices} slices, the rule 'paper' wants more than {PAPER_SLICES[-1]} (1 mm series); "
                "choose 'all' or start:stop:step"
            )
        return list(PAPER_SLICES)
    try:
        numbers = [int(part) if part else None for part in rule.split(":")]
        if not 2 <= len(numbers) <= 3:
            raise ValueError
        chosen = list(range(n_slices))[slice(*numbers)]
    except ValueError:
        raise ConfigError(
            f"slice rule '{rule}' cannot be read; wanted all, paper or start:stop:step"
        ) from None
    if not chosen:
        raise InputError(f"slice rule '{rule}' selects none of {n_slices} slices; widen it")
    return chosen


def split_slices(array: NDArray[np.generic], *, axis: int) -> list[NDArray[np.generic]]:
    """The slices of an array along `axis` (0, 1 or 2), as views; a time axis stays last."""
    return list(np.moveaxis(array, axis, 0))


def join_slices(slices: Sequence[NDArray[np.generic]], *, axis: int) -> NDArray[np.generic]:
    """Inverse of `split_slices`."""
    return np.moveaxis(np.stack(slices), 0, axis)
