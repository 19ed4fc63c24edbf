"""Brains that differ from each other: the ICBM152 maps, warped, and the head around them.

The maps (Fonov et al. 2009, doi 10.1016/S1053-8119(09)70884-5) ship inside nilearn. They are read once per
process, packed into bytes, and from then on only the voxels of the wanted slices are looked up.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import ndimage

from perfmap.errors import ConfigError
from perfmap.phantom.fields import FloatArray, SmoothField, draw_field, evaluate_at, evaluate_on_slice
from perfmap.phantom.geometry import Geometry
from perfmap.phantom.priors import ANATOMY, draw

COARSE_SPACING = 45.0  # mm between control points of the slow warp: lobes
FINE_SPACING = 13.0  # mm, of the fast one: gyri
HULL_STEP = 2  # mm, grid of the distance maps
HULL_PAD = 30  # mm kept around the template for skull, scalp and face
_WIDE_SCALE = 4.0  # counts a mm of the wide distance map
_HULL_SCALE = 10.0  # distance to the hull is packed as 0.1 mm a count, 128 at the hull

# Centre and radii in MNI mm of the right-hand nucleus; the left is its mirror image.
DEEP_NUCLEI = (
    ((12.0, 13.0, 7.0), (7.0, 13.0, 10.0)),  # head of the caudate
    ((16.0, -6.0, 21.0), (5.0, 16.0, 6.0)),  # its body
    ((26.0, 3.0, 1.0), (8.0, 17.0, 12.0)),  # putamen
    ((19.0, -4.0, 0.0), (7.0, 10.0, 8.0)),  # pallidum
    ((12.0, -18.0, 8.0), (12.0, 17.0, 11.0)),  # thalamus
    ((10.0, 12.0, -8.0), (6.0, 6.0, 5.0)),  # accumbens
)
VENTRICLE_BOX = ((-34.0, 34.0), (-60.0, 48.0), (-16.0, 34.0))
"""Where, in MNI mm, a hole in the tissue is a ventricle and no sulcus."""


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


# --- Template -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Template:
    """The ICBM152 maps, packed for fast look-up.

    Attributes
    ----------
    packed : ndarray, uint8, shape (x, y, z, 4)
        GM, WM, deep nuclei (0–255 for 0–1) and distance to the brain hull at 1 mm.
    origin : ndarray, shape (3,)
        MNI mm of voxel (0, 0, 0) of `packed`.
    wide : ndarray, int8, shape (a, b, c)
        Signed distance to the brain hull in units of 0.25 mm, at 1 mm, with a margin around the template.
    hull : ndarray, float32, shape (d, e, f)
        The same in mm at 2 mm.
    push : ndarray, float32, shape (d, e, f, 3)
        Displacement that widens the ventricles by 1 mm, on the grid of `hull`.
    hull_origin : ndarray, shape (3,)
        MNI mm of voxel (0, 0, 0) of `wide`, `hull` and `push`.
    """

    packed: NDArray[np.uint8]
    origin: NDArray[np.float64]
    wide: NDArray[np.int8]
    hull: FloatArray
    push: FloatArray
    hull_origin: NDArray[np.float64]


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Read and pack the ICBM152 maps; once per process.

    Raises
    ------
    ConfigError
        If nilearn is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from nilearn import datasets

            images = [
                datasets.load_mni152_gm_template(resolution=1),
                datasets.load_mni152_wm_template(resolution=1),
                datasets.load_mni152_brain_mask(resolution=1),
            ]
            gm, wm, mask = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    except ImportError as error:
        raise ConfigError("the simulator needs nilearn; pip install 'perfmap[simulate]'") from error
    corner = np.asarray(images[0].affine, dtype=np.float64)[:3, 3]
    return _pack(gm, wm, mask > 0.5, corner)


def _pack(gm: FloatArray, wm: FloatArray, mask: NDArray[np.bool_], corner: NDArray[np.float64]) -> Template:
    tissue = np.pad(gm + wm, HULL_PAD)[::HULL_STEP, ::HULL_STEP, ::HULL_STEP]
    inside = np.pad(mask, HULL_PAD)[::HULL_STEP, ::HULL_STEP, ::HULL_STEP]
    inside = ndimage.binary_closing(inside, iterations=4)
    outward = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    hull = ndimage.gaussian_filter(outward.astype(np.float32) * HULL_STEP, 1.0)
    hull_origin = corner - HULL_PAD
    push = _ventricle_push(tissue, inside, hull_origin)

    distance = hull
    for axis in range(3):
        index = np.arange(HULL_STEP * hull.shape[axis] - 1)
        distance = 0.5 * (
            distance.take(index // HULL_STEP, axis) + distance.take((index + 1) // HULL_STEP, axis)
        )
    wide = np.clip(np.rint(distance * _WIDE_SCALE), -127, 127).astype(np.int8)
    distance = distance[tuple(slice(HULL_PAD, HULL_PAD + n) for n in gm.shape)]
    packed = np.empty((*gm.shape, 4), dtype=np.uint8)
    packed[..., 0] = np.rint(gm * 255)
    packed[..., 1] = np.rint(wm * 255)
    packed[..., 2] = np.rint(_nuclei(gm.shape, corner) * 255)
    packed[..., 3] = np.clip(np.rint(distance * _HULL_SCALE + 128), 0, 255)
    return Template(packed, corner, wide, hull, push, hull_origin)


@lru_cache(maxsize=1)
def brain_places() -> tuple[NDArray[np.float64], FloatArray, NDArray[np.bool_]]:
    """Places in the template's brain on a 3 mm grid: MNI mm (n, 3), hull distance (n,), and where it is solid (n,)."""
    template = load_template()
    step = template.packed[::3, ::3, ::3]
    distance = (step[..., 3].astype(np.float32) - 128) / _HULL_SCALE
    inside = distance < 0
    solid = step[..., :2].sum(axis=-1, dtype=np.int64) > 230
    return template.origin + 3.0 * np.argwhere(inside), distance[inside], solid[inside]


