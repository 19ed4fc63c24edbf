"""Brains that differ from each other: the template, warped for each subject, and cut into tissue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from perfmap.phantom.fields import (
    FloatArray,
    SmoothField,
    add_fields,
    draw_field,
    evaluate_at,
    evaluate_on_slice,
)
from perfmap.phantom.geometry import Geometry
from perfmap.phantom.priors import draw
from perfmap.phantom.priors.anatomy import ANATOMY
from perfmap.phantom.template import ventricle_push


class ShapeParameters(BaseModel):
    """What makes one head's shape: drawn once, applied by `place` and `tissue_shares`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: tuple[float, float, float]
    shear: tuple[float, float, float]
    rotation: tuple[float, float, float]
    translation: tuple[float, float, float]
    coarse_warp: float
    fine_warp: float
    coarse_seed: int
    fine_seed: int
    ventricle_growth: float
    csf_threshold: float
    wm_threshold: float
    sharpness: float
    hull_margin: float
    thickness_seed: int


def draw_seed(rng: np.random.Generator) -> int:
    """A seed for something that is drawn later, kept in the record instead of the numbers themselves."""
    return int(rng.integers(0, 2**31 - 1))


def draw_shape(rng: np.random.Generator) -> ShapeParameters:
    """Draw the shape of a head within the priors."""

    def triple(name: str) -> tuple[float, float, float]:
        return draw(ANATOMY[name], rng), draw(ANATOMY[name], rng), draw(ANATOMY[name], rng)

    single = ("coarse_warp", "fine_warp", "ventricle_growth", "csf_threshold", "wm_threshold", "sharpness")
    return ShapeParameters(
        scale=triple("scale"),
        shear=triple("shear"),
        rotation=triple("rotation"),
        translation=triple("translation"),
        coarse_seed=draw_seed(rng),
        fine_seed=draw_seed(rng),
        thickness_seed=draw_seed(rng),
        hull_margin=draw(ANATOMY["hull_margin"], rng),
        **{name: draw(ANATOMY[name], rng) for name in single},
    )


# --- From the slice to the template ---------------------------------------------------------------------


@dataclass(frozen=True)
class Placement:
    """The warp of one subject, ready for use.

    Attributes
    ----------
    shape : ShapeParameters
    matrix : ndarray, shape (3, 3)
        Subject mm to template mm, without the translation.
    warp : SmoothField
        Displacement in template mm, three components, at subject positions.
    """

    shape: ShapeParameters
    matrix: NDArray[np.float64]
    warp: SmoothField


def place(shape: ShapeParameters) -> Placement:
    """Prepare the warp of a subject."""
    coarse = draw_field(shape.coarse_seed, spacing=ANATOMY["coarse_spacing"].value, n_components=3)
    fine = draw_field(shape.fine_seed, spacing=ANATOMY["fine_spacing"].value, n_components=3)
    warp = add_fields(fine, coarse, weights=(shape.fine_warp, shape.coarse_warp))
    return Placement(shape, np.linalg.inv(_linear(shape)).astype(np.float64), warp)


def _linear(shape: ShapeParameters) -> NDArray[np.float64]:
    """Template mm to subject mm without the translation: rotation · shear · scale."""
    ax, ay, az = np.deg2rad(shape.rotation)
    rx = np.array([[1, 0, 0], [0, np.cos(ax), -np.sin(ax)], [0, np.sin(ax), np.cos(ax)]])
    ry = np.array([[np.cos(ay), 0, np.sin(ay)], [0, 1, 0], [-np.sin(ay), 0, np.cos(ay)]])
    rz = np.array([[np.cos(az), -np.sin(az), 0], [np.sin(az), np.cos(az), 0], [0, 0, 1]])
    shear = np.eye(3)
    shear[0, 1], shear[0, 2], shear[1, 2] = shape.shear
    matrix: NDArray[np.float64] = rz @ ry @ rx @ shear @ np.diag(shape.scale)
    return matrix


@dataclass(frozen=True)
class Lattice:
    """The points of one sub-slice: positions in space and along the stack's own axes.

    Attributes
    ----------
    points : ndarray, float32, shape (nx, ny, 3)
        Subject space, RAS+ mm.
    along : tuple
        Coordinates (nx,), (ny,) and the height, mm, along the stack's axes: where random fields are read.
    """

    points: FloatArray
    along: tuple[FloatArray, FloatArray, float]


