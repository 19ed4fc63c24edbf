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
        Where the limits come from. "× 1.25 at" and "× 2 at": where the error of a map (nrmse_tissue, network
        unet-gru, simulated cases) has grown by a quarter and doubled, from ``benchmarks/quality_thresholds.py``.
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


def _low(what: str, unit: str, warn: float | None, fail: float | None, grounds: str, mend: str) -> Threshold:
    return Threshold(what, unit, "below", warn, fail, grounds, mend)


def _high(what: str, unit: str, warn: float | None, fail: float | None, grounds: str, mend: str) -> Threshold:
    return Threshold(what, unit, "above", warn, fail, grounds, mend)


_AGAIN = "acquire again if you can, and read the map with care"
_LOOK = "look at the map beside the plain integral"

THRESHOLDS: dict[str, Threshold] = {
    "baseline_tsnr": _low(
        "temporal SNR of the baseline",
        "",
        14,
        4.7,
        "voxel-unet: × 1.25 at 13.9, × 2 at 4.7 (unet-gru: 9.6 and 3.4; plain integral: 15.7 and 5.4)",
        "read means over regions, not voxels",
    ),
    "drop": _low(
        "loss of signal at the peak",
        "",
        0.073,
        None,
        "plain integral: × 1.25 at 0.073; below 0.05 a series is refused; the network's stays below × 1.25",
        "check dose and echo time",
    ),
    "extinguished": _high(
        "share of the brain without signal at the peak",
        "",
        None,
        None,
        "told only",
        "check dose and echo time",
    ),
    "baseline_volumes": _low(
        "number of steady volumes before the bolus",
        "",
        4.6,
        None,
        "× 1.25 at 4.6, × 1.74 at 3, the fewest that are accepted",
        "inject later",
    ),
    "arrival": _low("arrival of the bolus", "s", None, None, "told only", "inject later"),
    "after_peak": _low(
        "time measured after the peak",
        "s",
        14,
        9.2,
        "voxel-unet: × 1.25 at 14.2, × 2 at 9.2 (unet-gru: 6.8 and 4.3; plain integral: 4.5 and 2.2)",
        "give the whole series",
    ),
    "unfinished_pass": _high(
        "height of the first pass where the series ends", "", None, None, "told only: see after_peak", _AGAIN
    ),
    "unsteady_volumes": _high(
        "number of volumes before the steady state", "", None, None, "told only", "take more dummy pulses"
    ),
    "baseline_drift": _high(
        "change of the signal over the baseline",
        "",
        0.032,
        None,
        "× 1.25 at 0.032 (a drift of 15 % over the series), × 1.48 at 0.045, the largest tried",
        "leave out the first volumes",
    ),
    "motion_left": _high(
        "head motion that is not corrected",
        "mm",
        0.81,
        2.2,
        "× 1.25 at 0.81, × 2 at 2.2 (plain integral: 0.58 and 1.69); 0.2 is found where nothing moves, 0.49 at most",
        "give --motion-correction on",
    ),
    "motion_corrected": _high(
        "head motion that was corrected",
        "mm",
        1.6,
        5.5,
        "× 1.25 at 1.6, × 2 at 5.5 (plain integral: 1.3 and 4.2)",
        _AGAIN,
    ),
    "at_ceiling": _high(
        "share of the brain's baseline at the largest value of the series",
        "",
        0.31,
        0.64,
        "× 1.25 at 0.31, × 1.96 at 0.64 (plain integral: 0.26 and 0.52)",
        "export without clipping",
    ),
    "repeated_volumes": _high(
        "number of volumes that repeat the one before",
        "",
        0,
        None,
        "a lost volume is worth a word; the error is judged by spoilt_in_pass",
        "export the series again",
    ),
    "spiked_volumes": _high(
        "number of volumes that jump out", "", None, None, "told only", "look at the series"
    ),
    "spoilt_in_pass": _high(
        "share of repeated or jumping volumes in the first pass",
        "",
        0.4,
        None,
        "× 1.25 where 9 of about 20 repeat; jumps of 20 % stay below × 1.2",
        _AGAIN,
    ),
    "earlier_bolus": _high(
        "height of a bolus before the one read, as a part of it",
        "",
        0.1,
        None,
        "at most × 1.04; other models × 1.25 at 0.095",
        "cut the series so that one bolus with its baseline is left",
    ),
    "later_bolus": _high(
        "height of a bolus after the one read, as a part of it",
        "",
        0.6,
        None,
        "× 1.18 with one of 0.8 of its height; other models × 1.25 at 0.62",
        "cut the series so that one bolus with its baseline is left",
    ),
    "brain_area": _high("largest slice of the brain mask", "cm²", None, None, "told only", "give --mask"),
    "brain_volume": _low(
        "volume of the brain mask",
        "ml",
        600,
        None,
        "not measured: about half of an adult brain",
        "check the mask, or give one with --mask",
    ),
    "brain_misfit": _high(
        "difference of the brain mask from an average brain",
        "",
        0.04,
        None,
        "the scale is 10 % off at 0.037, with 60 % of the brain cut off; × 3.2 at 0.050 (echo time of 110 ms)",
        "check the mask, or give one with --mask",
    ),
    "n_slices": _low("number of slices with brain", "", None, None, "told only", "give more slices"),
    "white_matter_voxels": _low(
        "number of white-matter voxels that set the scale", "", None, None, "told only", "give more slices"
    ),
    "white_matter_spread": _high(
        "spread of the first pass within white matter",
        "",
        None,
        None,
        "told only: it grows with noise (0.58 at a temporal SNR of 5.6) and says little else",
        _LOOK,
    ),
    "no_reading": _high(
        "share of the brain without a reading", "", None, None, "told only", "see --validity"
    ),
    "grid_covered": _low(
        "share of the network's time axis that was measured",
        "",
        None,
        None,
        "told only: see after_peak",
        _AGAIN,
    ),
    "echo_time_distance": _high(
        "distance of the echo time from the training, as a logarithm",
        "",
        0.26,
        0.58,
        "× 1.28 at 80 ms, × 3.9 at 110 ms, × 1.31 at 12 ms; other models × 1.25 at 0.26, × 2 at 0.58",
        "compare with maps of this echo time only",
    ),
    "training_distance": _high(
        "distance from the training, as a logarithm",
        "",
        0.1,
        0.98,
        "time step: × 1.25 at 0.47 (4 s) and 0.63 (0.5 s), × 2 at 0.98 (6.7 s); a word is due well before",
        _AGAIN,
    ),
    "map_agreement": _low(
        "rank correlation of the map with the plain first-pass integral",
        "",
        0.85,
        0.5,
        "16 good series of 8 regimes: 0.89 to 0.97",
        _LOOK,
    ),
}
