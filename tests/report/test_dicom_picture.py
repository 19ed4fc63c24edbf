"""The pictures inside secondary captures."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from perfmap.errors import InputError
from perfmap.report.dicom_picture import BAR_WIDTH, FOOTER_HEIGHT, colour_frames, opposite
from perfmap.report.figures import AMBER, GREY, colours_for

WINDOW = (0.0, 5.0)


def drawn(values: np.ndarray, valid: np.ndarray, brain: np.ndarray) -> tuple[np.ndarray, int]:
    return colour_frames(
        values.astype(np.float32), valid, brain, "nrcbv", title="network", orientation=("L", "PH")
    )


def test_every_voxel_has_the_colour_that_the_bar_gives_its_value() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 7, (2, 8, 9))
    everywhere = np.ones(values.shape, dtype=bool)
    frames, enlarged = drawn(values, everywhere, everywhere)
    assert frames.shape == (2, 8 * enlarged + FOOTER_HEIGHT, 9 * enlarged + BAR_WIDTH, 3)
    centres = frames[:, : 8 * enlarged, : 9 * enlarged][
        :, enlarged // 3 :: enlarged, enlarged // 3 :: enlarged
    ]
    wanted = 255 * colours_for(WINDOW)(np.clip(values / 5, 0, 1))[..., :3]
    assert np.abs(centres - wanted).max() <= 1
    for share in (0.1, 0.5, 0.9):  # the bar runs from 0 up to 5 beside the slice
        row = round(8 * enlarged * (0.88 - 0.7 * share))
        bar = frames[0, row, 9 * enlarged + 32].astype(float)
        assert np.abs(bar - 255 * np.array(colours_for(WINDOW)(share)[:3])).max() < 6


def test_no_reading_is_grey_in_the_brain_and_black_outside() -> None:
    values = np.full((1, 4, 4), np.nan)
    values[0, 0, 0] = 2.0
    valid = np.isfinite(values)
    brain = valid.copy()
    brain[0, 3, 3] = True
    frames, n = drawn(values, valid, brain)
    assert np.allclose(frames[0, 3 * n + n // 3, 3 * n + n // 3], 255 * np.array(to_rgb(GREY)), atol=1)
    assert (frames[0, n + n // 3, n + n // 3] == 0).all()


def test_warning_and_sides_are_burnt_into_every_slice() -> None:
    nothing = np.zeros((2, 16, 16), dtype=bool)
    frames, n = drawn(np.zeros((2, 16, 16)), nothing, nothing)
    for frame in frames:
        amber = np.abs(frame.astype(int) - 255 * np.array(to_rgb(AMBER))).max(axis=-1) < 12
        assert amber[16 * n :].sum() > 300
        letters = frame[: 16 * n, : 16 * n].any(axis=-1)
        for side in (letters[:, :30], letters[:, -30:], letters[:30], letters[-30:]):
            assert side.sum() > 20
    assert opposite("PH") == "AF"


def test_quantity_without_a_fixed_window_is_refused() -> None:
    nothing = np.zeros((1, 4, 4), dtype=bool)
    with pytest.raises(InputError, match="no fixed window"):
        colour_frames(
            np.zeros((1, 4, 4), np.float32), nothing, nothing, "rcbv", title="", orientation=("L", "P")
        )