def _ventricle_push(tissue: FloatArray, inside: NDArray[np.bool_], origin: NDArray[np.float64]) -> FloatArray:
    """Displacement, per mm of growth, that points out of the ventricles and fades within 15 mm."""
    axes = np.ix_(*[origin[k] + HULL_STEP * np.arange(tissue.shape[k]) for k in range(3)])
    box = np.ones(tissue.shape, dtype=bool)
    for axis, (low, high) in zip(axes, VENTRICLE_BOX, strict=True):
        box &= (axis >= low) & (axis <= high)
    hole = inside & box & (tissue < 0.5)
    hole = ndimage.binary_opening(hole) | (hole & (np.abs(axes[0]) > 3))
    distance = ndimage.distance_transform_edt(~hole) - ndimage.distance_transform_edt(hole)
    distance = ndimage.gaussian_filter(distance.astype(np.float32) * HULL_STEP, 1.0)
    direction = np.stack(np.gradient(distance, HULL_STEP), axis=-1)
    fade = np.exp(-np.maximum(distance, 0.0) / 8.0) * np.clip((distance + 6.0) / 6.0, 0.0, 1.0)
    return np.ascontiguousarray(direction * fade[..., None], dtype=np.float32)


def _nuclei(shape: tuple[int, ...], corner: NDArray[np.float64]) -> FloatArray:
    """Soft membership in the deep grey nuclei."""
    x, y, z = np.ix_(*[corner[k] + np.arange(shape[k]) for k in range(3)])
    level = np.zeros(shape, dtype=np.float32)
    for centre, radii in DEEP_NUCLEI:
        squared = (
            ((np.abs(x) - centre[0]) / radii[0]) ** 2
            + ((y - centre[1]) / radii[1]) ** 2
            + ((z - centre[2]) / radii[2]) ** 2
        )
        np.maximum(level, np.clip((1.15 - np.sqrt(squared)) / 0.2, 0.0, 1.0), out=level)
    return level


# --- From the slice to the template ---------------------------------------------------------------------


@dataclass(frozen=True)
class Placement:
    """The warp of one subject, ready for use: subject mm to template mm."""

    shape: ShapeParameters
    matrix: NDArray[np.float64]
    coarse: SmoothField
    fine: SmoothField


def place(shape: ShapeParameters) -> Placement:
    """Prepare the warp of a subject."""
    return Placement(
        shape,
        np.linalg.inv(_linear(shape)).astype(np.float64),
        draw_field(shape.coarse_seed, spacing=COARSE_SPACING, n_components=3),
        draw_field(shape.fine_seed, spacing=FINE_SPACING, n_components=3),
    )


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
    turn = matrix[:3, :3] / size
    start = np.linalg.solve(turn, matrix[:3, 3])
    i = np.arange(geometry.shape[0])
    j = np.arange(geometry.shape[1])
    points = (
        matrix[:3, 3]
        + matrix[:3, 2] * position
        + i[:, None, None] * matrix[:3, 0]
        + j[None, :, None] * matrix[:3, 1]
    )
    along = (
        (start[0] + size[0] * i).astype(np.float32),
        (start[1] + size[1] * j).astype(np.float32),
        float(start[2] + size[2] * position),
    )
    return Lattice(points.astype(np.float32), along)


