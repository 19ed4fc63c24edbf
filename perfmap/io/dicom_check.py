"""Is a converted file what the headers say? Place, order of slices and volumes, and values, from a sample of images.

Converters order the frames of some exports wrongly without a word. So every volume is looked at in one slice and every
slice in one volume: a swap, a flip or a scaling that differs from frame to frame shows in that sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.io.dicom_frames import Frame
from perfmap.io.dicom_pixels import read_pixels, tiles_of
from perfmap.io.dicom_source import LPS_TO_RAS, ras_affine
from perfmap.io.dicom_stack import Arranged

SAME_PLACE = 0.1  # mm
SAME_VALUE = 2e-3
LOSSY_VALUE = 2e-2
"""Part of the largest value by which two decoders of the same image may differ."""


def expected_affine(arranged: Arranged, image: Any) -> NDArray[np.float64] | None:
    """Affine of voxel (column, row, slice) to RAS+ mm, as the headers say.

    A mosaic's header does not say where its slices lie along the normal, or in which direction they follow: that is
    taken from the converted image, and the place in the plane is checked against the header. None where it differs.
    """
    volume = arranged.order.grid[0]
    first = volume[0]
    if first.orientation is None or first.spacing is None or first.position is None:
        return None
    if not arranged.stack.is_mosaic:
        positions = [frame.position for frame in volume if frame.position is not None]
        return ras_affine(positions, first.orientation, first.spacing, thickness=first.slice_step)
    affine, shape = np.asarray(image.affine, dtype=float), image.shape
    lps = LPS_TO_RAS @ affine
    corner, directions = np.zeros(4), []
    corner[3] = 1.0
    for axis, cosines in enumerate((first.orientation[:3], first.orientation[3:])):
        sign = np.sign(np.dot(lps[:3, axis], cosines))
        corner[axis] = 0 if sign > 0 else shape[axis] - 1
        directions.append(affine[:3, axis] * sign)
    result = np.column_stack([*directions, affine[:3, 2], (affine @ corner)[:3]])
    side = int(np.ceil(np.sqrt(first.n_tiles)))
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    tile = np.array([first.columns // side * first.spacing[1], first.rows // side * first.spacing[0]])
    told = np.array(first.position) + (side - 1) / 2 * (row * tile[0] + column * tile[1])
    apart = told - (LPS_TO_RAS @ np.append(result[:, 3], 1.0))[:3]
    if max(abs(float(apart @ row)), abs(float(apart @ column))) > 1.0:
        return None
    return np.vstack([result, [0.0, 0.0, 0.0, 1.0]])


def index_map(converted: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Map of indices (column, row, slice) to those of the converted image: only flips. None if it is anything else."""
    if abs(np.linalg.det(converted)) < 1e-9:
        return None
    exact = np.linalg.solve(converted, expected)
    whole = np.round(exact)
    sizes = np.linalg.norm(converted[:3, :3], axis=0)
    apart = np.abs(exact - whole)
    if (apart[:3, 3] * sizes > SAME_PLACE).any() or (apart[:3, :3] > 2e-3).any():
        return None
    if not np.array_equal(np.abs(whole[:3, :3]), np.eye(3)):
        return None
    return whole.astype(np.int64)


