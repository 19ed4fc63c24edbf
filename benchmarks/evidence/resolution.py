"""Resolution: how much of the contrast of small lesions a map recovers, and how sharp its edges are."""

from __future__ import annotations

import numpy as np
from scipy.optimize import curve_fit
from scipy.special import erf

from benchmarks.evidence.methods import Scene, Setup, read_scene
from benchmarks.evidence.run import Figure, Result, Run, Table, by_method, mean
from benchmarks.evidence.subjects import drawn, sphere, white_places, with_subject
from perfmap.phantom.case import CaseParameters
from perfmap.phantom.priors import LABELS

TITLE = "Resolution"
FIGURES = (
    Figure("recovery_5", "contrast recovery, 5 mm, lowest of ×0.3, ×2, ×5", ".2f", least=0.75),
    Figure("recovery_10", "contrast recovery, 10 mm, lowest of the three", ".2f", least=0.9),
    Figure("fwhm", "effective FWHM, mm", ".2f"),
    Figure("fwhm_ratio", "effective FWHM over that of the first-pass map", ".2f", most=1.2),
)
INTRO = """Balls in white matter that differ from it by their CBV alone (×0.3, ×2, ×5), three a subject, at 1.8 ×
1.8 × 5 mm. Each subject is seen with and without them under the same noise. *Contrast recovery* is the difference
of the two maps over the difference of the two truths, over voxels that are mostly lesion; above 1 is too much.
*Effective FWHM*: an error function is fitted to the difference across the edge of 20 mm balls, in the slice through
their centre."""
CLASS = "low_grade"
FACTORS = (0.3, 2.0, 5.0)
DIAMETERS = (5.0, 10.0)
EDGE = 20.0
Job = tuple[int, float, float]


def measure(run: Run) -> Result:
    """Read balls of every size and contrast."""
    jobs: list[Job] = [
        (number, diameter, factor)
        for number in range(run.few(3, 1))
        for diameter in (*DIAMETERS, EDGE)
        for factor in FACTORS
    ]
    read = dict(zip(jobs, run.each(_response, jobs, TITLE), strict=True))

    def average(method: str, diameter: float, factor: float, key: str) -> float:
        return mean(
            [
                found[method][key]
                for (_, d, f), found in read.items()
                if (d, f) == (diameter, factor) and method in found
            ]
        )

    widths = {m: mean([average(m, EDGE, factor, "fwhm") for factor in FACTORS]) for m in run.methods}

    def figures(method: str) -> dict[str, float] | None:
        if not any(method in found for found in read.values()):
            return None
        least = {d: min(average(method, d, f, "recovery") for f in FACTORS) for d in DIAMETERS}
        return {
            "recovery_5": least[5.0],
            "recovery_10": least[10.0],
            "fwhm": widths[method],
            "fwhm_ratio": widths[method] / widths["first pass"],
        }

    rows = {
        f"{diameter:g} mm, ×{factor:g}": {m: average(m, diameter, factor, "recovery") for m in run.methods}
        for diameter in DIAMETERS
        for factor in FACTORS
    }
    rows |= {f"FWHM at ×{f:g}, mm": {m: average(m, EDGE, f, "fwhm") for m in run.methods} for f in FACTORS}
    notes = [f"{run.few(3, 1)} subjects, three balls each."]
    return Result(by_method(run.methods, figures), [Table("Contrast recovery and FWHM", rows)], notes)


def _response(job: Job, setup: Setup) -> dict[str, dict[str, float]]:
    number, diameter, factor = job
    case = drawn("resolution", number, regime="no-lesion", n_slices=6)
    places = white_places(case, 3, apart=28.0)
    without = read_scene(Scene(case), setup)
    seen = read_scene(Scene(with_balls(case, places, diameter=diameter, factor=factor)), setup)
    change = seen.truth["nrcbv"] - without.truth["nrcbv"]
    ball = seen.truth["labels"] == LABELS[CLASS]
    found: dict[str, dict[str, float]] = {}
    for method in seen.maps.keys() & without.maps.keys():
        response = seen.maps[method] - without.maps[method]
        if diameter == EDGE:
            found[method] = {"fwhm": edge_width(response, case, places)}
        else:
            found[method] = {"recovery": float(response[ball].mean() / change[ball].mean())}
    return found


def with_balls(
    case: CaseParameters, places: list[tuple[float, float, float]], *, diameter: float, factor: float
) -> CaseParameters:
    """The same case with balls of `factor` times the blood volume of white matter."""
    white = case.subject.tissues["wm"]
    balls = tuple(sphere(CLASS, white, place, diameter=diameter, cbv=factor * white.cbv) for place in places)
    return with_subject(case, lesions=balls)


def edge_width(response: np.ndarray, case: CaseParameters, places: list[tuple[float, float, float]]) -> float:
    """FWHM, mm, of the edge of balls of `EDGE` mm: fitted to the response against the distance from the centre."""
    inverse = np.linalg.inv(case.geometry.matrix)
    grid = np.moveaxis(np.indices(response.shape[:2]), 0, -1) * np.asarray(case.geometry.voxel_size[:2])
    widths = []
    for place in places:
        x, y, z = inverse[:3, :3] @ place + inverse[:3, 3]
        size = np.asarray(case.geometry.voxel_size[:2])
        distance = np.linalg.norm(grid - np.array([x, y]) * size, axis=-1)
        near = distance < EDGE
        r, d = distance[near], response[:, :, round(z)][near]
        start = (float(d[r < EDGE / 4].mean()), EDGE / 2, 1.0)
        bounds = ([-np.inf, 0.2 * EDGE, 0.05], [np.inf, EDGE, 10.0])
        try:
            (_, _, sigma), _ = curve_fit(_edge, r, d, p0=start, bounds=bounds)
        except RuntimeError:  # no edge to be found
            sigma = np.nan
        widths.append(2.3548 * float(sigma))
    return mean(widths)


def _edge(r: np.ndarray, height: float, radius: float, sigma: float) -> np.ndarray:
    return height / 2 * (1 - erf((r - radius) / (np.sqrt(2) * sigma)))
