"""The picture of the brain-mean curve."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image

from perfmap.errors import InputError
from perfmap.physics.bolus import Bolus
from perfmap.report.canvas import DARK, LIGHT, Theme
from perfmap.report.curves import curve_figure

TIME = np.arange(45) * 1.5
SIGNAL = 900.0 * (1.0 - 0.4 * np.exp(-(((TIME - 30.0) / 6.0) ** 2)))
BOLUS = Bolus(n_unsteady=2, arrival=12, peak=20, end=28, n_times=45)


def pixels(png: bytes) -> NDArray[np.int_]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int)


def luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=["dark", "light"])
@pytest.mark.parametrize("part", ["ink", "faint", "line", "baseline", "first_pass"])
def test_contrast_is_enough_to_read(theme: Theme, part: str) -> None:
    pair = sorted((luminance(getattr(theme, part)), luminance(theme.paper)))
    assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5


def test_curve_is_in_percent_of_the_baseline() -> None:
    assert curve_figure(TIME, SIGNAL, BOLUS) == curve_figure(TIME, 7.0 * SIGNAL, BOLUS)
    assert curve_figure(TIME, SIGNAL, BOLUS) != curve_figure(TIME, SIGNAL**1.1, BOLUS)


def test_shading_follows_the_bolus() -> None:
    """A first pass that ends later shades more of the page."""
    longer = Bolus(n_unsteady=2, arrival=12, peak=20, end=38, n_times=45)
    paper = np.array([255, 255, 255])
    white = [
        (pixels(curve_figure(TIME, SIGNAL, bolus)) == paper).all(axis=-1).sum() for bolus in (BOLUS, longer)
    ]
    assert white[1] < 0.9 * white[0]


def test_dark_and_light_pages() -> None:
    corner = [pixels(curve_figure(TIME, SIGNAL, BOLUS, dark=dark))[0, 0].sum() for dark in (False, True)]
    assert corner[0] == 3 * 255
    assert corner[1] < 60


def test_lengths_must_agree() -> None:
    with pytest.raises(InputError, match=r"\(44,\) and signal \(45,\)"):
        curve_figure(TIME[:-1], SIGNAL, BOLUS)