def to_template(placement: Placement, plane: Lattice) -> FloatArray:
    """Template position of every point of a plane.

    Returns
    -------
    ndarray, float32, shape (nx, ny, 3)
        MNI mm.
    """
    shift = placement.shape.coarse_warp * evaluate_on_slice(placement.coarse, *plane.along)
    shift += placement.shape.fine_warp * evaluate_on_slice(placement.fine, *plane.along)
    return _pull(placement, plane.points, np.moveaxis(shift, 0, -1))


def _pull(placement: Placement, points: FloatArray, shift: FloatArray) -> FloatArray:
    matrix = placement.matrix.astype(np.float32)
    centred = points - np.asarray(placement.shape.translation, dtype=np.float32)
    where: FloatArray = centred @ matrix.T + shift
    template = load_template()
    index = _nearest(where, template.hull_origin, template.hull.shape, HULL_STEP)
    where -= np.float32(placement.shape.ventricle_growth) * template.push.reshape(-1, 3)[index]
    return where


def to_subject(placement: Placement, template_points: NDArray[np.floating]) -> FloatArray:
    """Subject position of template points, by fixed-point iteration on the warp (0.1 mm).

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
    translation = np.asarray(placement.shape.translation, dtype=np.float32)
    points: FloatArray = target @ forward.T + translation
    for _ in range(4):
        shift = placement.shape.coarse_warp * evaluate_at(placement.coarse, points)
        shift += placement.shape.fine_warp * evaluate_at(placement.fine, points)
        points = (points + (target - _pull(placement, points, shift.T)) @ forward.T).astype(np.float32)
    return points


def _nearest(
    where: FloatArray, origin: NDArray[np.float64], shape: tuple[int, ...], step: float
) -> NDArray[np.intp]:
    """Flat index of the nearest voxel, clamped to the grid."""
    index = ((where - origin.astype(np.float32)) * np.float32(1.0 / step) + np.float32(0.5)).astype(np.int32)
    np.clip(index, 0, np.asarray(shape[:3], dtype=np.int32) - 1, out=index)
    flat: NDArray[np.intp] = (index[..., 0] * shape[1] + index[..., 1]) * shape[2] + index[..., 2]
    return flat


def hull_distance(where: FloatArray) -> FloatArray:
    """Signed distance to the brain hull at template positions (…, 3), mm, to about 0.5 mm; negative inside."""
    wide = load_template().wide
    counts = wide.ravel()[_nearest(where, load_template().hull_origin, wide.shape, 1.0)]
    return counts.astype(np.float32) * np.float32(1.0 / _WIDE_SCALE)


def look_up(where: FloatArray) -> FloatArray:
    """Trilinear look-up of the packed maps.

    Parameters
    ----------
    where : ndarray, float32, shape (n, 3)
        MNI mm.

    Returns
    -------
    ndarray, float32, shape (n, 4)
        GM, WM and nucleus membership 0–1, distance to the hull in mm (−12.8 to 12.7).
    """
    template = load_template()
    shape = template.packed.shape
    position = where - template.origin.astype(np.float32)
    np.clip(position, 0.0, np.asarray(shape[:3], dtype=np.float32) - np.float32(1.001), out=position)
    base = position.astype(np.int32)
    part = position - base
    flat = (base[:, 0] * shape[1] + base[:, 1]) * shape[2] + base[:, 2]
    words = template.packed.view(np.uint32).ravel()
    values = np.zeros((len(where), 4), dtype=np.float32)
    for corner in range(8):
        bits = (corner >> 2 & 1, corner >> 1 & 1, corner & 1)
        weight = np.ones(len(where), dtype=np.float32)
        for axis, bit in enumerate(bits):
            weight *= part[:, axis] if bit else 1.0 - part[:, axis]
        taken = words[flat + (bits[0] * shape[1] + bits[1]) * shape[2] + bits[2]]
        values += weight[:, None] * taken.view(np.uint8).reshape(-1, 4)
    values[:, :3] *= np.float32(1 / 255)
    values[:, 3] = (values[:, 3] - 128) * np.float32(1 / _HULL_SCALE)
    return values


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
    local = np.float32(0.03) * thickness
    solid = np.clip((tissue - shape.csf_threshold - local) * (2 * shape.sharpness) + 0.5, 0.0, 1.0)
    white = np.clip(
        (wm / np.maximum(tissue, 1e-3) - shape.wm_threshold - local - 0.2 * nucleus) * shape.sharpness + 0.5,
        0.0,
        1.0,
    )
    shares = np.empty((len(maps), 4), dtype=np.float32)
    shares[:, 0] = 1.0 - solid
    shares[:, 2] = solid * white
    grey = solid - shares[:, 2]
    shares[:, 3] = grey * nucleus
    shares[:, 1] = grey - shares[:, 3]
    return shares
