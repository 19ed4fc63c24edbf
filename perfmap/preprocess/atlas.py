"""Lay an average brain over the brain of a series, by the shape of its mask.

The first-pass map itself is not asked: a lesion, a stroke, or a CBV that follows no anatomy must not pull the
tissue classes to where they fit best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import least_squares

from perfmap.io.tissue_prior import TissuePrior, load_tissue_prior

Size = tuple[float, float, float]

_GRID = 5.0  # mm between the points at which the two shapes are compared
_MAX_POINTS = 5000
_MARGIN = 25.0  # mm around the mask that take part: where there is no brain is half of what the shape says
_BLUR = 4.0  # mm
_CENTRE = np.array([0.0, -18.0, 8.0])  # MNI mm; about the middle of a brain
_WHOLE = 70.0  # mm; a thinner stack may lie anywhere in the head
_STARTS_WHOLE = (-15.0, 5.0, 25.0)  # mm, heights of the stack's middle that are tried
_STARTS_THIN = (-40.0, -20.0, 0.0, 20.0, 40.0, 60.0)
_STEPS = 6
# Shift (10 mm), rotation (10°) and log scale (10 %) about x, y, z, and how far they are expected to go.
_SPREAD = np.array([1.0, 1.0, 5.0, 0.7, 0.5, 0.5, 0.8, 0.8, 0.8])
_STIFFNESS = 0.02


@dataclass(frozen=True)
class Placement:
    """Where a brain lies in MNI space.

    Attributes
    ----------
    parameters : ndarray, shape (9,)
        Shift in 10 mm, rotation in 10° and log scale in 10 %, about x, y and z.
    centre : ndarray, shape (3,)
        Middle of the mask, mm from voxel (0, 0, 0) along the axes of the array.
    misfit : float
        Mean squared difference of the two shapes, 0 to 1.
    """

    parameters: NDArray[np.float64]
    centre: NDArray[np.float64]
    misfit: float

    def to_mni(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """MNI mm of points given in mm from voxel (0, 0, 0). Shape (n, 3)."""
        p = self.parameters
        scaled = (points - self.centre) * np.exp(0.1 * p[6:])
        return np.asarray(scaled @ _rotation(np.radians(10 * p[3:6])).T + _CENTRE + 10 * p[:3])


def place_brain(mask: NDArray[np.bool_], *, voxel_size: Size) -> Placement:
    """Find shift, rotation and scale that bring the average brain's outline onto a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
        Brain, axes along RAS+. Slices may cover a part of it: only where there are slices is compared.
    voxel_size : tuple of float
        mm.

    Returns
    -------
    Placement
    """
    edges = np.array(voxel_size)
    extent = np.array(mask.shape) * edges
    prior = load_tissue_prior()
    outline = ndimage.gaussian_filter(np.clip(prior.grey + prior.white + prior.fluid, 0, 1), 1.0)
    every = [
        max(1, round(_GRID / edge)) if length > 1 else 1
        for edge, length in zip(edges, mask.shape, strict=True)
    ]
    blur = [_BLUR / edge if length > 1 else 0.0 for edge, length in zip(edges, mask.shape, strict=True)]
    some = tuple(slice(step // 2, None, step) for step in every)
    shape = ndimage.gaussian_filter(mask.astype(np.float32), blur)[some]
    near = ndimage.distance_transform_edt(~mask, sampling=edges)[some] < _MARGIN
    grid = np.stack(
        np.meshgrid(*(np.arange(n)[s] for n, s in zip(mask.shape, some, strict=True)), indexing="ij"), -1
    )
    thin = slice(None, None, max(1, int(near.sum()) // _MAX_POINTS))
    points, wanted = grid[near][thin] * edges, shape[near][thin]
    centre = np.array(ndimage.center_of_mass(mask)) * edges
    stiffness = _STIFFNESS * np.sqrt(wanted.size) / _SPREAD

    def residual(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        placed = Placement(parameters, centre, 0.0).to_mni(points)
        return np.concatenate([_look_up(outline, prior, placed) - wanted, stiffness * parameters])

    starts = _STARTS_THIN if extent.min() < _WHOLE else _STARTS_WHOLE
    fits = []
    for height in starts:
        start = np.zeros(9)
        start[2] = height / 10
        fits.append(least_squares(residual, start, method="trf", max_nfev=_STEPS, diff_step=0.02))
    best = min(fits, key=lambda fit: float(fit.cost))
    return Placement(np.asarray(best.x), centre, float(np.square(best.fun[: wanted.size]).mean()))


def white_matter_share(
    placement: Placement, voxels: NDArray[np.integer], *, voxel_size: Size
) -> NDArray[np.float32]:
    """White matter as a part of all tissue at some voxels of a placed brain.

    Parameters
    ----------
    placement : Placement
    voxels : ndarray of int, shape (n, 3)
        Indices.
    voxel_size : tuple of float
        mm.

    Returns
    -------
    ndarray, float32, shape (n,)
        0 to 1.
    """
    prior = load_tissue_prior()
    placed = placement.to_mni(voxels * np.array(voxel_size))
    white = _look_up(prior.white, prior, placed)
    total = white + _look_up(prior.grey, prior, placed) + _look_up(prior.fluid, prior, placed)
    return np.asarray(white / np.maximum(total, 1e-3), dtype=np.float32)


def _look_up(
    volume: NDArray[np.float32], prior: TissuePrior, points: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Linear interpolation at MNI points; 0 outside."""
    index = ((points - prior.origin) / prior.step).T
    return np.asarray(ndimage.map_coordinates(volume, index, order=1, mode="constant"), dtype=np.float32)


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z)