def lattice(geometry: Geometry, position: float) -> Lattice:
    """Points of the plane at slice index `position`, which may lie between two slices."""
    matrix = geometry.matrix
    size = np.asarray(geometry.voxel_size)
    start = np.linalg.solve(matrix[:3, :3] / size, matrix[:3, 3])
    i, j = np.arange(geometry.shape[0]), np.arange(geometry.shape[1])
    corner = (matrix[:3, 3] + matrix[:3, 2] * position).astype(np.float32)
    rows = (i[:, None] * matrix[:3, 0]).astype(np.float32) + corner
    points = rows[:, None, :] + (j[:, None] * matrix[:3, 1]).astype(np.float32)
    along = (
        (start[0] + size[0] * i).astype(np.float32),
        (start[1] + size[1] * j).astype(np.float32),
        float(start[2] + size[2] * position),
    )
    return Lattice(points, along)


def to_template(placement: Placement, plane: Lattice) -> FloatArray:
    """Template position of every point of a plane, with ventricles of the template's width.

    Returns
    -------
    ndarray, float32, shape (nx, ny, 3)
        MNI mm.
    """
    shift = evaluate_on_slice(placement.warp, *plane.along)
    return _linear_part(placement, plane.points) + np.moveaxis(shift, 0, -1)


def widen_ventricles(placement: Placement, where: FloatArray) -> FloatArray:
    """Template positions (n, 3) after the subject's ventricles have grown; it matters in the brain only."""
    return where - np.float32(placement.shape.ventricle_growth) * ventricle_push(where)


def _linear_part(placement: Placement, points: FloatArray) -> FloatArray:
    matrix = placement.matrix.astype(np.float32)
    centred = points - np.asarray(placement.shape.translation, dtype=np.float32)
    result: FloatArray = centred @ matrix.T
    return result


def to_subject(placement: Placement, template_points: NDArray[np.floating]) -> FloatArray:
    """Subject position of template points, by fixed-point iteration on the warp (0.2 mm).

    Parameters
    ----------
    placement : Placement
    template_points : ndarray, shape (n, 3)
        MNI mm.

    Returns
    -------
    ndarray, float32, shape (n, 3)
        Subject mm. Exact for stacks whose axes are those of space.
    """
    forward = np.linalg.inv(placement.matrix).astype(np.float32)
    target = template_points.astype(np.float32)
    points = (target @ forward.T + np.asarray(placement.shape.translation, dtype=np.float32)).astype(
        np.float32
    )
    for _ in range(3):
        where = _linear_part(placement, points) + evaluate_at(placement.warp, points).T
        where = widen_ventricles(placement, where.astype(np.float32))
        points = (points + (target - where) @ forward.T).astype(np.float32)
    return points


def tissue_shares(maps: FloatArray, shape: ShapeParameters, thickness: FloatArray) -> FloatArray:
    """Share of CSF, GM, WM and deep GM at points of the brain.

    The template is an average of 152 brains and blurred by them. One brain has an edge: the probability is cut
    at a threshold with a steep ramp, and the threshold is what makes a cortex thin or a sulcus wide.

    Parameters
    ----------
    maps : ndarray, shape (n, 4)
        From `look_up`.
    shape : ShapeParameters
    thickness : ndarray, shape (n,)
        Smooth field of unit SD that moves both thresholds from place to place.

    Returns
    -------
    ndarray, float32, shape (n, 4)
        Columns csf, gm, wm, deep_gm; they add up to 1.
    """
    gm, wm, nucleus = maps[:, 0], maps[:, 1], maps[:, 2]
    tissue = gm + wm
    local = np.float32(ANATOMY["threshold_spread"].value) * thickness
    solid = np.clip((tissue - shape.csf_threshold - local) * (2 * shape.sharpness) + 0.5, 0.0, 1.0)
    beyond = wm / np.maximum(tissue, 1e-3) - shape.wm_threshold - local
    beyond -= ANATOMY["nucleus_threshold"].value * nucleus
    white = np.clip(beyond * shape.sharpness + 0.5, 0.0, 1.0)
    shares = np.empty((len(maps), 4), dtype=np.float32)
    shares[:, 0] = 1.0 - solid
    shares[:, 2] = solid * white
    grey = solid - shares[:, 2]
    shares[:, 3] = grey * nucleus
    shares[:, 1] = grey - shares[:, 3]
    return shares
