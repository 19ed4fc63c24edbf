"""Lesion bias where the agent leaks: mean and spread, under T1 and under T2* effects."""

from __future__ import annotations

from itertools import chain

import numpy as np

from benchmarks.evidence.methods import Scene, Setup, read_scene
from benchmarks.evidence.regions import Region, lesion_regions
from benchmarks.evidence.run import Figure, Result, Run, by_method
from benchmarks.evidence.subjects import drawn

TITLE = "Lesions that leak"
FIGURES = (
    Figure("t1_mean", "T1 leakage: bias, mean, %", "+.0f", least=-10, most=10),
    Figure("t1_sd", "T1 leakage: bias, SD, %", ".0f"),
    Figure("t2s_mean", "T2* leakage: bias, mean, %", "+.0f", least=-10, most=10),
    Figure("t2s_sd", "T2* leakage: bias, SD, %", ".0f"),
)
INTRO = """Enhancing rims and meningiomas of the regimes `t1-leak` (no preload, 80°, low r2e) and `t2s-leak`
(preload, 30°, high r2e): region mean over the truth, minus 1, as written."""
REGIMES = {"t1": "t1-leak", "t2s": "t2s-leak"}


def measure(run: Run) -> Result:
    """Read every leaking lesion."""
    jobs = [(key, number) for key in REGIMES for number in range(run.few(12, 3))]
    read = run.each(_lesions, jobs, TITLE)
    pools = {
        key: list(chain.from_iterable(found for (k, _), found in zip(jobs, read, strict=True) if k == key))
        for key in REGIMES
    }

    def figures(method: str) -> dict[str, float] | None:
        values: dict[str, float] = {}
        for key, regions in pools.items():
            bias = [100 * (r.means[method] / r.truth - 1) for r in regions if method in r.means]
            if len(bias) > 1:
                values |= {f"{key}_mean": float(np.mean(bias)), f"{key}_sd": float(np.std(bias, ddof=1))}
        return values or None

    counts = ", ".join(f"{len(regions)} under `{REGIMES[key]}`" for key, regions in pools.items())
    return Result(by_method(run.methods, figures), [], [f"Lesion compartments: {counts}."])


def _lesions(job: tuple[str, int], setup: Setup) -> list[Region]:
    key, number = job
    place = 100 * list(REGIMES).index(key) + number
    reading = read_scene(Scene(drawn("leakage", place, regime=REGIMES[key], n_slices=6)), setup)
    return lesion_regions(reading, ("enhancing", "meningioma")) if reading.maps else []
