"""A stress without a target: relaxivity that differs between tissues, which nothing in the signal tells from CBV."""

from __future__ import annotations

import numpy as np

from benchmarks.evidence.methods import Scene, Setup, read_scene
from benchmarks.evidence.regions import tissue_mean
from benchmarks.evidence.run import Figure, Result, Run, by_method
from benchmarks.evidence.subjects import drawn, redrawn, seed_of
from perfmap.metrics import coefficient_of_variation
from perfmap.phantom.drawing import DrawOptions

TITLE = "Relaxivity that differs between tissues"
FIGURES = (
    Figure("cv", "CV of the ratio of tissue to white matter, measured/true, %", ".1f"),
    Figure("floor", "floor: CV of the ratio of the drawn relaxivities, %", ".1f"),
)
INTRO = """r2v of grey matter, deep grey matter and white matter drawn with a standard deviation of 15 % within a
subject. No method can tell relaxivity from CBV: the CV of a ratio cannot fall below the floor (√2·15 % = 21 % of
many subjects), unless the map is painted. Reported without a target."""
SPREAD = 0.15
CLASSES = ("gm", "deep_gm")


def measure(run: Run) -> Result:
    """Ratios of grey matter and deep grey matter to white matter."""
    jobs = list(range(run.few(20, 4)))
    read = [pair for found in run.each(_ratios, jobs, TITLE) for pair in found]
    floor = 100 * coefficient_of_variation([factor for factor, _ in read])

    def figures(method: str) -> dict[str, float] | None:
        ratios = [values[method] for _, values in read if method in values]
        if len(ratios) < 2:
            return None
        return {"cv": 100 * coefficient_of_variation(ratios), "floor": floor}

    notes = [f"{len(read)} ratios of {len(jobs)} subjects."]
    return Result(by_method(run.methods, figures), [], notes)


def _ratios(number: int, setup: Setup) -> list[tuple[float, dict[str, float]]]:
    case = redrawn(
        drawn("relaxivity", number, regime="no-lesion", n_slices=4),
        seed_of("relaxivity", number),
        DrawOptions(with_skull=False, n_lesions=0, r2v_spread=SPREAD),
    )
    reading = read_scene(Scene(case), setup)
    if not reading.maps:
        return []
    tissues = case.subject.tissues
    white = tissue_mean(reading, "wm")
    found = []
    for name in CLASSES:
        region = tissue_mean(reading, name)
        if region.n < 12 or not np.isfinite(region.truth):
            continue
        true = region.truth / white.truth
        measured = {m: region.means[m] / white.means[m] / true for m in reading.maps}
        found.append((tissues[name].r2v_factor / tissues["wm"].r2v_factor, measured))
    return found
