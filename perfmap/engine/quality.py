"""The quality gate: whether a map can be trusted, judged by what was found in its series."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from scipy import stats

from perfmap.engine.predict import Prediction
from perfmap.engine.quality_table import THRESHOLDS, Threshold
from perfmap.engine.training_range import Acquisition, echo_time_distance, training_distance
from perfmap.models.card import ModelCard
from perfmap.preprocess.brain import voxel_size
from perfmap.preprocess.measures import brain_size


class Status(StrEnum):
    """How good something is, from best to worst."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"


_ORDER = list(Status)
_INTENSITIES = 0.1, 1.0
"""Range of the brain's bright baseline (99th percentile) over the largest intensity of the training, for networks that
read intensities as they are stored: 0.13 to 0.75 in 59 training patients of the cohort ``paper``, a little widened.
"""


@dataclass(frozen=True)
class Finding:
    """One measure, judged.

    Attributes
    ----------
    name : str
        Key of `THRESHOLDS`, or of a named fact such as ``lossy_source``.
    status : Status
    value : float or None
    reason : str
        What was seen, what was wanted and how to mend it; empty for PASS.
    """

    name: str
    status: Status
    value: float | None
    reason: str = ""


@dataclass(frozen=True)
class QualityReport:
    """All findings of a case.

    Attributes
    ----------
    findings : tuple of Finding
        Every measure that could be taken, good or bad.
    """

    findings: tuple[Finding, ...]

    @property
    def status(self) -> Status:
        """The worst of all findings."""
        return max((finding.status for finding in self.findings), key=_ORDER.index, default=Status.PASS)

    @property
    def reasons(self) -> tuple[str, ...]:
        """One line for each finding that is not PASS, the worst first: ``FAIL head_motion: ...``."""
        bad = [finding for finding in self.findings if finding.status is not Status.PASS]
        bad.sort(key=lambda finding: -_ORDER.index(finding.status))
        return tuple(f"{finding.status} {finding.name}: {finding.reason}" for finding in bad)

    @property
    def summary(self) -> str:
        """Status with the names behind it, for one cell of a table: ``WARN head_motion few_slices``."""
        names = [f.name for f in self.findings if f.status is self.status and f.status is not Status.PASS]
        return " ".join([str(self.status), *names])

    def as_dict(self) -> dict[str, Any]:
        """For a sidecar or a manifest."""
        findings: dict[str, dict[str, Any]] = {}
        for finding in self.findings:
            known = THRESHOLDS.get(finding.name)
            findings[finding.name] = {
                "status": str(finding.status),
                "value": _rounded(finding.value),
                **({"unit": known.unit, "warn": known.warn, "fail": known.fail} if known else {}),
                **({"reason": finding.reason} if finding.reason else {}),
            }
        return {"status": str(self.status), "reasons": list(self.reasons), "findings": findings}


def assess(
    prediction: Prediction, card: ModelCard, *, acquisition: Acquisition | None = None
) -> QualityReport:
    """Judge a prediction, or a series that was only looked at.

    Parameters
    ----------
    prediction : Prediction
        With maps, or without them (`perfmap.engine.predict.examine`): measures of maps are then left out.
    card : ModelCard
        Of the network that made, or would make, the map.
    acquisition : Acquisition, optional
        What the sidecar of the series says; nothing, if not given.

    Returns
    -------
    QualityReport
    """
    acquisition = acquisition or Acquisition()
    measures = {**prediction.measures, **_measures_of(prediction, card)}
    apart = echo_time_distance(prediction.prepared, card, acquisition)
    if apart is not None:
        measures["echo_time_distance"] = apart
    findings = [
        judge(name, measures[name], threshold) for name, threshold in THRESHOLDS.items() if name in measures
    ]
    found = training_distance(prediction.prepared, card)
    if found is not None:
        findings.append(_judge_training(*found))
    findings += _judge_intensities(prediction, card)
    return QualityReport((*findings, *_facts(prediction, card, acquisition)))


