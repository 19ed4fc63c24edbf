"""Tubes, and the share of each voxel that they fill.

A tube is cut into thin discs, a disc into points of equal volume, and the points are counted voxel by voxel: the
volume of every tube is kept, whatever its course and however large the voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfmap.phantom.fields import FloatArray
from perfmap.phantom.geometry import Geometry

STEP = 0.7  # mm between the discs that fill a tube
POINT_AREA = 0.5  # mm² of a disc that one point stands for, at most
POINTS_PER_VOXEL = 8  # points that fill a voxel, at least
MIN_POINTS = 6  # points of the thinnest disc
GOLDEN_ANGLE = 2.399963  # radians between points of a disc: even cover
REACH = 6.0  # mm, radius of the thickest tube: what lies further from every slice is left out


@dataclass(frozen=True)
class Tube:
    """A vessel as a polyline.

    Attributes
    ----------
    points : ndarray, float32, shape (n, 3)
        mm.
    radius : ndarray, float32, shape (n,)
        mm, at each point.
    artery : bool
        Artery or vein.
    """

    points: FloatArray
    radius: FloatArray
    artery: bool


@dataclass(frozen=True)
class _Discs:
    """Thin discs: centre (n, 3), unit axis (n, 3), radius and thickness (n,) in mm, artery or vein (n,)."""

    centre: NDArray[np.float64]
    axis: NDArray[np.float64]
    radius: NDArray[np.float64]
    thickness: NDArray[np.float64]
    artery: NDArray[np.bool_]


def fill_tubes(tubes: Sequence[Tube], geometry: Geometry, rng: np.random.Generator) -> FloatArray:
    """Share of each voxel's volume inside tubes.

    Parameters
    ----------
    tubes : sequence of Tube
        In the space of the geometry.
    geometry : Geometry
    rng : numpy.random.Generator
        Turns the points of each disc, so that no pattern shows.

    Returns
    -------
    ndarray, float32, shape (2, x, y, z)
        Arteries, then veins; above 1 where tubes lie in each other.
    """
    voxel_volume = float(np.prod(geometry.voxel_size[:2])) * geometry.thickness
    discs = _cut(tubes, geometry)
    area = min(POINT_AREA, voxel_volume / (POINTS_PER_VOXEL * STEP))
    n_points = np.maximum(np.ceil(np.pi * discs.radius**2 / area).astype(int), MIN_POINTS)
    owner = np.repeat(np.arange(len(n_points)), n_points)
    cloud = _points(discs, owner, n_points, rng)
    volume = np.pi * discs.radius**2 * discs.thickness / n_points

    inverse = np.linalg.inv(geometry.matrix)
    index = cloud @ inverse[:3, :3].T + inverse[:3, 3]
    nearest = np.rint(index).astype(np.int64)
    shape = np.asarray(geometry.shape)
    half = geometry.thickness / geometry.voxel_size[2] / 2
    kept = np.all((nearest >= 0) & (nearest < shape), axis=1) & (np.abs(index[:, 2] - nearest[:, 2]) <= half)
    flat = np.ravel_multi_index(tuple(nearest[kept].T), geometry.shape)
    flat = flat + ~discs.artery[owner[kept]] * int(shape.prod())
    weight = (volume / voxel_volume)[owner[kept]]
    filled = np.bincount(flat, weights=weight, minlength=2 * int(shape.prod()))
    result: FloatArray = filled.reshape(2, *geometry.shape).astype(np.float32)
    return result


def _cut(tubes: Sequence[Tube], geometry: Geometry) -> _Discs:
    """Cut the stretches of all tubes that come near a slice into discs."""
    points = np.concatenate([tube.points for tube in tubes]).astype(np.float64)
    radius = np.concatenate([tube.radius for tube in tubes]).astype(np.float64)
    artery = np.concatenate([np.full(len(tube.points), tube.artery) for tube in tubes])
    joined = np.ones(len(points), dtype=bool)
    joined[np.cumsum([len(tube.points) for tube in tubes]) - 1] = False
    first = np.flatnonzero(joined)
    inverse = np.linalg.inv(geometry.matrix)
    height = points @ inverse[2, :3] + inverse[2, 3]
    margin = REACH / geometry.voxel_size[2] + 0.5
    low, high = np.minimum(height[first], height[first + 1]), np.maximum(height[first], height[first + 1])
    first = first[(high > -margin) & (low < geometry.shape[2] - 1 + margin)]

    stretch = points[first + 1] - points[first]
    length = np.linalg.norm(stretch, axis=1)
    n_discs = np.maximum(np.ceil(length / STEP).astype(int), 1)
    segment = np.repeat(np.arange(len(first)), n_discs)
    place = np.arange(len(segment)) - np.repeat(np.cumsum(n_discs) - n_discs, n_discs)
    t = (place + 0.5) / n_discs[segment]
    start = first[segment]
    return _Discs(
        centre=points[start] + t[:, None] * stretch[segment],
        axis=stretch[segment] / np.maximum(length[segment], 1e-6)[:, None],
        radius=radius[start] * (1 - t) + radius[start + 1] * t,
        thickness=(length / n_discs)[segment],
        artery=artery[start],
    )


def _points(
    discs: _Discs, owner: NDArray[np.int64], n_points: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Points spread evenly over each disc; disc `owner` has `n_points` of them. Shape (sum of n_points, 3)."""
    k = np.arange(len(owner)) - np.repeat(np.cumsum(n_points) - n_points, n_points)
    helper = np.where(np.abs(discs.axis[:, :1]) < 0.7, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    u = np.cross(discs.axis, helper)
    u /= np.maximum(np.linalg.norm(u, axis=1, keepdims=True), 1e-9)
    v = np.cross(discs.axis, u)
    spin = k * GOLDEN_ANGLE + rng.uniform(0, 2 * np.pi, size=len(n_points))[owner]
    out = np.sqrt((k + 0.5) / n_points[owner]) * discs.radius[owner]
    along = rng.uniform(-0.5, 0.5, size=len(owner)) * discs.thickness[owner]
    cloud: NDArray[np.float64] = (
        discs.centre[owner]
        + (out * np.cos(spin))[:, None] * u[owner]
        + (out * np.sin(spin))[:, None] * v[owner]
        + along[:, None] * discs.axis[owner]
    )
    return cloud
