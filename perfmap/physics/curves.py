"""Libraries of tissue curves, which make thousands of voxels cheap.

A tissue curve is ``C(t) = (CBV/100)/k_H · (Ca(t − delay) ⊗ h)`` with ``h = R/∫R``: its shape depends on MTT
and on the family of R alone. So the convolutions are done once for a set of nodes on a fine grid, and a voxel
takes its curve from the two nodes beside its MTT. Nodes have unit area and mixing is linear, hence CBV stays
exact, and so does the mean of h, which is proportional to MTT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from perfmap.physics.residue import KERNEL_SAMPLES, ResidueFamily, interstitial_response, residue_kernel

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]

FINE_STEP = 0.1
"""Step of the fine time grid, s."""
MTT_NODES: FloatArray = np.concatenate([[0.0], np.geomspace(0.5, 40.0, 29)])
"""Mean transit times with a curve of their own, s. The first one is the arterial curve itself."""
LAMBDA_NODES: FloatArray = np.geomspace(1.0, 20.0, 13)
"""Shapes of the gamma family with curves of their own; a voxel takes the nearest."""
KEP_NODES: FloatArray = np.concatenate([[0.0], np.geomspace(0.01, 20.0, 32)])
"""Efflux rates with a curve of their own, 1/min."""


@dataclass(frozen=True)
class SampledCurves:
    """Curves of many voxels at the times of the images, kept as a small table.

    Attributes
    ----------
    table : ndarray, float32, shape (t, u)
        The different curves, one a column.
    low, high : ndarray of int, shape (n,)
        Columns of the two nodes between which a voxel lies.
    weight : ndarray, float32, shape (n,)
        Weight of `high`.
    """

    table: Float32Array
    low: IntArray
    high: IntArray
    weight: Float32Array

    def curves(self, rows: slice | IntArray) -> Float32Array:
        """Curves of the voxels in `rows`. Shape (t, m)."""
        below = self.table.take(self.low[rows], axis=1)
        above = self.table.take(self.high[rows], axis=1)
        above -= below
        above *= self.weight[rows]
        above += below
        return above


def sample_tissue_curves(
    arterial: FloatArray,
    times: FloatArray,
    *,
    family: ResidueFamily,
    mtt: NDArray[np.floating],
    delay: NDArray[np.floating],
    residue_lambda: NDArray[np.floating],
) -> SampledCurves:
    """Unit-CBV tissue curves ``(Ca ⊗ h)(t − delay)`` of many voxels.

    Parameters
    ----------
    arterial : ndarray, shape (f,)
        Arterial concentration on the fine grid (`FINE_STEP`, from 0 s), mM.
    times : ndarray, shape (t,)
        Times of the images, s.
    family : str
        Family of residue functions.
    mtt, delay, residue_lambda : ndarray, shape (n,)
        Mean transit time (s), delay (s, to the nearest fine step), shape of the gamma family (nearest node).

    Returns
    -------
    SampledCurves
        Columns in mM for CBV = 100 ml/100 ml and k_H = 1.
    """
    low, weight = _between(MTT_NODES, mtt)
    if family == "gamma":
        ratio = np.log(np.clip(residue_lambda, LAMBDA_NODES[0], LAMBDA_NODES[-1]) / LAMBDA_NODES[0])
        shape = np.rint(ratio / math.log(LAMBDA_NODES[1] / LAMBDA_NODES[0])).astype(np.int64)
    else:
        shape = np.zeros(low.size, dtype=np.int64)
    n_mtt = MTT_NODES.size
    node = shape * n_mtt + low
    used, position = _compress(np.concatenate([node, node + 1]), n_mtt * LAMBDA_NODES.size)
    size = KERNEL_SAMPLES * (2 + (arterial.size - 1) // KERNEL_SAMPLES)  # few sizes, so that kernels are kept
    spectrum = fft.rfft(arterial.astype(np.float32), size)
    curves = np.empty((used.size, arterial.size), dtype=np.float32)
    for row, key in enumerate(used):
        kernels = _kernel_spectra(family, int(key) // n_mtt, size)
        curves[row] = fft.irfft(spectrum * kernels[int(key) % n_mtt], size)[: arterial.size]
    return _sample(curves, times, delay, position[: low.size], position[low.size :], weight)


def sample_interstitial_curves(
    plasma: FloatArray,
    times: FloatArray,
    *,
    kep: NDArray[np.floating],
    delay: NDArray[np.floating],
    steady_plasma: float = 0.0,
    steady_minutes: float = 0.0,
) -> SampledCurves:
    """Interstitial curves for Ktrans = 1/min of many voxels.

    Parameters
    ----------
    plasma : ndarray, shape (f,)
        Plasma concentration of this injection on the fine grid, mM.
    times : ndarray, shape (t,)
        Times of the images, s.
    kep, delay : ndarray, shape (n,)
        Efflux rate (1/min) and delay (s).
    steady_plasma, steady_minutes : float
        A preload: plasma has stood at `steady_plasma` mM since `steady_minutes` before the first image, and
        stays there.

    Returns
    -------
    SampledCurves
        Columns in mM.
    """
    low, weight = _between(KEP_NODES, kep)
    used, position = _compress(np.concatenate([low, low + 1]), KEP_NODES.size)
    curves = interstitial_response(plasma, time_step=FINE_STEP, kep=KEP_NODES[used])
    if steady_plasma > 0:
        minutes = steady_minutes + np.arange(plasma.size) * (FINE_STEP / 60.0)
        rate = np.maximum(KEP_NODES[used], 1e-9)[:, None]
        curves = curves - steady_plasma * np.expm1(-rate * minutes) / rate
    sampled = curves.astype(np.float32)
    return _sample(sampled, times, delay, position[: low.size], position[low.size :], weight)


def join_curves(parts: Sequence[SampledCurves], members: Sequence[NDArray[np.bool_]]) -> SampledCurves:
    """Put tables of different voxels together.

    Parameters
    ----------
    parts : sequence of SampledCurves
        At the same times.
    members : sequence of ndarray of bool, shape (n,)
        Which of all voxels each part holds, in order; every voxel belongs to one part.

    Returns
    -------
    SampledCurves
        Of all n voxels.
    """
    n = members[0].size
    low, high = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    weight = np.zeros(n, dtype=np.float32)
    first = 0
    for part, member in zip(parts, members, strict=True):
        low[member], high[member] = part.low + first, part.high + first
        weight[member] = part.weight
        first += part.table.shape[1]
    return SampledCurves(np.concatenate([part.table for part in parts], axis=1), low, high, weight)


@lru_cache(maxsize=64)
def _kernel_spectra(family: ResidueFamily, shape: int, size: int) -> NDArray[np.complex64]:
    """Spectra of the kernels of all MTT nodes. Shape (m, size // 2 + 1)."""
    kernels = np.stack(
        [
            residue_kernel(
                KERNEL_SAMPLES,
                time_step=FINE_STEP,
                mtt=float(mtt),
                family=family,
                residue_lambda=float(LAMBDA_NODES[shape]),
            )
            for mtt in MTT_NODES
        ]
    )
    spectra: NDArray[np.complex64] = fft.rfft(kernels, size, axis=1).astype(np.complex64)
    return spectra


def _between(nodes: FloatArray, values: NDArray[np.floating]) -> tuple[IntArray, Float32Array]:
    """Index of the node below each value, and the weight of the node above."""
    clipped = np.clip(values, nodes[0], nodes[-1])
    low = np.clip(np.searchsorted(nodes, clipped, side="right") - 1, 0, nodes.size - 2)
    weight = (clipped - nodes[low]) / (nodes[low + 1] - nodes[low])
    return low.astype(np.int64), weight.astype(np.float32)


def _compress(keys: IntArray, n_keys: int) -> tuple[IntArray, IntArray]:
    """Different keys in ascending order, and where each key stands among them; keys lie in [0, n_keys)."""
    present = np.zeros(n_keys, dtype=bool)
    present[keys] = True
    used = np.flatnonzero(present)
    rank = np.zeros(n_keys, dtype=np.int64)
    rank[used] = np.arange(used.size)
    return used, rank[keys]


def _sample(
    curves: Float32Array,
    times: FloatArray,
    delay: NDArray[np.floating],
    low: IntArray,
    high: IntArray,
    weight: Float32Array,
) -> SampledCurves:
    """Read `curves` (c, f) at ``times − delay`` for the pairs (node, delay) that occur."""
    steps = np.rint(np.asarray(delay, dtype=np.float64) / FINE_STEP).astype(np.int64)
    first = int(steps.min(initial=0))
    n_steps = int(steps.max(initial=0)) - first + 1
    keys = np.concatenate([low, high]) * n_steps + np.tile(steps - first, 2)
    used, position = _compress(keys, curves.shape[0] * n_steps)
    node, shift = np.divmod(used, n_steps)
    # Before its first sample a curve has the value of that sample: 0 for a bolus, the steady level of a preload.
    where = np.clip((times / FINE_STEP)[:, None] - (shift + first), 0, curves.shape[1] - 1)  # (t, u)
    whole = np.minimum(where.astype(np.int64), curves.shape[1] - 2)
    part = (where - whole).astype(np.float32)
    whole += node * curves.shape[1]
    flat = curves.reshape(-1)
    left = flat.take(whole)
    table = left + part * (flat.take(whole + 1) - left)
    return SampledCurves(table, position[: low.size], position[low.size :], weight)
