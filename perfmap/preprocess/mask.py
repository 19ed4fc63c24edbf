"""Where the brain is: a mask from the baseline of the series itself.

Works on a whole head (skull, scalp, eyes around the brain), on a skull-stripped series and on a single slice. Dice on
simulated heads with skull: docs/brain_masks.md. It takes a rim of voxels that are up to half bone, and leaves out voids
without signal above sinuses and petrous bone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perfmap.errors import ConfigError, InputError
from perfmap.preprocess.mask_cusum import track_boundary
from perfmap.preprocess.mask_deepbet import deepbet_mask
from perfmap.preprocess.slices import slice_axis

Mask = NDArray[np.bool_]
FloatMap = NDArray[np.floating]
Size = tuple[float, float, float]

METHODS = ("otsu", "niblack", "cusum", "deepbet")

_BRIDGES = (
    8.0,
    4.0,
    2.0,
)  # mm; parts are shrunk by the first of these that leaves any, so that bridges break
_EDGE = 6.0  # mm; growth beyond that, for what is thinner than a bridge: a gyrus beside a dark sulcus
_SMALL_PART = 0.01  # a separate part of the brain holds at least this share of the main part's weight …
_THIN_PART = 0.3  # … and is at least this share as thick
_IN_PLANE = ndimage.generate_binary_structure(3, 1) & np.array([False, True, False])  # neighbours in a slice
_WEAK_BOLUS = 0.5  # a part whose bolus is weaker than this share of the main part's is not brain
_FAR = 1000.0  # mm between slices, for distances that count within a slice only
_LEVEL = 0.5  # of the expected brain signal, above which a voxel is bright
_BIAS_WIDTH = 25.0  # mm; SD of the neighbourhood that brain signal is expected from
_FLOOR = 0.6  # of Otsu's threshold; a local threshold alone calls half of the background's noise bright
_STRIPPED_DARK = 0.05  # a skull-stripped volume has at most this share of dark voxels inside its outline


def brain_mask(
    baseline: FloatMap, *, voxel_size: Size, method: str = "otsu", drop: FloatMap | None = None
) -> Mask:
    """Mark the brain in a baseline volume.

    Parameters
    ----------
    baseline : ndarray, shape (x, y, z)
        Mean signal before the bolus, arbitrary unit, RAS+. Voxels that are not finite count as background.
    voxel_size : tuple of float
        Edge lengths of a voxel along x, y and z, mm.
    method : str
        ``"otsu"``: median filter, global threshold, opening, the thickest part and others like it, once more
        with half of the signal expected at each place as the threshold, holes filled; ``"niblack"``: the same
        with Niblack's local threshold alone; ``"cusum"``: boundary tracked ray by ray from Otsu's mask (one
        outline a slice); ``"deepbet"``: the network of the package deepbet (extra ``brain``). The first three
        take a series that is skull-stripped already at its word: its mask is where it is not 0. What thresholds
        do to T2*-weighted images: Alkhimova 2019, doi 10.48550/arXiv.1912.05469.
    drop : ndarray, shape (x, y, z), optional
        Depth of the first-pass signal loss relative to the baseline, ``1 − S_peak/S0``, dimensionless. Scalp
        and muscle lose far less signal than brain, so it tells the two apart where they touch.

    Returns
    -------
    ndarray, bool, shape (x, y, z)

    Raises
    ------
    ConfigError
        If `method` is unknown, or needs a package that is not installed.
    InputError
        If the volume is not 3D, a size does not fit, or nothing in it stands out from the background.
    """
    if method not in METHODS:
        raise ConfigError(f"mask method is {method!r}, wanted one of {', '.join(METHODS)}")
    volume = _checked(baseline, voxel_size, drop)
    if method == "deepbet":
        return deepbet_mask(volume)
    axis = slice_axis(np.diag([*voxel_size, 1.0]))
    edges = (*np.delete(voxel_size, axis), voxel_size[axis])
    mask = _find(
        np.moveaxis(volume, axis, 2), edges, method, None if drop is None else np.moveaxis(drop, axis, 2)
    )
    return np.ascontiguousarray(np.moveaxis(mask, 2, axis))


def dice(first: Mask, second: Mask) -> float:
    """Overlap of two masks, ``2|A∩B| / (|A| + |B|)``; 1 where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / total if total else 1.0


