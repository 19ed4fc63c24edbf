"""True nrCBV, regime by regime: every method against the best conventional one of that regime."""

from __future__ import annotations

import numpy as np

from benchmarks.evidence.methods import CONVENTIONAL, Scene, Setup, read_scene
from benchmarks.evidence.run import Figure, Result, Run, Table, mean
from benchmarks.evidence.subjects import drawn
from perfmap.engine.score import score_case
from perfmap.phantom.priors import LABELS, VESSEL_CLASSES
from perfmap.phantom.regimes import REGIMES

TITLE = "True nrCBV by regime"
FIGURES = (
    Figure("ratio", "tissue NRMSE over that of the regime's best conventional method, mean of the regimes",
           ".2f", most=0.8, aim=" (aim 0.6)"),
    Figure("worst_ratio", "the same, worst regime", ".2f", most=1.0),
    Figure("held_out", "the same, mean of the held-out regimes", ".2f", most=0.85),
    Figure("ratio_alike", "the same, mean of the regimes, maps scaled alike", ".2f"),
    Figure("ssim", "SSIM in the brain, lowest of the regimes but `moving` and `noisy`", ".3f", least=0.95),
)  # fmt: skip
INTRO = """Every method reads the same series, brought to rest where the head moved (the registration of `perfmap
predict`), inside the same brain mask. NRMSE is RMSE over the RMS of the truth; *tissue* is the brain without CSF
and vessels, scored as `perfmap score` does, **as written**: each map over its level in the white matter that
perfmap finds. *Scaled alike* divides each map by its mean in the true normal-appearing white matter instead."""
HARD = ("moving", "noisy")


def measure(run: Run) -> Result:
    """Simulate subjects of every regime and score every method on them."""
    names = [name for name in REGIMES if name != "training"]
    if run.quick:
        names = ["plain", "t1-leak", "moving", "ood-te"]
    n = run.few(3, 1)
    jobs = [(regime, number, run.setting(10, 4)) for regime in names for number in range(n)]
    scored = run.each(_score, jobs, TITLE)
    found: dict[str, list[dict[str, dict[str, float]]]] = {}
    refused = []
    for (regime, number, _), (figures, reasons) in zip(jobs, scored, strict=True):
        found.setdefault(regime, []).append(figures)
        refused += [f"{regime} {number}, {who}: {why}" for who, why in reasons.items()]
    kept = {regime: cases for regime, cases in found.items() if any(cases)}
    tables = {
        key: {regime: _means(cases, key) for regime, cases in kept.items()}
        for key in ("tissue", "tissue_alike", "vessels", "csf", "ssim")
    }
    figures: dict[str, dict[str, float]] = {}
    for method in run.methods:
        ratios = {regime: _ratio(row, method) for regime, row in tables["tissue"].items()}
        held = [value for regime, value in ratios.items() if regime.startswith("ood-")]
        named = [value for regime, value in ratios.items() if not regime.startswith("ood-")]
        figures[method] = {
            "ratio": mean(named),
            "worst_ratio": max((v for v in ratios.values() if np.isfinite(v)), default=float("nan")),
            "held_out": mean(held),
            "ratio_alike": mean(
                [
                    _ratio(row, method)
                    for regime, row in tables["tissue_alike"].items()
                    if not regime.startswith("ood-")
                ]
            ),
            "ssim": min(
                (
                    row[method]
                    for regime, row in tables["ssim"].items()
                    if regime not in HARD and method in row
                ),
                default=float("nan"),
            ),
        }
    titles = {
        "tissue": "NRMSE of tissue, as written",
        "tissue_alike": "NRMSE of tissue, scaled alike",
        "vessels": "NRMSE of vessel voxels (more than 8 % blood), as written",
        "csf": "NRMSE of CSF voxels, as written",
        "ssim": "SSIM in the brain, as written",
    }
    notes = [f"{n} subjects a regime, {jobs[0][2]} slices of 128 × 128 each (20 in `moving`)."]
    notes += [f"Refused: {line}." for line in refused]
    return Result(figures, [Table(titles[key], tables[key]) for key in titles], notes)


def _score(job: tuple[str, int, int], setup: Setup) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Figures of every method on one subject, and who refused it."""
    regime, number, n_slices = job
    case = drawn("truth", number, regime=regime, n_slices=20 if regime == "moving" else n_slices)
    reading = read_scene(Scene(case), setup)
    truth = reading.truth
    labels, mask, wanted = truth["labels"], truth["mask"], truth["nrcbv"]
    vessel = mask & np.isin(labels, [LABELS[name] for name in VESSEL_CLASSES])
    csf = mask & (labels == LABELS["csf"])
    figures: dict[str, dict[str, float]] = {}
    for method, array in reading.maps.items():
        own = score_case(method, array, wanted, mask=mask, labels=labels, data_range=None).values
        alike = score_case(
            method, reading.alike(method), wanted, mask=mask, labels=labels, data_range=None
        ).values
        figures[method] = {
            "tissue": own["nrmse_tissue"],
            "tissue_alike": alike["nrmse_tissue"],
            "vessels": _nrmse(array, wanted, vessel),
            "csf": _nrmse(array, wanted, csf),
            "ssim": own["ssim_mask"],
        }
    return figures, reading.refused


def _nrmse(array: np.ndarray, wanted: np.ndarray, where: np.ndarray) -> float:
    if not where.any():
        return float("nan")
    return float(np.sqrt(np.mean((array - wanted)[where] ** 2) / np.mean(wanted[where] ** 2)))


def _means(cases: list[dict[str, dict[str, float]]], key: str) -> dict[str, float]:
    methods = dict.fromkeys(method for case in cases for method in case)
    return {method: mean([case[method][key] for case in cases if method in case]) for method in methods}


def _ratio(row: dict[str, float], method: str) -> float:
    best = min(row[name] for name in CONVENTIONAL if name in row)
    return row[method] / best if method in row else float("nan")
