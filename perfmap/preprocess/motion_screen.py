"""A quick look at how far the head moves, to decide whether registration is worth its time and its blur.

For small motion a moved volume is the volume at rest plus its derivatives along the six rigid directions, times
how far it went. So each volume is fitted, by robust least squares, with the volume at rest, its square (tissues
lose signal unequally during the bolus), its drift in space, and the six derivatives. The fit is linear: a factor
on the signal changes nothing. Far motion is underestimated, but never overlooked; the fit repeated where the head was
found to be (`MotionScreen.follow`) measures it. Only the fitted places are read again, so that a round is cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from perfmap.series import FloatArray

sitk: Any = SimpleITK  # half of its functions carry no types

_SMOOTHING = 3.0  # mm, standard deviation: wider than the motion that is looked for
_ROBUST = 3.0  # a voxel counts less once its residual exceeds this many robust standard deviations
_ROUNDS = 2
_POOLED = 4.0  # mm; volumes are shrunk to about this
_MAX_VOXELS = 12_000
_FOLLOWED = 6  # rounds at the most
_SETTLED = 0.1  # mm; a volume whose last step was smaller is in place
FEW_SLICES = 8
"""Below this many slices only motion within the slice is told: through few of them the bolus looks like motion, and
their neighbours are no place to take what is missing from; see docs/decisions/0002-motion.md."""


@dataclass(frozen=True)
class MotionScreen:
    """Everything about the head at rest that the fit of a volume needs; made by `MotionScreen.of`."""

    small: tuple[FloatArray, ...]
    where: tuple[NDArray[np.intp], ...]
    points: NDArray[np.float64]
    origin: NDArray[np.float64]
    edges: NDArray[np.float64]
    level: float
    design: NDArray[np.float64]
    seen: NDArray[np.bool_]

    @classmethod
    def of(
        cls, fixed: FloatArray, head: NDArray[np.bool_], *, voxel_size: tuple[float, float, float]
    ) -> MotionScreen:
        """Prepare for volumes of the same head.

        Parameters
        ----------
        fixed : ndarray, float32, shape (x, y, z)
            The head at rest.
        head : ndarray of bool, shape (x, y, z)
            Where it is.
        voxel_size : tuple of float
            Edge lengths of a voxel along x, y and z, mm.
        """
        shape = np.array(fixed.shape)
        factors = [_shrink(edge, n) for edge, n in zip(voxel_size, fixed.shape, strict=True)]
        fixed = _pooled(np.nan_to_num(fixed, posinf=0.0, neginf=0.0), factors)
        head = _pooled(head.astype(np.float32), factors) > 0.5
        edges = np.asarray(voxel_size) * factors
        sigma = [_SMOOTHING / edge if n > 1 else 0.0 for edge, n in zip(edges, fixed.shape, strict=True)]
        rest = ndimage.gaussian_filter(fixed.astype(np.float64), sigma)
        places = np.argwhere(head)
        places = places[:: -(-len(places) // _MAX_VOXELS) or 1]
        where = tuple(places.T)
        # Where the first pooled voxel lies, mm from the middle of the field of view.
        origin = (0.5 * (np.array(factors) - 1) - 0.5 * (shape - 1)) * np.asarray(voxel_size)
        points = origin + places * edges
        gradient = np.stack(
            [
                np.gradient(rest, edge, axis=axis)[where] if n > 1 else np.zeros(len(places))
                for axis, (edge, n) in enumerate(zip(edges, fixed.shape, strict=True))
            ],
            axis=-1,
        )  # (n, 3)
        level = float(rest[where].mean())
        at_rest = rest[where] / level
        nuisance = np.column_stack([at_rest, at_rest**2, at_rest[:, None] * points / points.std()])
        # A head that moves by +v shows at a point what was at the point − v.
        rigid = np.column_stack([-np.cross(points, gradient), -gradient]) / level
        seen = np.abs(rigid).max(axis=0) > 0
        for axis in (
            i for i, n in enumerate(fixed.shape) if n < FEW_SLICES
        ):  # through them nothing can be told
            seen[3 + axis] = False
            seen[[a for a in range(3) if a != axis]] = False
        small = tuple(
            _shrinking(n, factor, width)
            for n, factor, width in zip(shape.tolist(), factors, sigma, strict=True)
        )
        design = np.ascontiguousarray(np.column_stack([nuisance, rigid[:, seen]]).T)
        return cls(small, where, points, origin, edges, level, design, seen)

    def fit(self, volume: FloatArray) -> NDArray[np.float64]:
        """Rigid motion of a volume of shape (x, y, z) against the head at rest, to first order.

        Returns
        -------
        ndarray, float64, shape (6,)
            Rotations about x, y, z (rad) and translations along x, y, z (mm); 0 for what few slices cannot tell.
        """
        return self._fit(self._smooth(volume)[self.where].astype(np.float64))

    def follow(self, volume: FloatArray) -> NDArray[np.float64]:
        """Rigid motion of a volume, however far: the fit, repeated where the head was found to be. As `fit`."""
        spline = ndimage.spline_filter(self._smooth(volume), order=3)
        found = np.zeros(6)
        for _ in range(_FOLLOWED):
            step = self._fit(self._read(spline, found))
            found = found + step
            if displacement(step, self.points) < _SETTLED:
                break
        return found

    def _smooth(self, volume: FloatArray) -> FloatArray:
        if not np.isfinite(volume.sum(dtype=np.float64)):
            volume = np.nan_to_num(volume, posinf=0.0, neginf=0.0)
        return np.asarray(_shrunk(volume, self.small) / np.float32(self.level))

    def _read(self, spline: FloatArray, parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the fitted points of the head show in a volume whose head moved by `parameters`."""
        places = ((moved_points(parameters, self.points) - self.origin) / self.edges).T
        return np.asarray(ndimage.map_coordinates(spline, places, order=3, mode="nearest", prefilter=False))

    def _fit(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.zeros(6)
        if self.seen.any():
            found[self.seen] = _robust_fit(self.design, values)[-int(self.seen.sum()) :]
        return found


def rigid_transform(parameters: NDArray[np.float64]) -> Any:
    """SimpleITK's transform of six parameters: rotations about x, y, z (rad), then translations (mm)."""
    transform = sitk.Euler3DTransform()
    transform.SetParameters([float(value) for value in parameters])
    return transform


def moved_points(parameters: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where points (n, 3), mm from the middle of the field of view, are after the motion."""
    matrix = np.array(rigid_transform(parameters).GetMatrix()).reshape(3, 3)
    return points @ matrix.T + parameters[3:]


def displacement(parameters: NDArray[np.float64], points: NDArray[np.float64]) -> float:
    """Root mean square over points of how far they have moved, mm."""
    return float(np.sqrt(((moved_points(parameters, points) - points) ** 2).sum(axis=1).mean()))


def _shrink(edge: float, n: int) -> int:
    """Voxels to pool along an axis: up to the smoothing's width, and never below 16 of them."""
    return max(1, min(round(_POOLED / edge), n // 16))


def _pooled(volume: FloatArray, factors: list[int]) -> FloatArray:
    """Mean over blocks; what is left over at the far ends is cut off."""
    for axis, factor in enumerate(factors):
        if factor > 1:
            kept = volume.shape[axis] // factor * factor
            volume = np.moveaxis(np.moveaxis(volume, axis, 0)[:kept], 0, axis)
            shape = (*volume.shape[:axis], kept // factor, factor, *volume.shape[axis + 1 :])
            volume = volume.reshape(shape).mean(axis=axis + 1)
    return volume


def _shrinking(n: int, factor: int, sigma: float) -> FloatArray:
    """Pooling and smoothing along an axis of length n, both linear, as one matrix. Shape (n // factor, n)."""
    pooled = _pooled(np.eye(n, dtype=np.float32), [factor, 1]).astype(np.float64)
    return np.asarray(ndimage.gaussian_filter1d(pooled, sigma, axis=0) if sigma else pooled, dtype=np.float32)


def _shrunk(volume: FloatArray, small: tuple[FloatArray, ...]) -> FloatArray:
    """A volume through one such matrix an axis; from the axis that lies closest in memory."""
    x, y, z = small
    along = np.matmul(y, volume.T.astype(np.float32, copy=False) @ x.T)  # (z, y', x')
    return np.asarray(np.tensordot(z, along, axes=(1, 0)).T)


def _robust_fit(design: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Robust least squares; `design` has shape (unknowns, n)."""
    weights: NDArray[np.floating] = np.ones(len(values))
    solution: NDArray[np.floating] = np.zeros(len(design))
    for _ in range(_ROUNDS + 1):
        weighted = design * weights
        solution = np.linalg.lstsq(weighted @ design.T, weighted @ values, rcond=None)[0]
        residual = np.abs(values - solution @ design)
        limit = _ROBUST * 1.4826 * float(np.median(residual)) + 1e-12
        weights = np.minimum(1.0, limit / np.maximum(residual, 1e-12))
    return np.asarray(solution, dtype=np.float64)
