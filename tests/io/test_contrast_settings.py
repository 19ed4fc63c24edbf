"""Flip angle and field strength: option, sidecar, or unknown."""

from __future__ import annotations

from typing import Any

import pytest

from perfmap.errors import InputError
from perfmap.io.contrast_settings import FIELD_STRENGTH, FLIP_ANGLE, Setting, resolve_setting


def test_the_option_wins_over_the_sidecar_and_that_over_nothing() -> None:
    assert resolve_setting({"FlipAngle": 90}, FLIP_ANGLE, option=30.0) == (30.0, ())
    assert resolve_setting({"FlipAngle": 90}, FLIP_ANGLE, option=None) == (90.0, ())
    assert resolve_setting({"MagneticFieldStrength": 1.5}, FIELD_STRENGTH, option=None) == (1.5, ())
    assert resolve_setting({}, FIELD_STRENGTH, option=None) == (None, ())


@pytest.mark.parametrize("value", [0, -30, 270, True, "90", [90, 70], float("nan"), 10**400])
def test_a_sidecar_that_cannot_be_right_is_unknown_with_a_note(value: Any) -> None:
    found, notes = resolve_setting({"FlipAngle": value}, FLIP_ANGLE, option=None)
    assert found is None
    assert "--flip-angle" in notes[0]


@pytest.mark.parametrize(
    ("setting", "value"), [(FLIP_ANGLE, 0.0), (FLIP_ANGLE, 181.0), (FIELD_STRENGTH, 3000.0)]
)
def test_an_option_that_cannot_be_right_is_refused(setting: Setting, value: float) -> None:
    with pytest.raises(InputError, match=rf"{setting.option} is {value:g}, wanted"):
        resolve_setting({}, setting, option=value)
