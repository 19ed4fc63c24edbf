"""How far an acquisition lies outside of what a network was trained on."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perfmap.models.card import ModelCard
from perfmap.phantom.priors.acquisition import ACQUISITION, CHOICES
from perfmap.preprocess.pipeline import Prepared

_BLOOD_POOL = re.compile(r"ferumoxytol|feraheme|rienso|gadofosveset|ablavar|vasovist|iron", re.IGNORECASE)
_GROWN_UP = 18.0  # years
_IN_PLANE = (1.5, 2.5)  # mm, `perfmap.phantom.geometry.draw_stack`, with a little to spare
_TOLERANCE = 1e-3  # of a limit: times come rounded


@dataclass(frozen=True)
class Acquisition:
    """What a sidecar says of an acquisition beyond what the series knows; None where it says nothing usable.

    Attributes
    ----------
    spin_echo : bool or None
    child : bool or None
        Younger than 18 years. The age itself is not kept.
    blood_pool_agent : bool or None
        An agent that does not leak, such as ferumoxytol.
    lossy : bool or None
        The source images were compressed with loss.
    """

    spin_echo: bool | None = None
    child: bool | None = None
    blood_pool_agent: bool | None = None
    lossy: bool | None = None


def acquisition_of(sidecar: Mapping[str, Any]) -> Acquisition:
    """Read an acquisition from a sidecar in the keys of BIDS and dcm2niix; whatever makes no sense is not known."""
    agent = _text(sidecar, "ContrastBolusIngredient", "ContrastBolusAgent")
    return Acquisition(
        spin_echo=_spin_echo(_text(sidecar, "ScanningSequence"), _text(sidecar, "PulseSequenceType")),
        child=_child(sidecar.get("PatientAge")),
        blood_pool_agent=bool(_BLOOD_POOL.search(agent)) if agent else None,
        lossy=_lossy(sidecar),
    )


def training_distance(prepared: Prepared, card: ModelCard) -> tuple[float, tuple[str, ...]] | None:
    """Distance of a series from the training distribution of the network, but for the echo time.

    Parameters
    ----------
    prepared : Prepared
    card : ModelCard

    Returns
    -------
    distance : float
        Of the parameter that lies farthest outside: its ratio to the nearest limit of its range, as an absolute
        natural logarithm. 0 where all lie inside, 0.69 at half or at twice a limit.
    outside : tuple of str
        Every parameter that lies outside, with value and range.

    None where the card does not say that the network was trained on the simulator: its range is then not known.
    """
    if not card.training.data.startswith("simulated"):
        return None
    series, prior = prepared.series, ACQUISITION
    step, flips = prior["repetition_time"], CHOICES["flip_angle"].shares
    edges = [
        math.hypot(*series.affine[:3, axis])
        for axis in range(3)
        if axis != prepared.axis and prepared.baseline.shape[axis] > 1
    ]
    scaled = [edge * n / 128 for edge, n in zip(edges, _in_plane(prepared), strict=False)]
    rows: list[tuple[str, float | None, float, float, str]] = [
        ("time step", series.time_step, step.low, 2 * step.high, "s"),
        ("repetition time", series.repetition_time, step.low, step.high, "s"),
        ("number of volumes", float(series.n_times), prior["n_times"].low, prior["n_times"].high, ""),
        ("field strength", series.field_strength, 1.5, 3.0, "T"),
        ("flip angle", series.flip_angle, min(flips), max(flips), "degrees"),
        ("field of view over 128", max(scaled, default=None), *_IN_PLANE, "mm"),
    ]
    distance, outside = 0.0, []
    for name, value, low, high, unit in rows:
        if value is None:
            continue
        apart = _apart(value, low, high)
        if apart > _TOLERANCE:
            distance = max(distance, apart)
            outside.append(f"{name} {value:.4g} {unit}".strip() + f" (trained {low:g}–{high:g})")
    return distance, tuple(outside)


def echo_time_distance(prepared: Prepared, card: ModelCard, acquisition: Acquisition) -> float | None:
    """Distance of the echo time from the training, as in `training_distance`; None where either is not known."""
    echo_time = prepared.series.echo_time
    if echo_time is None or not card.training.data.startswith("simulated"):
        return None
    prior = ACQUISITION["spin_echo_echo_time" if acquisition.spin_echo else "echo_time"]
    return _apart(echo_time, prior.low, prior.high)


def _apart(value: float, low: float, high: float) -> float:
    return max(math.log(low / value), math.log(value / high), 0.0)


def _in_plane(prepared: Prepared) -> list[int]:
    shape = prepared.baseline.shape
    return [shape[axis] for axis in range(3) if axis != prepared.axis and shape[axis] > 1]


def _text(sidecar: Mapping[str, Any], *keys: str) -> str:
    for key in keys:
        value = sidecar.get(key)
        if isinstance(value, list):
            value = " ".join(str(item) for item in value)
        if isinstance(value, str) and value:
            return value
    return ""


def _spin_echo(sequence: str, kind: str) -> bool | None:
    """Whether refocused echoes are read; a gradient echo named beside them settles nothing."""
    tokens = set(re.split(r"[^a-z0-9]+", f"{sequence} {kind}".lower()))
    spin = "se" in tokens or {"spin", "echo"} <= tokens
    gradient = "gr" in tokens or {"gradient", "echo"} <= tokens
    if spin != gradient:
        return spin
    return None


def _child(age: Any) -> bool | None:
    """DICOM's age string (034Y, 018M) or a number of years."""
    if isinstance(age, bool) or age is None:
        return None
    match = re.fullmatch(r"\s*(\d{1,3}(?:\.\d+)?)\s*([DWMY]?)\s*", str(age))
    if match is None:
        return None
    per_year = {"D": 365.25, "W": 52.18, "M": 12.0}.get(match[2], 1.0)
    return float(match[1]) / per_year < _GROWN_UP


def _lossy(sidecar: Mapping[str, Any]) -> bool | None:
    value = sidecar.get("LossyImageCompression")
    if value is None:
        return None
    return str(value).strip() in ("01", "1", "True", "true", "YES")
