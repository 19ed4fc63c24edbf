"""The quality gate's thresholds, each with its unit and its grounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Threshold:
    """When a measure is doubtful, and when it is bad.

    Attributes
    ----------
    what : str
        The measure in words.
    unit : str
        Unit of value and limits; empty for a pure number or a share.
    bad : {"above", "below"}
        On which side of a limit the trouble lies.
    warn, fail : float or None
        Limits; None: this measure never warns, or never fails.
    grounds : str
        Where the limits come from.
    mend : str
        What the user can do.
    """

    what: str
    unit: str
    bad: Literal["above", "below"]
    warn: float | None
    fail: float | None
    grounds: str
    mend: str


_SWEEP = "benchmarks/quality_thresholds.py"
_AGAIN = "acquire again if you can"

THRESHOLDS: dict[str, Threshold] = {
    "baseline_tsnr": Threshold(
        "temporal SNR of the baseline", "", "below", None, None, _SWEEP, "average the maps over regions"
    ),
    "drop": Threshold(
        "loss of signal at the peak", "", "below", None, None, _SWEEP, "check dose and echo time"
    ),
    "extinguished": Threshold(
        "share of the brain without signal at the peak",
        "",
        "above",
        None,
        None,
        _SWEEP,
        "check dose and echo time",
    ),
    "baseline_volumes": Threshold(
        "number of steady volumes before the bolus", "", "below", None, None, _SWEEP, "inject later next time"
    ),
    "after_peak": Threshold(
        "time measured after the peak", "s", "below", None, None, _SWEEP, "give the whole series"
    ),
    "unfinished_pass": Threshold(
        "height of the first pass where the series ends",
        "",
        "above",
        None,
        None,
        _SWEEP,
        "give the whole series",
    ),
    "unsteady_volumes": Threshold(
        "number of volumes before the steady state", "", "above", None, None, _SWEEP, "take more dummy pulses"
    ),
    "baseline_drift": Threshold(
        "change of the signal over the baseline",
        "",
        "above",
        None,
        None,
        _SWEEP,
        "leave out the first volumes",
    ),
    "motion_left": Threshold(
        "head motion, not corrected", "mm", "above", None, None, _SWEEP, "give --motion-correction on"
    ),
    "motion_corrected": Threshold("head motion, corrected", "mm", "above", None, None, _SWEEP, _AGAIN),
    "at_ceiling": Threshold(
        "share of the brain's baseline at the largest value of the series",
        "",
        "above",
        0.36,
        0.60,
        _SWEEP,
        "lower the receiver gain, or export without clipping",
    ),
    "repeated_volumes": Threshold(
        "number of volumes that repeat the one before",
        "",
        "above",
        None,
        None,
        _SWEEP,
        "export the series again",
    ),
    "spiked_volumes": Threshold(
        "number of volumes that jump out", "", "above", None, None, _SWEEP, "look at the series"
    ),
    "spoilt_in_pass": Threshold(
        "number of repeated or jumping volumes within the first pass", "", "above", None, None, _SWEEP, _AGAIN
    ),
    "second_bolus": Threshold(
        "height of a second bolus as a part of the first",
        "",
        "above",
        None,
        None,
        _SWEEP,
        "cut the series to one bolus",
    ),
    "brain_area": Threshold(
        "largest slice of the brain mask", "cm²", "below", None, None, _SWEEP, "give --mask"
    ),
    "brain_volume": Threshold("volume of the brain mask", "ml", "below", None, None, _SWEEP, "give --mask"),
    "brain_misfit": Threshold(
        "difference of the brain mask from an average brain", "", "above", None, None, _SWEEP, "give --mask"
    ),
    "n_slices": Threshold("number of slices with brain", "", "below", None, None, _SWEEP, "give more slices"),
    "white_matter_voxels": Threshold(
        "number of white-matter voxels that set the scale",
        "",
        "below",
        None,
        None,
        _SWEEP,
        "give more slices",
    ),
    "white_matter_spread": Threshold(
        "spread of the first pass within white matter",
        "",
        "above",
        None,
        None,
        _SWEEP,
        "check the brain mask",
    ),
    "no_reading": Threshold(
        "share of the brain without a reading", "", "above", None, None, _SWEEP, "see --validity"
    ),
    "grid_covered": Threshold(
        "share of the network's time axis that was measured",
        "",
        "below",
        None,
        None,
        _SWEEP,
        "give the whole series",
    ),
    "training_distance": Threshold(
        "distance from the training (natural logarithm of a ratio)", "", "above", None, None, _SWEEP, _AGAIN
    ),
    "map_agreement": Threshold(
        "correlation of the map with the plain first-pass integral",
        "",
        "below",
        None,
        None,
        _SWEEP,
        "look at both",
    ),
}
