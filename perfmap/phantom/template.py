"""The ICBM152 maps as look-up tables: tissue, deep nuclei, distance to the brain hull, growth of the ventricles.

The maps (Fonov et al. 2009, doi 10.1016/S1053-8119(09)70884-5) ship inside nilearn. They are read once per
process, packed into bytes, and from then on only the voxels of the wanted slices are looked up.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perfmap.errors import ConfigError
from perfmap.phantom.fields import FloatArray
from perfmap.phantom.priors.anatomy import NUCLEI, TEMPLATE, VENTRICLE_BOX

HULL_STEP = 2  # mm, grid of the distance maps
HULL_PAD = 40  # mm kept around the template for skull, scalp and face
_WIDE_SCALE = 4.0  # steps a mm of the packed distances, 0 at the hull (128 in `packed`)
_COUNTS = np.int16(8)  # counts a step while the grids are refined


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
    scalp : ndarray, int8, shape (a, b, c)
        The same to a hull without notches, which the head's outer shells follow.
    hull : ndarray, float32, shape (d, e, f)
        Distance to the brain hull in mm at 2 mm.
    push : ndarray, float32, shape (d, e, f, 3)
        Displacement that widens the ventricles by 1 mm, on the grid of `hull`.
    hull_origin : ndarray, shape (3,)
        MNI mm of voxel (0, 0, 0) of `wide`, `scalp`, `hull` and `push`.
    """

    packed: NDArray[np.uint8]
    origin: NDArray[np.float64]
    wide: NDArray[np.int8]
    scalp: NDArray[np.int8]
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
    hull = _signed_distance(inside, step=HULL_STEP)
    closing = TEMPLATE["scalp_closing"].value
    body = hull[::2, ::2, ::2] < closing  # closing by a ball: grow, then shrink
    body = _signed_distance(body, step=2 * HULL_STEP) < -closing
    outer = _halve_step(_counts(_signed_distance(body, step=2 * HULL_STEP)))
    hull_origin = corner - HULL_PAD
    push = _ventricle_push(tissue, hull, hull_origin)

    wide, scalp = (
        np.clip(_halve_step(volume) // _COUNTS, -127, 127).astype(np.int8)
        for volume in (_counts(hull), outer)
    )
    inner = wide[tuple(slice(HULL_PAD, HULL_PAD + n) for n in gm.shape)]
    packed = np.empty((*gm.shape, 4), dtype=np.uint8)
    packed[..., 0] = np.rint(gm * 255)
    packed[..., 1] = np.rint(wm * 255)
    packed[..., 2] = np.rint(_nuclei(gm.shape, corner) * 255)
    packed[..., 3] = np.clip(inner, -50, 50) + np.int16(128)
    return Template(packed, corner, wide, scalp, hull, push, hull_origin)


def _signed_distance(inside: NDArray[np.bool_], *, step: float) -> FloatArray:
    """Distance to the surface of a body on a grid of `step` mm, negative inside, slightly smoothed; mm."""
    outward = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    smooth: FloatArray = ndimage.gaussian_filter(outward.astype(np.float32) * np.float32(step), 1.0)
    return smooth


def _counts(distance: FloatArray) -> NDArray[np.int16]:
    """Distance in fine counts, so that the large grids are refined in whole numbers."""
    return np.rint(distance * (_COUNTS * _WIDE_SCALE)).astype(np.int16)


def _halve_step(volume: NDArray[np.int16]) -> NDArray[np.int16]:
    """Linear interpolation to a grid twice as fine."""
    for axis in range(3):
        index = np.arange(2 * volume.shape[axis] - 1)
        volume = (volume.take(index // 2, axis) + volume.take((index + 1) // 2, axis)) // np.int16(2)
    return volume


@lru_cache(maxsize=1)
def brain_places() -> tuple[NDArray[np.float64], FloatArray, NDArray[np.bool_]]:
    """Places in the template's brain on a 3 mm grid: MNI mm (n, 3), hull distance (n,), and where it is solid (n,)."""
    template = load_template()
    step = template.packed[::3, ::3, ::3]
    inside = step[..., 3] < 128
    solid = step[..., :2].sum(axis=-1, dtype=np.int64) > TEMPLATE["solid_tissue"].value
    places = template.origin + 3.0 * np.argwhere(inside)
    return places, hull_distance(places.astype(np.float32)), solid[inside]


def _ventricle_push(tissue: FloatArray, hull: FloatArray, origin: NDArray[np.float64]) -> FloatArray:
    """Displacement, per mm of growth, that points out of the ventricles and fades."""
    axes = [origin[k] + HULL_STEP * np.arange(tissue.shape[k]) for k in range(3)]
    margin = TEMPLATE["ventricle_reach"].value
    box, core = [], []
    for axis, (low, high) in zip(axes, VENTRICLE_BOX.points, strict=True):
        reach = np.flatnonzero((axis >= low - margin) & (axis <= high + margin))
        box.append(slice(reach[0], reach[-1] + 1))
        core.append((axis[box[-1]] >= low) & (axis[box[-1]] <= high))
    where = tuple(box)
    hole = (tissue[where] < TEMPLATE["ventricle_tissue"].value) & (
        hull[where] < -TEMPLATE["ventricle_depth"].value
    )
    hole = ndimage.binary_opening(hole & core[0][:, None, None] & core[1][:, None] & core[2])
    distance = _signed_distance(hole, step=HULL_STEP)
    direction = np.stack([np.gradient(distance, HULL_STEP, axis=k) for k in range(3)], axis=-1)
    deep = TEMPLATE["ventricle_core"].value
    fade = np.exp(-np.maximum(distance, 0.0) / TEMPLATE["ventricle_fade"].value)
    fade *= np.clip((distance + deep) / deep, 0.0, 1.0)
    push = np.zeros((*tissue.shape, 3), dtype=np.float32)
    push[where] = direction * fade[..., None]
    return push


def _nuclei(shape: tuple[int, ...], corner: NDArray[np.float64]) -> FloatArray:
    """Soft membership in the deep grey nuclei."""
    level = np.zeros(shape, dtype=np.float32)
    end, edge = TEMPLATE["nucleus_outer"].value, TEMPLATE["nucleus_edge"].value
    for nucleus in NUCLEI.values():
        centre, radii = nucleus.points
        for side in (1.0, -1.0):
            middle = np.asarray(centre) * [side, 1.0, 1.0]
            low = np.floor(middle - end * np.asarray(radii) - corner).astype(int)
            high = np.ceil(middle + end * np.asarray(radii) - corner).astype(int) + 1
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            axes = np.ix_(
                *[(corner[k] + np.arange(low[k], high[k]) - middle[k]) / radii[k] for k in range(3)]
            )
            radius = np.sqrt(axes[0] ** 2 + axes[1] ** 2 + axes[2] ** 2)
            level[box] = np.maximum(level[box], np.clip((end - radius) / edge, 0.0, 1.0))
    return level


# --- Look-up ---------------------------------------------------------------------------------------------


def ventricle_push(where: FloatArray) -> FloatArray:
    """Displacement that widens the ventricles by 1 mm, at template positions (n, 3). Shape (n, 3), mm."""
    template = load_template()
    index = _nearest(where, template.hull_origin, template.hull.shape, HULL_STEP)
    push: FloatArray = template.push.reshape(-1, 3)[index]
    return push


def _nearest(
    where: FloatArray, origin: NDArray[np.float64], shape: tuple[int, ...], step: float
) -> NDArray[np.intp]:
    """Flat index of the nearest voxel, clamped to the grid."""
    index = ((where - origin.astype(np.float32)) * np.float32(1.0 / step) + np.float32(0.5)).astype(np.int32)
    np.clip(index, 0, np.asarray(shape[:3], dtype=np.int32) - 1, out=index)
    flat: NDArray[np.intp] = (index[..., 0] * shape[1] + index[..., 1]) * shape[2] + index[..., 2]
    return flat


def hull_distance(where: FloatArray, *, smooth: bool = False) -> FloatArray:
    """Signed distance to the brain hull, negative inside.

    Parameters
    ----------
    where : ndarray, shape (..., 3)
        MNI mm.
    smooth : bool
        To the hull without notches instead, which skull and scalp follow.

    Returns
    -------
    ndarray, float32, shape (...)
        mm, to about 0.5 mm, and between −31.75 and 31.75.
    """
    template = load_template()
    counts = template.scalp if smooth else template.wide
    taken = counts.ravel()[_nearest(where, template.hull_origin, counts.shape, 1.0)]
    return taken.astype(np.float32) * np.float32(1.0 / _WIDE_SCALE)


def look_up(where: FloatArray) -> FloatArray:
    """Trilinear look-up of the packed maps.

    Parameters
    ----------
    where : ndarray, float32, shape (n, 3)
        MNI mm.

    Returns
    -------
    ndarray, float32, shape (n, 4)
        GM, WM and nucleus membership 0–1, distance to the hull in mm (−12.5 to 12.5).
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
    values[:, 3] = (values[:, 3] - 128) * np.float32(1 / _WIDE_SCALE)
    return values
