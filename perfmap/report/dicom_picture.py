"""Slices in colour with a burnt-in colour bar, unit and warning: the pictures inside secondary captures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.quantities import QUANTITIES, RESEARCH_ONLY
from perfmap.report.canvas import DARK, house_style, new_figure
from perfmap.report.figures import AMBER, GREY, colours_for

SMALLEST_SIDE = 512
"""Pixels that the shorter side of a slice has at least, so that the words beside it can be read."""
BAR_WIDTH, FOOTER_HEIGHT = 120, 78
_DPI = 100


def colour_frames(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    brain: NDArray[np.bool_],
    quantity: str,
    *,
    title: str,
    orientation: tuple[str, str],
) -> tuple[NDArray[np.uint8], int]:
    """Draw each slice with the colour bar to its right and the words below.

    Parameters
    ----------
    values : ndarray, float32, shape (slices, rows, columns)
    valid, brain : ndarray of bool, same shape
        Voxels with a reading; all voxels of the brain, of which those without a reading are drawn grey. All
        else is black.
    quantity : str
        Identifier from `perfmap.quantities`; its fixed window is used.
    title : str
        What made the map.
    orientation : tuple of str
        Where rows and columns run to, in DICOM's letters.

    Returns
    -------
    frames : ndarray, uint8, shape (slices, height, width, 3)
        The slice fills the upper left part.
    enlarged : int
        How many times as high and as wide as in `values` each pixel is.

    Raises
    ------
    InputError
        If the quantity has no fixed window.
    """
    known = QUANTITIES[quantity]
    if known.window == (0.0, 0.0):
        raise InputError(
            f"quantity {quantity} has no fixed window, so pictures of patients cannot be compared"
        )
    norm, colours = Normalize(*known.window, clip=True), colours_for(known.window)
    n_slices, rows, columns = values.shape
    enlarged = math.ceil(SMALLEST_SIDE / min(rows, columns))
    height, width = rows * enlarged + FOOTER_HEIGHT, columns * enlarged + BAR_WIDTH
    painted = colours(norm(np.where(valid, values, 0.0)))[..., :3]
    painted[brain & ~valid] = to_rgb(GREY)
    painted[~brain & ~valid] = 0.0
    frames = np.zeros((n_slices, height, width, 3), dtype=np.uint8)
    slices = np.rint(255 * painted).astype(np.uint8).repeat(enlarged, axis=1).repeat(enlarged, axis=2)
    frames[:, : rows * enlarged, : columns * enlarged] = slices
    overlay = _overlay(
        (height, width), (rows * enlarged, columns * enlarged), norm, colours, known.unit, title, orientation
    )
    opacity = overlay[..., 3:].astype(np.float32) / 255
    for frame in frames:
        frame[:] = np.rint(opacity * overlay[..., :3] + (1 - opacity) * frame).astype(np.uint8)
    return frames, enlarged


def _overlay(
    page: tuple[int, int],
    image: tuple[int, int],
    norm: Normalize,
    colours: Any,
    unit: str,
    title: str,
    orientation: tuple[str, str],
) -> NDArray[np.uint8]:
    """Colour bar, words and letters of the sides on a transparent page. Shape (height, width, 4)."""
    (height, width), (image_height, image_width) = page, image
    with house_style():
        figure = new_figure(width / _DPI, height / _DPI, DARK)
        figure.set_dpi(_DPI)
        figure.patch.set_alpha(0.0)

        def say(x: float, y: float, text: str, **style: Any) -> None:
            style = {"color": DARK.ink, "size": 8.5, "ha": "left", "va": "top", **style}
            figure.text(x / width, 1 - y / height, text, **style)

        bottom = height - image_height
        bar = figure.add_axes(
            (
                (image_width + 22) / width,
                (bottom + 0.12 * image_height) / height,
                20 / width,
                0.7 * image_height / height,
            )
        )
        _draw_bar(figure, bar, norm, colours)
        say(image_width + 12, 0.06 * image_height, f"nrCBV\n[{unit or 'ratio'}]", size=9, linespacing=1.2)
        say(8, image_height + 8, title)
        say(8, image_height + 26, "RESEARCH ONLY", weight="bold", size=11, color=AMBER)
        say(8, image_height + 50, _after_first_sentence(RESEARCH_ONLY), size=7.5)
        say(image_width + 12, image_height + 8, "grey: no\nreading", size=7.5, color=DARK.faint)
        _say_sides(say, image, orientation)
        canvas: Any = figure.canvas
        canvas.draw()
        return np.asarray(canvas.buffer_rgba()).copy()


def _draw_bar(figure: Figure, axes: Any, norm: Normalize, colours: Any) -> None:
    bar = figure.colorbar(ScalarMappable(norm, colours), cax=axes)
    bar.outline.set_edgecolor(DARK.faint)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.tick_params(colors=DARK.ink, labelsize=9)


def _say_sides(say: Any, image: tuple[int, int], orientation: tuple[str, str]) -> None:
    height, width = image
    right, bottom = orientation
    letters = {"color": DARK.faint, "size": 10, "weight": "bold"}
    say(width - 6, height / 2, right, ha="right", va="center", **letters)
    say(6, height / 2, opposite(right), va="center", **letters)
    say(width / 2, height - 4, bottom, ha="center", va="bottom", **letters)
    say(width / 2, 4, opposite(bottom), ha="center", **letters)


def opposite(letters: str) -> str:
    """The other side: ``LP`` to ``RA``."""
    return letters.translate(str.maketrans("LRPAHF", "RLAPFH"))


def _after_first_sentence(text: str) -> str:
    return text.partition(". ")[2]