def judge(name: str, value: float, threshold: Threshold) -> Finding:
    """Judge one value by its threshold; a value that is not a number is a WARN."""
    if math.isnan(value):
        return Finding(name, Status.WARN, None, f"{threshold.what} could not be measured; {threshold.mend}")
    for status, limit in ((Status.FAIL, threshold.fail), (Status.WARN, threshold.warn)):
        if limit is not None and (value > limit if threshold.bad == "above" else value < limit):
            wanted = "at most" if threshold.bad == "above" else "at least"
            unit = f" {threshold.unit}" if threshold.unit else ""
            reason = (
                f"{threshold.what} is {value:.3g}{unit}, wanted {wanted} {limit:g}{unit}; {threshold.mend}"
            )
            return Finding(name, status, value, reason)
    return Finding(name, Status.PASS, value)


def _measures_of(prediction: Prediction, card: ModelCard) -> dict[str, float]:
    """Measures of motion, mask, scale and map."""
    prepared, motion, white = prediction.prepared, prediction.motion, prediction.white_matter
    brain = np.asarray(prepared.validity > 0)
    measures = brain_size(brain, voxel_size=voxel_size(prepared.series.affine), axis=prepared.axis)
    if motion is not None:
        name = "motion_corrected" if motion.corrected else "motion_left"
        measures[name] = motion.max_displacement
    if white is not None:
        values = prepared.first_pass[white.mask]
        middle = float(np.median(values))
        measures["brain_misfit"] = white.misfit
        measures["white_matter_voxels"] = float(values.size)
        measures["white_matter_spread"] = 1.4826 * float(np.median(np.abs(values - middle))) / middle
    array = prediction.maps.get(card.outputs.quantity)
    if array is not None:
        measures["map_agreement"] = _correlation(
            array.array[prepared.mask], prepared.first_pass[prepared.mask]
        )
    return measures


def _correlation(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Spearman's correlation of two maps: a network that restores the vessels does not disagree by it."""
    if one.size < 2 or not min(np.ptp(one), np.ptp(other)) > 0:
        return 0.0
    return float(stats.spearmanr(one, other).statistic)


def _judge_training(distance: float, outside: tuple[str, ...]) -> Finding:
    name = "training_distance"
    judged = judge(name, distance, THRESHOLDS[name])
    if judged.status is Status.PASS:
        return judged
    return Finding(name, judged.status, distance, f"outside of the training: {'; '.join(outside)}")


def _facts(prediction: Prediction, card: ModelCard, acquisition: Acquisition) -> list[Finding]:
    """What is bad whatever its amount."""
    rows = [
        (
            acquisition.lossy,
            "lossy_source",
            Status.FAIL,
            "the source images were compressed with loss; export them without",
        ),
        (
            acquisition.spin_echo,
            "spin_echo",
            Status.WARN,
            "a spin echo sees small vessels above all: errors are 1.4 (100 ms) to 2.3 (60 ms) times as large as with a "
            "gradient echo",
        ),
        (
            acquisition.child,
            "child",
            Status.WARN,
            "the patient is younger than 18, outside of the training; compare within the patient only",
        ),
        (
            acquisition.blood_pool_agent,
            "blood_pool_agent",
            Status.WARN,
            "the agent stays in the vessels, outside of the training; it needs no leakage correction",
        ),
        (
            bool(prediction.maps)
            and card.outputs.reference == "white-matter"
            and prediction.white_matter is None,
            "scale",
            Status.FAIL,
            "no white matter was found to set the scale by; give more slices or a mask of the whole brain",
        ),
    ]
    return [Finding(name, status, None, reason) for known, name, status, reason in rows if known]


def _judge_intensities(prediction: Prediction, card: ModelCard) -> list[Finding]:
    """Whether a network that reads intensities as they are stored meets ones of the size that it was trained on."""
    largest, prepared = card.inputs.training_max, prediction.prepared
    if largest is None or not prepared.mask.any():
        return []
    share = float(np.quantile(prepared.baseline[prepared.mask], 0.99)) / largest
    low, high = _INTENSITIES
    is_alike = low <= share <= high
    reason = (
        f"the model reads intensities as they are stored, and those of bright brain are {share:.3g} times the largest "
        f"of its training, wanted {low:g} to {high:g}; choose a model that reads ratios of signals ('perfmap models')"
    )
    return [
        Finding("intensities", Status.PASS if is_alike else Status.FAIL, share, "" if is_alike else reason)
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
