"""Values of a DICOM header as plain text and numbers, None or ``""`` for whatever is missing or makes no sense.

A scan touches millions of elements. pydicom turns each into an object that validates itself, which takes most of
the time of reading it; here the bytes of the common cases are read as they are, and pydicom does the rest.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_PLAIN = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UI"}


def text(data: Dataset | None, name: str) -> str:
    """An attribute as text, several values with a backslash between them; ``""`` where there is none."""
    values = _values(data, name)
    return "\\".join(value if isinstance(value, str) else str(value) for value in values)


def number(data: Dataset | None, name: str | int) -> float | None:
    """A finite number, the first of several. An attribute by keyword, a private element by tag."""
    for value in _values(data, name)[:1]:
        try:
            result = float(value)
        except (ValueError, TypeError, OverflowError):
            return None
        return result if math.isfinite(result) else None
    return None


def integer(data: Dataset | None, name: str) -> int | None:
    """A whole number, the first of several."""
    value = number(data, name)
    return None if value is None else int(value)


def numbers(data: Dataset | None, name: str, n_values: int) -> tuple[float, ...] | None:
    """Exactly `n_values` finite numbers, else None."""
    try:
        values = tuple(float(value) for value in _values(data, name))
    except (ValueError, TypeError, OverflowError):
        return None
    return values if len(values) == n_values and all(map(math.isfinite, values)) else None


@lru_cache(maxsize=512)
def _tag_and_vr(name: str | int) -> tuple[BaseTag, str]:
    tag = Tag(name)
    try:
        return tag, dictionary_VR(tag)
    except KeyError:
        return tag, ""


def _values(data: Dataset | None, name: str | int) -> list[Any]:
    """The values of an attribute, as text where they are text in the file."""
    if data is None:
        return []
    tag, vr = _tag_and_vr(name)
    try:
        element: Any = data.get_item(tag)
    except KeyError:
        return []
    if isinstance(element, RawDataElement):
        raw = element.value
        if not raw:
            return []
        vr = element.VR or vr
        if vr in _PLAIN and raw.isascii():
            return [part.strip("\0 ") for part in raw.decode("ascii").split("\\")]
        if vr in _BINARY:
            size = struct.calcsize(_BINARY[vr])
            order = "<" if element.is_little_endian else ">"
            return list(
                struct.unpack(f"{order}{len(raw) // size}{_BINARY[vr]}", raw[: len(raw) // size * size])
            )
    try:
        value = data[tag].value
    except Exception:  # whatever pydicom raises on a damaged value
        return []
    if value is None or value == "" or value == b"":
        return []
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return [value]
    return list(value) if not hasattr(value, "components") else [str(value)]
