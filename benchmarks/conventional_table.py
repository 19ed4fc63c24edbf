"""Every conventional method against true nrCBV, regime by regime: the bar for every network.

    python benchmarks/conventional_table.py --cases 3 --output docs/conventional_table.md

Cases are native-like stacks drawn from seeds that no training uses. Each map is scored twice: *as written*,
normalised by the engine's own estimate of white matter, and *scaled alike*, divided by its mean over the true
normal-appearing white matter. Tissue, vessels and the enhancing rim stand apart: 2 % of the voxels hold vessels,
and would otherwise rule every squared error.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from perfmap.engine.conventional import conventional
from perfmap.engine.conventional_config import DECONVOLUTION_METHODS, ConventionalConfig, make_config
from perfmap.engine.score import score_case
from perfmap.errors import PerfmapError
from perfmap.phantom.case import draw_case, series_of, simulate_case
from perfmap.phantom.priors import LABELS
from perfmap.phantom.regimes import REGIMES
from perfmap.physics.bolus import first_pass_integral, log_ratio
from perfmap.preprocess.brain import find_brain, voxel_size
from perfmap.preprocess.motion import correct_motion
from perfmap.preprocess.white_matter import WhiteMatter, estimate_white_matter
from perfmap.series import Series

VOLUME_ROWS: dict[str, dict[str, Any]] = {
    "first pass": {"method": "firstpass"},
    "full": {"method": "full"},
    "gamma": {"method": "gamma"},
    "BSW": {"method": "bsw"},
    "BSW, first pass": {"method": "bsw", "window": "first-pass"},
    "bidirectional": {"method": "bidirectional"},
    "bidirectional, first pass": {"method": "bidirectional", "window": "first-pass"},
    "CaPTk": {"method": "captk", "maps": ("ap_rcbv",)},
}
FIGURES = {
    "tissue": "NRMSE_rms of tissue (no CSF, no vessels), scaled alike",
    "tissue_own": "NRMSE_rms of tissue, as written",
    "vessels": "NRMSE_rms of vessel voxels, scaled alike",
    "rim": "Bias of the enhancing rim, %, scaled alike",
    "ratio": "Error of the ratio of grey to white matter, %",
    "psnr": "PSNR inside the mask, dB, as written",
    "ssim": "SSIM inside the mask, as written",
}
FLOW_FIGURES = {
    "rank": "Spearman's ρ of CBF in tissue, arterial input found automatically",
    "flow_ratio": "Error of the ratio of grey to white matter in CBF, %",
}
SEED = 770_000
HEAD = """# Conventional methods against true nrCBV, regime by regime

Made by

    python benchmarks/conventional_table.py --cases {cases} --slices {slices} --output docs/conventional_table.md

{cases} cases a regime, {slices} slices, means over the cases. `BSW, first pass` is `--method bsw --window first-pass`.
*Scaled alike*: each map divided by its mean over the true white matter; *as written*: by perfmap's own estimate. What
the figures are stands in [metrics.md](metrics.md), what the regimes are in [simulator.md](simulator.md).