def _checked(baseline: FloatMap, voxel_size: Size, drop: FloatMap | None) -> FloatMap:
    if baseline.ndim != 3:
        raise InputError(
            f"baseline has shape {baseline.shape}, wanted three axes (x, y, z): average over time first"
        )
    if len(voxel_size) != 3 or not all(np.isfinite(edge) and edge > 0 for edge in voxel_size):
        raise InputError(f"voxel_size is {voxel_size}, wanted three positive lengths in mm")
    if drop is not None and drop.shape != baseline.shape:
        raise InputError(f"drop has shape {drop.shape}, wanted that of the baseline, {baseline.shape}")
    volume = np.where(np.isfinite(baseline), np.maximum(baseline, 0), 0).astype(np.float32)
    if not volume.any():
        raise InputError(
            "the baseline holds no positive value, wanted an image of a head: check the file and its scaling"
        )
    return volume


def _stripped_outline(volume: FloatMap, voxel_size: Size) -> Mask | None:
    """Outline of a skull-stripped brain: the non-zero voxels, where the background is exactly 0; else None.

    A head with skull has a dark shell of bone and air inside its outline, a stripped brain next to none.
    """
    inside = volume > 0
    if inside.mean() > 0.9:
        return None
    inside = _fill(inside)
    dark = volume < 0.25 * np.percentile(volume[inside], 75)
    return inside if dark[inside].mean() <= _STRIPPED_DARK else None


def _find(volume: FloatMap, edges: Size, method: str, drop: FloatMap | None) -> Mask:
    """The mask, by a method that works on numbers alone; slices across the last axis."""
    outline = _stripped_outline(volume, edges)
    if outline is not None:
        return outline
    smooth = ndimage.median_filter(volume, footprint=ball(edges, radius=max(2.0, 1.1 * min(edges))))
    otsu = threshold_otsu(np.minimum(smooth, np.percentile(smooth[smooth > 0], 95)))
    if method == "niblack":
        bright = (smooth > _FLOOR * otsu) & (smooth > threshold_niblack(smooth, edges))
        return _fill(_brain_parts(bright, edges, drop))
    mask = _brain_parts(smooth > otsu, edges, drop)
    mask = _brain_parts(smooth > _LEVEL * _expected(smooth, mask, edges), edges, drop)
    if method == "cusum":
        slices = range(volume.shape[2])
        mask = np.stack(
            [track_boundary(smooth[:, :, k], mask[:, :, k], edges=edges[:2]) for k in slices], axis=2
        )
    return _fill(mask)


def _expected(smooth: FloatMap, mask: Mask, edges: Size) -> FloatMap:
    """Signal of brain at every place: the mean over the mask around it, so that a bias field divides out."""
    width = [_BIAS_WIDTH / edge for edge in edges]
    weight = ndimage.gaussian_filter(mask.astype(np.float32), width)
    signal = ndimage.gaussian_filter(np.where(mask, smooth, 0), width)
    far = 0.01  # of a full neighbourhood: with less than that the median of the whole brain takes over
    return np.asarray((signal + far * np.median(smooth[mask])) / (weight + far))


def _brain_parts(bright: Mask, edges: Size, drop: FloatMap | None) -> Mask:
    """Cut the brain out of all that is bright: the thickest part, and others like it.

    Bridges to scalp and eyes (veins, nerves, thin bone) break when all parts are shrunk; what is left of each
    part is judged, and grown back. Weight of a part = the sum over its voxels of the distance to its border: the
    brain is thick, the scalp a thin shell that may hold more voxels. The bolus is judged once more on the pieces
    of every slice: slices are thick, so an orbit hangs on the frontal lobe of the slice above. A voxel belongs
    to the nearest piece in its slice, and growth past the opening stays in its slice, where bone parts brain and scalp.
    """
    box = _box(bright)  # nothing outside of it is looked at, nor changes a distance inside of it
    brain = np.zeros_like(bright)
    brain[box] = _brain_parts_of(bright[box], edges, None if drop is None else drop[box])
    return brain


def _box(mask: Mask) -> tuple[slice, ...]:
    """The smallest box around a mask with a dark voxel on every side, where the volume has one."""
    sides = []
    for axis in range(mask.ndim):
        places = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        first, last = (int(places[0]), int(places[-1])) if places.size else (0, mask.shape[axis] - 1)
        sides.append(slice(max(first - 1, 0), last + 2))
    return tuple(sides)


