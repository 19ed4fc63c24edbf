"""Protocol invariance: the same subjects under twelve protocols."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from benchmarks.evidence.methods import Scene, Setup, read_scene
from benchmarks.evidence.regions import Region, lesion_regions, tissue_mean
from benchmarks.evidence.run import Figure, Result, Run, by_method, mean
from benchmarks.evidence.subjects import drawn
from perfmap.metrics import ccc, coefficient_of_variation
from perfmap.phantom.case import change_case

TITLE = "Protocol invariance"
FIGURES = (
    Figure("cv_lesions", "CV of a lesion's mean between protocols, mean of the lesions, %", ".1f", most=6.6),
    Figure("cv_grey", "CV of the mean of grey matter, %", ".1f", most=5.0),
    Figure("ccc", "CCC of lesion means between two protocols, mean of the pairs", ".3f", least=0.96),
    Figure("ccc_worst", "the same, worst pair", ".3f", least=0.92),
)
INTRO = """The same subject and lesions, seen by twelve protocols (below), each with its own noise. None of them
lies in a held-out range. Lesions are regions as under *Linearity*, as written."""


def _protocol(**changes: Any) -> dict[str, Any]:
    names = {"field": "field_strength", "te": "echo_time", "tr": "repetition_time", "fa": "flip_angle"}
    names |= {"n": "n_times", "preload": "preload_plasma", "agent": "agent"}
    return {names[key]: value for key, value in changes.items()}


PROTOCOLS: dict[str, dict[str, Any]] = {
    "3 T, TE 30, TR 1.5, 60°": _protocol(),
    "3 T, TE 30, TR 1.5, 60°, preload": _protocol(preload=0.4),
    "3 T, TE 30, TR 1.25, 30°": _protocol(tr=1.25, fa=30.0, n=80),
    "3 T, TE 25, TR 1.0, 35°, 120 volumes": _protocol(te=0.025, tr=1.0, fa=35.0, n=120),
    "3 T, TE 35, TR 2.0, 90°, preload, gadobenate": _protocol(
        te=0.035, tr=2.0, fa=90.0, n=45, preload=0.4, agent="gadobenate"
    ),
    "3 T, TE 20, TR 1.5, 80°, gadoterate": _protocol(te=0.020, fa=80.0, agent="gadoterate"),
    "3 T, TE 30, TR 2.5, 90°, 30 volumes": _protocol(tr=2.5, fa=90.0, n=30),
    "3 T, TE 32, TR 1.8, 60°, preload, gadoteridol, 45 volumes": _protocol(
        te=0.032, tr=1.8, n=45, preload=0.3, agent="gadoteridol"
    ),
    "1.5 T, TE 45, TR 1.5, 60°, preload": _protocol(field=1.5, te=0.045, preload=0.4),
    "1.5 T, TE 45, TR 2.0, 30°": _protocol(field=1.5, te=0.045, tr=2.0, fa=30.0, n=50),
    "1.5 T, TE 50, TR 1.5, 80°, gadodiamide": _protocol(field=1.5, te=0.050, fa=80.0, agent="gadodiamide"),
    "1.5 T, TE 35, TR 1.5, 60°, 90 volumes": _protocol(field=1.5, te=0.035, n=90),
}


def measure(run: Run) -> Result:
    """Read lesions and grey matter of every subject under every protocol."""
    subjects = run.few(4, 2)
    protocols = list(PROTOCOLS)[:: run.setting(1, 3)]
    jobs = [(number, name) for number in range(subjects) for name in protocols]
    read = dict(zip(jobs, run.each(_regions, jobs, TITLE), strict=True))
    complete = [n for n in range(subjects) if all(read[n, p] is not None for p in protocols)]
    figures = by_method(run.methods, lambda m: _figures(m, read, complete, protocols))
    n_lesions = sum(len(read[n, protocols[0]][0]) for n in complete)
    notes = [f"{n_lesions} lesion compartments of {len(complete)} subjects under {len(protocols)} protocols."]
    notes += [f"Refused under: {p} (subject {n})." for (n, p), found in read.items() if found is None]
    notes.append(
        "Protocols: " + "; ".join(protocols) + ". Gadobutrol where no agent is named, TE in ms, TR in s."
    )
    return Result(figures, [], notes)


def _regions(job: tuple[int, str], setup: Setup) -> tuple[list[Region], Region] | None:
    number, name = job
    case = drawn("protocols", number, regime="linearity", n_slices=6)
    case = change_case(case, {**PROTOCOLS[name], "seed": 1000 * number + list(PROTOCOLS).index(name)})
    reading = read_scene(Scene(case), setup)
    return (lesion_regions(reading), tissue_mean(reading, "gm")) if reading.maps else None


def _figures(
    method: str, read: dict[tuple[int, str], Any], subjects: list[int], protocols: list[str]
) -> dict[str, float] | None:
    lesions: dict[str, list[float]] = {p: [] for p in protocols}
    grey: list[list[float]] = []
    for n in subjects:
        if any(method not in read[n, p][1].means for p in protocols):
            continue
        for p in protocols:
            lesions[p] += [region.means[method] for region in read[n, p][0]]
        grey.append([read[n, p][1].means[method] for p in protocols])
    values = np.array([lesions[p] for p in protocols])  # (protocols, lesions)
    if not grey or values.shape[1] < 2:
        return None
    agreement = [ccc(values[i], values[j]) for i, j in combinations(range(len(protocols)), 2)]
    return {
        "cv_lesions": 100 * mean([coefficient_of_variation(column) for column in values.T]),
        "cv_grey": 100 * mean([coefficient_of_variation(row) for row in grey]),
        "ccc": mean(agreement),
        "ccc_worst": min(agreement),
    }
