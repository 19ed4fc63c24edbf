"""Pictures of maps: slice by slice, with unit, window, orientation and warning burnt in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from perfmap.errors import InputError
from perfmap.preprocess.slices import slice_axis
from perfmap.quantities import QUANTITIES
from perfmap.report.canvas import DARK, house_style, new_figure, to_png
from perfmap.series import Volume

MAX_SLICES = 24
"""Most slices in one montage; of more, as many are chosen evenly."""
_SD_WINDOW = 0.2  # of the quantity's own

GREY, AMBER = "#6f757c", "#f2b134"
_SLIVER = 0.05  # of the largest slice
# Seen from the patient's feet, in front of, or from the left: image rows run down, columns to the right.
_VIEWS = {
    0: ("sagittal", "A", "P", "LR", "anterior (A) is on the left of each image"),
    1: ("coronal", "R", "L", "PA", "the patient's right (R) is on the left of each image"),
    2: ("axial", "R", "L", "IS", "the patient's right (R) is on the left of each image"),
}


@dataclass(frozen=True)
class MapPanel:
    """One montage of a figure.

    Parameters
    ----------
    volume : Volume
        A map in RAS+; NaN where a voxel has no reading.
    quantity : str
        Identifier from `perfmap.quantities`: gives unit and window.
    title : str
        What made the map.
    is_sd : bool
        The map is the standard deviation of that quantity: drawn in a fifth of its window.
    """

    volume: Volume
    quantity: str
    title: str
    is_sd: bool = False


@dataclass(frozen=True)
class _Layout:
    """Where the tiles of one montage lie, in voxels."""

    n_rows: int
    n_columns: int
    height: int
    width: int
    aspect: float  # height of a voxel over its width

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_rows * self.height, self.n_columns * self.width

    @property
    def ratio(self) -> float:
        """Width over height, on paper."""
        return self.shape[1] / (self.shape[0] * self.aspect)


def map_figure(
    volume: Volume,
    quantity: str,
    *,
    title: str = "",
    is_sd: bool = False,
    beside: MapPanel | None = None,
    mask: NDArray[np.bool_] | None = None,
    no_reading: NDArray[np.bool_] | None = None,
    max_slices: int = MAX_SLICES,
) -> bytes:
    """Draw a map slice by slice, in radiological orientation and a fixed window.

    Parameters
    ----------
    volume : Volume
        The map, RAS+; slices are drawn along `slice_axis` of its affine.
    quantity : str
        Identifier from `perfmap.quantities`. Its window is the same for every patient; a quantity on an
        arbitrary scale is drawn from 0 to the map's 99.5th percentile, and the figure says so.
    title : str
        What made the map; the quantity's own words if empty.
    is_sd : bool
        The map is the standard deviation of that quantity.
    beside : MapPanel, optional
        A second map on the same grid, drawn to the right in the same slices.
    mask : ndarray of bool, shape (x, y, z), optional
        Voxels to draw. Found from the map (neither 0 nor NaN, holes filled) if not given.
    no_reading : ndarray of bool, shape (x, y, z), optional
        Voxels drawn in grey, whether in the mask or not, beside those of the mask that hold NaN.
    max_slices : int
        Most slices drawn.

    Returns
    -------
    bytes
        A PNG; the same input gives the same bytes.

    Raises
    ------
    InputError
        If the quantity is unknown, the maps do not share a grid, or there is nothing to draw.
    """
    panels = [MapPanel(volume, quantity, title, is_sd), *([beside] if beside else [])]
    for panel in panels:
        if panel.quantity not in QUANTITIES:
            raise InputError(f"quantity {panel.quantity!r} is unknown, wanted one of {', '.join(QUANTITIES)}")
    for name, shape in (
        ("map beside", panels[-1].volume.shape),
        ("mask", None if mask is None else mask.shape),
    ):
        if shape is not None and shape != volume.shape:
            raise InputError(f"{name} has shape {shape} and the map {volume.shape}; resample it")
    axis = slice_axis(volume.affine)
    drawn = _drawn_voxels(volume.array) if mask is None else mask
    if not drawn.any():
        raise InputError("there is no voxel to draw: the map is 0 or NaN everywhere, or the mask is empty")
    grey = np.zeros(volume.shape, dtype=bool) if no_reading is None else no_reading
    drawn = drawn | grey
    planes = _chosen_planes(drawn, axis, max_slices)
    box = _bounding_box(_image(np.asarray(drawn.any(axis=axis))))
    layout = _layout_for(len(planes), box, volume.affine, axis, n_panels=len(panels))
    with house_style():
        return _draw_maps(panels, drawn, grey, planes, box, layout, axis)


def _drawn_voxels(array: NDArray[Any]) -> NDArray[np.bool_]:
    seen = np.isfinite(array) & (array != 0)
    filled = [binary_fill_holes(seen[..., k]) for k in range(seen.shape[2])]
    return np.stack(filled, axis=-1)


def _image(plane: NDArray[Any]) -> NDArray[Any]:
    """Turn a plane of a RAS+ array (its two axes in order, more behind) to rows and columns of a picture.

    Columns run from R (sagittal: from A), rows fall from A (else from S): the view on the light box.
    """
    return plane.swapaxes(0, 1)[::-1, ::-1]


def _chosen_planes(drawn: NDArray[np.bool_], axis: int, max_slices: int) -> NDArray[np.intp]:
    """Slices to draw: all, or as many evenly chosen, slivers at the ends left out first."""
    areas = np.count_nonzero(np.moveaxis(drawn, axis, 0), axis=(1, 2))
    filled = np.flatnonzero(areas)
    if len(filled) > max_slices:
        filled = np.flatnonzero(areas > _SLIVER * areas.max())
    if len(filled) <= max_slices:
        return filled
    chosen = np.linspace(0, len(filled) - 1, max_slices).round().astype(int)
    return np.take(filled, chosen)


def _bounding_box(image: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns that hold the brain, with a margin."""
    edges = []
    for other, room in ((1, 0.05), (0, 0.09)):  # the marks of the sides stand beside the brain
        filled = np.flatnonzero(image.any(axis=other))
        margin = max(1, round(room * (filled[-1] - filled[0])))
        edges.append(slice(max(int(filled[0]) - margin, 0), int(filled[-1]) + 1 + margin))
    return edges[0], edges[1]