"""


def simulated(regime: str, number: int, n_slices: int) -> tuple[Series, dict[str, Any]]:
    """Series and truth of one case."""
    case = simulate_case(draw_case(SEED + number, regime=regime, geometry="native", n_slices=n_slices))
    series = series_of(case)
    return series, case.truth


def volume_figures(nrcbv: np.ndarray, truth: dict[str, Any]) -> dict[str, float]:
    """Figures of one nrCBV map."""
    labels, mask, nawm, wanted = (truth[name] for name in ("labels", "mask", "nawm", "nrcbv"))
    alike = nrcbv / nrcbv[nawm].mean()
    own = score_case("own", nrcbv, wanted, mask=mask, labels=labels, data_range=None).values
    scaled = score_case("alike", alike, wanted, mask=mask, labels=labels, data_range=None).values
    vessel = mask & np.isin(labels, [LABELS["vessel_artery"], LABELS["vessel_vein"]])
    rim, grey = labels == LABELS["enhancing"], labels == LABELS["gm"]
    figures = {
        "tissue": scaled["nrmse_tissue"],
        "tissue_own": own["nrmse_tissue"],
        "psnr": own["psnr"],
        "ssim": own["ssim_mask"],
        "ratio": 100 * (alike[grey].mean() / wanted[grey].mean() - 1),
    }
    if vessel.any():
        figures["vessels"] = float(
            np.sqrt(np.mean((alike - wanted)[vessel] ** 2) / np.mean(wanted[vessel] ** 2))
        )
    if rim.sum() >= 10:
        figures["rim"] = 100 * float(alike[rim].mean() / wanted[rim].mean() - 1)
    return figures


def flow_figures(cbf: np.ndarray, truth: dict[str, Any]) -> dict[str, float]:
    """Figures of one CBF map."""
    labels, wanted = truth["labels"], truth["cbf"]
    grey, white = labels == LABELS["gm"], truth["nawm"]
    tissue = truth["mask"] & np.isin(labels, [LABELS["gm"], LABELS["wm"], LABELS["deep_gm"]])
    ratio = cbf[grey].mean() / cbf[white].mean()
    return {
        "rank": float(spearmanr(cbf[tissue], wanted[tissue]).statistic),
        "flow_ratio": 100 * float(ratio / (wanted[grey].mean() / wanted[white].mean()) - 1),
    }


def regime_figures(regime: str, n_cases: int, n_slices: int) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Figures of every method on the cases of one regime; refused cases are counted under ``refused``."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {"volume": {}, "flow": {}, "refused": {}}
    for number in range(n_cases):
        series, truth = simulated(regime, number, n_slices)
        ways = {"": series}
        if regime == "moving":
            ways[" + registration"] = registered(series)
        for end, way in ways.items():
            try:
                brain, white = found_once(way)
            except PerfmapError as error:
                found["refused"].setdefault(f"all{end}", []).append({str(error): 1.0})
                continue
            for name, settings in VOLUME_ROWS.items():
                config = make_config(**{"maps": ("rcbv",), **settings})
                add(found, "volume", name + end, way, config, truth, brain, white)
            for method in DECONVOLUTION_METHODS:
                config = make_config(method=method, maps=("cbf",))
                add(found, "flow", method + end, way, config, truth, brain, white)
    return found


def registered(series: Series) -> Series:
    """The series as motion correction leaves it, found once for all methods."""
    bolus = find_brain(series).bolus
    signal, _ = correct_motion(
        series.signal, voxel_size=voxel_size(series.affine), baseline=bolus.baseline, spikes=bolus.spikes
    )
    return replace(series, signal=signal)


def found_once(series: Series) -> tuple[np.ndarray, WhiteMatter]:
    """Brain mask and white matter as the engine finds them, once for all methods."""
    brain = find_brain(series)
    ratio = log_ratio(series.signal, brain.bolus)
    plain = first_pass_integral(ratio, brain.bolus, time_step=series.time_step)
    size = voxel_size(series.affine)
    return brain.mask, estimate_white_matter(brain.baseline, plain, brain.mask, voxel_size=size)


def add(
    found: dict[str, dict[str, list[dict[str, float]]]],
    part: str,
    name: str,
    series: Series,
    config: ConventionalConfig,
    truth: dict[str, Any],
    brain: np.ndarray,
    white: WhiteMatter,
) -> None:
    """Compute one map and append its figures, or the reason why it is refused."""
    (quantity,) = config.maps
    try:
        array = np.asarray(conventional(series, config, mask=brain, aif="auto").maps[quantity].array)
        if part == "volume":
            array = np.where(brain, array / white.level_of(array), 0)
    except PerfmapError as error:
        found["refused"].setdefault(name, []).append({str(error): 1.0})
        return
    figures = volume_figures(array, truth) if part == "volume" else flow_figures(array, truth)
    found[part].setdefault(name, []).append({key: float(value) for key, value in figures.items()})


def tables(results: dict[str, Any]) -> str:
    """Markdown: one table a figure, regimes down, methods across."""
    parts = []
    for part, figures in (("volume", FIGURES), ("flow", FLOW_FIGURES)):
        methods = list(VOLUME_ROWS) if part == "volume" else list(DECONVOLUTION_METHODS)
        for key, title in figures.items():
            lines = [f"### {title}", "", "| regime | " + " | ".join(methods) + " |"]
            lines.append("|---|" + "---|" * len(methods))
            for regime, found in results.items():
                for end in ("", " + registration"):
                    cells = [cell(found[part].get(method + end, []), key) for method in methods]
                    if any(cell != "–" for cell in cells):
                        lines.append(f"| {regime}{end} | " + " | ".join(cells) + " |")
            parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def cell(figures: list[dict[str, float]], key: str) -> str:
    """Mean over the cases that have the figure, or a dash."""
    values = [one[key] for one in figures if key in one and np.isfinite(one[key])]
    if not values:
        return "–"
    digits = {"rim": "+.0f", "ratio": "+.0f", "flow_ratio": "+.0f", "psnr": ".1f"}.get(key, ".2f")
    return format(float(np.mean(values)), digits)


def main() -> None:
    """Simulate, compute, print the tables; figures are kept case by case with --json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--regimes", nargs="+", default=[name for name in REGIMES if name != "training"])
    parser.add_argument("--json", type=Path, help="keep the figures, and go on from them")
    parser.add_argument("--output", type=Path, help="write the tables here, else print them")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    if options.json and options.json.exists():
        results = json.loads(options.json.read_text("utf-8"))
    for regime in options.regimes:
        if regime not in results:
            results[regime] = regime_figures(regime, options.cases, options.slices)
            print(f"{regime} done", file=sys.stderr, flush=True)
            if options.json:
                options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    head = HEAD.format(cases=options.cases, slices=options.slices)
    text = head + tables({regime: results[regime] for regime in options.regimes})
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
