"""The tissue probabilities of an average brain that ship with perfmap.

Averaged to 4 mm from the ICBM152 2009a maps (Fonov et al. 2009, doi 10.1016/S1053-8119(09)70884-5) by
``benchmarks/make_tissue_prior.py``. Copyright (C) 1993–2009 Louis Collins, McConnell Brain Imaging Centre,
Montreal Neurological Institute, McGill University; free to use, copy, modify and distribute for any purpose
and without fee, provided that this notice appears in all copies. The authors make no warranty.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TissuePrior:
    """Probabilities on a grid along RAS+.

    Attributes
    ----------
    grey, white, fluid : ndarray, float32, shape (x, y, z)
        Share of each tissue, 0 to 1; all 0 outside of the head.
    origin : ndarray, shape (3,)
        MNI mm of voxel (0, 0, 0).
    step : float
        Edge of a voxel, mm.
    """

    grey: NDArray[np.float32]
    white: NDArray[np.float32]
    fluid: NDArray[np.float32]
    origin: NDArray[np.float64]
    step: float


@lru_cache(maxsize=1)
def load_tissue_prior() -> TissuePrior:
    """Read the packed maps; once per process."""
    with np.load(Path(__file__).with_suffix(".npz"), allow_pickle=False) as packed:
        tissue = packed["tissue"].astype(np.float32) / 255
        origin, step = packed["origin"], float(packed["step"])
    grey, white, fluid = (np.ascontiguousarray(tissue[..., k]) for k in range(3))
    return TissuePrior(grey, white, fluid, origin, step)