def _brain_parts_of(bright: Mask, edges: Size, drop: FloatMap | None) -> Mask:
    for radius in _BRIDGES:
        shrunk = shrink(bright, edges, by=radius)
        cores, n_cores = ndimage.label(shrunk)
        if n_cores:
            break
    else:
        raise InputError("no part of the baseline is thick enough to be a brain: give a mask with --mask")
    index = np.arange(1, n_cores + 1)
    depth = _depth(bright, edges)
    weight = ndimage.sum_labels(depth, cores, index)
    thickness = ndimage.maximum(depth, cores, index)
    main = int(np.argmax(weight))
    keep = (weight >= _SMALL_PART * weight[main]) & (thickness >= _THIN_PART * thickness[main])
    core = np.isin(cores, index[keep])
    if drop is not None:
        pieces, n_pieces = ndimage.label(core, _IN_PLANE)
        index = np.arange(1, n_pieces + 1)
        strong = ndimage.median(drop, pieces, index) >= _WEAK_BOLUS * np.median(drop[cores == main + 1])
        strong[int(np.argmax(ndimage.sum_labels(depth, pieces, index)))] = True
        core = np.isin(pieces, index[strong])
    in_plane = (*edges[:2], _FAR)
    other = _distance(shrunk & ~core, in_plane)
    reach = bright & ((other >= _distance(core, in_plane)) | (other > radius + _EDGE))
    steps = max(1, round(_EDGE / min(edges[:2])))
    opened = reach & widen(core, edges, by=radius)
    return np.asarray(ndimage.binary_dilation(opened, _IN_PLANE, steps, mask=reach))


def _distance(mask: Mask, edges: Size) -> FloatMap:
    """Distance to the nearest voxel of a mask, mm; infinite where it is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=edges))


def _depth(mask: Mask, voxel_size: Size) -> FloatMap:
    """Distance to the border within each slice, mm: the same meaning for one slice and for a volume."""
    slices = [
        ndimage.distance_transform_edt(mask[:, :, k], sampling=voxel_size[:2]) for k in range(mask.shape[2])
    ]
    return np.stack(slices, axis=2)


def _fill(mask: Mask) -> Mask:
    """Fill holes slice by slice: a ventricle that opens at the last slice is a hole all the same."""
    return np.stack([ndimage.binary_fill_holes(mask[:, :, k]) for k in range(mask.shape[2])], axis=2)


def threshold_otsu(values: FloatMap, *, n_bins: int = 256) -> float:
    """Threshold that leaves the least variance within the two classes (Otsu 1979, doi
    10.1109/TSMC.1979.4310076)."""
    count, edge = np.histogram(values, bins=n_bins)
    centre = (edge[:-1] + edge[1:]) / 2
    below, mass = np.cumsum(count), np.cumsum(count * centre)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (mass / below - (mass[-1] - mass) / above) ** 2
    return float(edge[1 + np.nanargmax(between[:-1])])


def threshold_niblack(volume: FloatMap, edges: Size, *, width: float = 100.0, k: float = -0.1) -> FloatMap:
    """Threshold of its own for every voxel: mean + k·SD of its surroundings in the slice (Niblack 1986).

    Parameters
    ----------
    volume : ndarray, shape (x, y, z)
    edges : tuple of float
        Edge lengths of a voxel, mm.
    width : float
        Width of the surroundings, mm: wide enough to hold both brain and what lies around it.
    k : float
        Weight of the standard deviation.
    """
    size = [max(3, round(width / edge) | 1) for edge in edges[:2]] + [1]
    mean = ndimage.uniform_filter(volume.astype(np.float64), size)
    square = ndimage.uniform_filter(volume.astype(np.float64) ** 2, size)
    return np.asarray(mean + k * np.sqrt(np.maximum(square - mean**2, 0)))


def shrink(mask: Mask, edges: Size, *, by: float) -> Mask:
    """Take off what lies within `by` (mm) of the border; the ends of the stack are no border."""
    return np.asarray(mask if mask.all() else ndimage.distance_transform_edt(mask, sampling=edges) > by)


def widen(mask: Mask, edges: Size, *, by: float) -> Mask:
    """Add what lies within `by` (mm)."""
    return ~shrink(~mask, edges, by=by)


def ball(voxel_size: Size, *, radius: float) -> Mask:
    """Structuring element: the voxels whose centre lies within `radius` (mm) of the middle one."""
    reach = [int(radius / edge) for edge in voxel_size]
    grid = np.meshgrid(
        *(np.arange(-n, n + 1) * edge for n, edge in zip(reach, voxel_size, strict=True)), indexing="ij"
    )
    return np.asarray(sum(axis**2 for axis in grid) <= radius**2)
