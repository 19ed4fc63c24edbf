"""Flip angle and field strength of a series, from options and sidecar: they tell how much T1 the signal holds.

The option, else the sidecar's ``FlipAngle`` (degrees) or ``MagneticFieldStrength`` (T), else unknown. A value in the
sidecar that cannot be one is taken as unknown with a note; an option that cannot be one is refused, because a typing
error is mended at once. Nothing in a NIfTI header says either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perfmap.errors import InputError


@dataclass(frozen=True)
class Setting:
    """A number of the protocol that a sidecar may hold: its key, option, unit and largest value."""

    key: str
    option: str
    unit: str
    most: float


FLIP_ANGLE = Setting("FlipAngle", "--flip-angle", "degrees", 180.0)
FIELD_STRENGTH = Setting("MagneticFieldStrength", "--field-strength", "T", 30.0)


def resolve_setting(
    sidecar: Mapping[str, Any], setting: Setting, *, option: float | None
) -> tuple[float | None, tuple[str, ...]]:
    """Decide on a setting; None where nobody knows it. With one sentence where the sidecar's value is passed over.

    Raises
    ------
    InputError
        If the option is no positive number up to the largest value.
    """
    wanted = f"a number above 0 and up to {setting.most:g} {setting.unit}"
    if option is not None:
        if not _possible(option, setting):
            raise InputError(f"{setting.option} is {option:g}, wanted {wanted}")
        return option, ()
    value = sidecar.get(setting.key)
    if value is None:
        return None, ()
    if isinstance(value, bool) or not isinstance(value, int | float) or not _possible(value, setting):
        return None, (
            f"sidecar {setting.key} is {repr(value)[:40]}, wanted {wanted}, and is taken as unknown; "
            f"mend it, or predict with {setting.option}",
        )
    return float(value), ()


def _possible(value: float, setting: Setting) -> bool:
    return 0 < value <= setting.most  # NaN is neither