def _layout_for(
    n_planes: int, box: tuple[slice, slice], affine: NDArray[np.float64], axis: int, *, n_panels: int
) -> _Layout:
    """Rows and columns that come nearest to a good shape of the page, with few empty places."""
    edges = np.delete(np.linalg.norm(affine[:3, :3], axis=0), axis)
    height, width = (part.stop - part.start for part in box)
    wanted = 1.75 / n_panels

    def cost(layout: _Layout) -> float:
        empty = layout.n_rows * layout.n_columns - n_planes
        return abs(math.log(layout.ratio / wanted)) + 0.6 * empty / n_planes

    layouts = (
        _Layout(math.ceil(n_planes / n), n, height, width, float(edges[1] / edges[0]))
        for n in range(1, n_planes + 1)
    )
    return min(layouts, key=cost)


def _window_of(panel: MapPanel, drawn: NDArray[np.bool_]) -> tuple[float, float]:
    low, high = QUANTITIES[panel.quantity].window
    if (low, high) != (0.0, 0.0):
        return (0.0, _SD_WINDOW * high) if panel.is_sd else (low, high)
    values = panel.volume.array[drawn & np.isfinite(panel.volume.array)]
    top = float(np.percentile(values, 99.5)) if values.size else 1.0
    return 0.0, top if top > 0 else 1.0


def colours_for(window: tuple[float, float]) -> Colormap:
    """Dark to bright, evenly to the eye; from blue to red where 0 lies in the middle."""
    colours: Colormap = mpl.colormaps["coolwarm" if window[0] == -window[1] else "inferno"].with_extremes(
        bad=GREY
    )
    return colours


