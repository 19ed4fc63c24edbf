"""Brain boundary by cumulative sums: walk outwards until the signal has stayed low for too long.

The idea of Alkhimova & Krenevych (doi 10.48550/arXiv.1907.03865): a point of the boundary is a change point on a
short walk from the brain into what surrounds it, told by a CUSUM filter (Page 1954, doi 10.1093/biomet/41.1-2.100).
They walk along the boundary on a wave-like path; here the walks are rays from the middle of each slice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon2mask

N_RAYS = 180
"""Walks a slice."""
EXPECTED = 0.5
"""Signal, relative to the median of the brain, below which a step counts as outside."""
ALARM = 1.0
"""Cumulative deviation, in mm of a signal that is short of `EXPECTED` by 1, at which a walk stops."""

_STEP = 0.5  # mm
_START = 0.5  # of the way to the outermost bright voxel
_SMOOTHING = 7  # neighbouring rays among which the median radius is taken


def change_point(deviation: NDArray[np.floating], *, alarm: float) -> NDArray[np.int_]:
    """Where a sequence starts to lie above 0 for good, by Page's one-sided CUSUM.

    Parameters
    ----------
    deviation : ndarray, shape (..., n)
        Positive where a point speaks for a change, negative where it speaks against it.
    alarm : float
        The walk stops when ``C_i = max(0, C_{i−1} + deviation_i)`` exceeds this.

    Returns
    -------
    ndarray, int, shape (...)
        Index of the first point after the last zero of C before the alarm; n where there is no alarm.
    """
    total = np.cumsum(deviation, axis=-1)
    lowest = np.minimum(np.minimum.accumulate(total, axis=-1), 0)
    alarmed = total - lowest > alarm
    n_points = deviation.shape[-1]
    stop = np.where(alarmed.any(axis=-1), alarmed.argmax(axis=-1), n_points)
    place = np.arange(n_points)
    before = (total <= lowest) & (place < stop[..., None])
    last_zero = np.where(before.any(axis=-1), n_points - 1 - before[..., ::-1].argmax(axis=-1), -1)
    return np.where(stop < n_points, last_zero + 1, n_points)


def track_boundary(
    image: NDArray[np.floating], bright: NDArray[np.bool_], *, edges: tuple[float, float]
) -> NDArray[np.bool_]:
    """Outline of the brain in one slice.

    Parameters
    ----------
    image : ndarray, shape (x, y)
        Smoothed baseline, arbitrary unit.
    bright : ndarray of bool, shape (x, y)
        First guess of the brain; its middle is where the walks start from, its median the expected signal.
    edges : tuple of float
        Edge lengths of a voxel, mm.

    Returns
    -------
    ndarray, bool, shape (x, y)
        Empty where `bright` is.
    """
    if not bright.any():
        return np.zeros(image.shape, dtype=bool)
    edge = np.asarray(edges)
    depth = ndimage.distance_transform_edt(np.pad(bright, 1), sampling=edges)[1:-1, 1:-1]
    middle = (np.argwhere(bright) * depth[bright][:, None]).sum(axis=0) / depth[bright].sum()
    angle = np.arange(N_RAYS) * 2 * np.pi / N_RAYS
    direction = np.stack([np.cos(angle), np.sin(angle)]) / edge[:, None]  # voxels per mm, shape (2, ray)
    distance = np.arange(0.0, np.hypot(*(np.array(image.shape) * edge)), _STEP)
    place = middle[:, None, None] + direction[:, :, None] * distance  # (2, ray, distance)
    value = ndimage.map_coordinates(image, place, order=1, cval=0.0) / np.median(image[bright])
    inside = ndimage.map_coordinates(bright.astype(np.float32), place, order=0, cval=0.0) > 0
    reach = np.where(inside, np.arange(distance.size), 0).max(axis=1)
    deviation = (EXPECTED - value) * _STEP
    deviation[np.arange(distance.size) < _START * reach[:, None]] = -_STEP
    radius = change_point(deviation, alarm=ALARM) * _STEP
    radius = ndimage.median_filter(radius, size=_SMOOTHING, mode="wrap")
    outline = middle[:, None] + direction * radius
    return np.asarray(polygon2mask(image.shape, outline.T))  # type: ignore[no-untyped-call,unused-ignore]