def agrees(image: Any, arranged: Arranged, *, lossy: bool = False) -> NDArray[np.int64] | None:
    """Compare a converted image with the DICOM frames it should hold.

    Parameters
    ----------
    image : nibabel image
        Shape (columns, rows, slices, volumes).
    arranged : Arranged
    lossy : bool
        Whether the source was compressed with loss, which decoders undo a little differently.

    Returns
    -------
    ndarray or None
        Map of (column, row, slice) to the image's indices; None where place, order or values differ.

    Raises
    ------
    Undecodable
        If the frames' compression is not known here, so that values cannot be compared.
    """
    expected = expected_affine(arranged, image)
    if expected is None or image.shape[3:] != (arranged.n_volumes,) or image.shape[2] != arranged.n_slices:
        return None
    flips = index_map(np.asarray(image.affine, dtype=float), expected)
    if flips is None or not onto_itself(flips, image.shape):
        return None
    if arranged.stack.is_mosaic:
        for turned in (flips, _other_way(flips, image.shape[2])):
            if _same_mosaics(image, arranged, turned, lossy=lossy):
                return turned
        return None
    middle = arranged.n_slices // 2
    places = [(t, middle) for t in range(arranged.n_volumes)] + [(0, k) for k in range(arranged.n_slices)]
    frames = {place: arranged.order.grid[place[0]][place[1]] for place in places}
    ordered = sorted(frames, key=lambda place: (str(frames[place].file), frames[place].frame or 0))
    gain = _Gain(lossy)
    for place, values in zip(ordered, read_pixels([frames[p] for p in ordered]), strict=True):
        if not gain.fits(converted_slice(image, flips, place), values.T):
            return None
    return flips


def onto_itself(flips: NDArray[np.int64], shape: tuple[int, ...]) -> bool:
    """Whether an index map takes an image's grid onto itself; one that shifts it does where slices are missing."""
    wanted = [0 if flips[axis, axis] > 0 else shape[axis] - 1 for axis in range(3)]
    return bool((flips[:3, 3] == wanted).all())


def converted_slice(image: Any, flips: NDArray[np.int64], place: tuple[int, int]) -> NDArray[np.float32]:
    """One slice of a converted image with the axes of DICOM. Shape (columns, rows)."""
    time, k = place
    plane = np.asarray(image.dataobj[..., int(flips[2, 2] * k + flips[2, 3]), time], dtype=np.float32)
    return plane[:: int(flips[0, 0]), :: int(flips[1, 1])]


class _Gain:
    """One factor between converted and stored values, the same for every image: scaling must not vary."""

    def __init__(self, lossy: bool) -> None:
        self.factor: float | None = None
        self.tolerance = LOSSY_VALUE if lossy else SAME_VALUE

    def fits(self, converted: NDArray[np.float32], stored: NDArray[np.float32]) -> bool:
        if converted.shape != stored.shape:
            return False
        if self.factor is None:
            power = float((stored.astype(float) ** 2).sum())
            if not power:
                return not converted.any()
            self.factor = float((stored.astype(float) * converted).sum()) / power
        largest = self.factor * float(np.abs(stored).max())
        return float(np.abs(converted - self.factor * stored).max()) <= self.tolerance * max(
            abs(largest), 1e-6
        )


def _same_mosaics(image: Any, arranged: Arranged, flips: NDArray[np.int64], *, lossy: bool) -> bool:
    frames: list[Frame] = [volume[0] for volume in arranged.order.grid]
    gain, middle = _Gain(lossy), arranged.n_slices // 2
    for t, mosaic in enumerate(read_pixels(frames)):
        tiles = tiles_of(mosaic, frames[t])
        for k in range(arranged.n_slices) if t == 0 else (middle,):
            if not gain.fits(converted_slice(image, flips, (t, k)), tiles[k].T):
                return False
    return True


def _other_way(flips: NDArray[np.int64], n_slices: int) -> NDArray[np.int64]:
    """The same with the slices counted from the other end."""
    turned = flips.copy()
    turned[2, 2], turned[2, 3] = -flips[2, 2], n_slices - 1 - flips[2, 3]
    return turned


def refuse_mismatch(found: list[tuple[int, ...]], arranged: Arranged) -> InputError:
    """The refusal of a conversion that does not hold what the headers say."""
    shapes = ", ".join("×".join(map(str, shape)) for shape in found) or "nothing"
    frame = arranged.order.grid[0][0]
    return InputError(
        f"the conversion does not agree with the headers: dcm2niix gives {shapes}, the headers say "
        f"{frame.columns}×{frame.rows} pixels, {arranged.n_slices} slices, {arranged.n_volumes} volumes; "
        "export the series again, uncompressed"
    )