def _draw_maps(
    panels: Sequence[MapPanel],
    drawn: NDArray[np.bool_],
    grey: NDArray[np.bool_],
    planes: NDArray[np.intp],
    box: tuple[slice, slice],
    layout: _Layout,
    axis: int,
) -> bytes:
    # All lengths in inches, from the top left.
    margin, bar_room, header, footer = 0.28, 0.72, 0.98, 0.5
    panel_width = (11.0 - margin) / len(panels) - bar_room - margin
    panel_height = min(panel_width / layout.ratio, 8.5)
    panel_width = panel_height * layout.ratio
    step = max(panel_width + bar_room + margin, 5.4 if len(panels) == 1 else 4.4)
    page = margin + step * len(panels), header + panel_height + footer
    figure = new_figure(*page, DARK)

    def place(left: float, top: float, width: float, height: float) -> Any:
        rectangle = (left / page[0], 1 - (top + height) / page[1], width / page[0], height / page[1])
        return figure.add_axes(rectangle)

    def say(left: float, top: float, text: str, **style: Any) -> None:
        style = {"color": DARK.ink, "va": "top", "ha": "left", **style}
        figure.text(left / page[0], 1 - top / page[1], text, **style)

    for n, panel in enumerate(panels):
        left = margin + n * step
        quantity = QUANTITIES[panel.quantity]
        window = _window_of(panel, drawn)
        norm, colours = Normalize(*window), colours_for(window)
        axes = place(left, header, panel_width, panel_height)
        _draw_montage(axes, panel.volume, drawn, grey, planes, box, layout, axis, norm, colours)
        say(left, 0.30, panel.title or quantity.label, size=12, weight="bold")
        scale = "window scaled to this map" if quantity.window == (0.0, 0.0) else "fixed window"
        unit = quantity.unit or "ratio"
        label = f"SD of {quantity.label}" if panel.is_sd else quantity.label
        say(left, 0.57, f"{label}\n{unit}, {scale}", size=8.5, color=DARK.faint, linespacing=1.3)
        _draw_bar(place(left + panel_width + 0.12, header, 0.13, panel_height), norm, colours, quantity.unit)
    view, *_, side = _VIEWS[axis]
    n_filled = int(np.moveaxis(drawn, axis, 0).any(axis=(1, 2)).sum())
    total = f"{n_filled} slice{'s' if n_filled > 1 else ''}"
    shown = f"{len(planes)} of {total}" if len(planes) < n_filled else total
    text = f"Radiological view, {view}: {side}. {shown}, position in mm."
    if (grey | (drawn & ~np.isfinite(panels[0].volume.array))).any():
        text += " Grey: no reading."
    say(margin, page[1] - 0.3, text, size=8, color=DARK.faint)
    badge = {"boxstyle": "round,pad=0.4", "facecolor": "none", "edgecolor": AMBER, "linewidth": 0.8}
    say(
        page[0] - margin - 0.05,
        0.16,
        "RESEARCH ONLY",
        size=7,
        weight="bold",
        color=AMBER,
        ha="right",
        bbox=badge,
    )
    return to_png(figure)


def _draw_montage(
    axes: Any,
    volume: Volume,
    drawn: NDArray[np.bool_],
    grey: NDArray[np.bool_],
    planes: NDArray[np.intp],
    box: tuple[slice, slice],
    layout: _Layout,
    axis: int,
    norm: Normalize,
    colours: Colormap,
) -> None:
    canvas = np.zeros((*layout.shape, 4))
    _, left_mark, right_mark, ends, _ = _VIEWS[axis]
    marks = {"size": 7, "color": DARK.faint, "clip_on": True}
    for n, plane in enumerate(planes[::-1]):  # top of the head first
        top, left = n // layout.n_columns * layout.height, n % layout.n_columns * layout.width
        values, shown, blank = (np.take(array, plane, axis) for array in (volume.array, drawn, grey))
        painted = colours(norm(np.ma.masked_where(blank | ~np.isfinite(values), values)))
        painted[~shown, 3] = 0.0
        image = _image(painted)[box]
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        millimetres = float(volume.affine[axis] @ np.append(_centre(volume.shape, axis, int(plane)), 1.0))
        label = f"{ends[int(millimetres >= 0)]} {abs(millimetres):.0f}"
        axes.text(left + 0.03 * layout.width, top + 0.02 * layout.height, label, va="top", **marks)
        middle = top + layout.height / 2
        axes.text(left + 0.01 * layout.width, middle, left_mark, va="center", **marks)
        if (n + 1) % layout.n_columns == 0 or n + 1 == len(planes):
            axes.text(left + 0.99 * layout.width, middle, right_mark, va="center", ha="right", **marks)
    axes.imshow(
        canvas,
        aspect="auto",
        interpolation="nearest",
        extent=(0, layout.shape[1], layout.shape[0], 0),
    )
    axes.set_axis_off()


def _centre(shape: tuple[int, ...], axis: int, plane: int) -> NDArray[np.float64]:
    centre = (np.asarray(shape, dtype=float) - 1) / 2
    centre[axis] = plane
    return centre


def _draw_bar(axes: Any, norm: Normalize, colours: Colormap, unit: str) -> None:
    bar = axes.figure.colorbar(ScalarMappable(norm, colours), cax=axes)
    bar.outline.set_edgecolor(DARK.faint)
    bar.outline.set_linewidth(0.5)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(colors=DARK.ink, labelsize=8, length=2, width=0.5)
    axes.set_title(unit, size=7.5, color=DARK.ink, pad=4)
