"""A simulated rescan: the same subject with another bolus, arrival, position and noise."""

from __future__ import annotations

import json

import numpy as np

from benchmarks.evidence.methods import Scene, Setup, blurred, read_scene
from benchmarks.evidence.run import Figure, Result, Run, by_method
from benchmarks.evidence.subjects import drawn, slab
from perfmap.metrics import within_subject_cv
from perfmap.phantom.case import CaseParameters

TITLE = "Simulated rescan"
FIGURES = (
    Figure("wcv", "wCV of region means, %", ".1f", most=8.0),
    Figure("over_bsw", "the same over that of BSW at equal resolution", ".2f", most=1.0),
)
INTRO = """The same subject twice: another bolus, arrival, noise and B1 field, the slab moved by 2 and 1.5 mm in
plane and 1.5 mm through it, and tilted by 3°. Regions are balls of 6 mm radius at places in grey matter, white
matter and lesions. wCV: root mean square of |a − b|/√2 over the mean, as written. *Equal resolution*: BSW smoothed
to the FWHM that the method has under *Resolution*, where that is wider."""
RADIUS = 6.0
N_REGIONS = 30
FWHM_PIXEL = 2.3548 * 1.8
Pair = dict[str, list[tuple[float, float]]]


def measure(run: Run) -> Result:
    """Read both scans of every subject."""
    widths = _widths(run)
    sigmas = {
        m: float(np.sqrt(max(widths.get(m, 0) ** 2 - widths.get("BSW", 0) ** 2, 0))) / FWHM_PIXEL
        for m in run.methods
    }
    jobs = [(number, sigmas) for number in range(run.few(8, 2))]
    read = run.each(_pairs, jobs, TITLE)

    def wcv(name: str) -> float:
        pairs = np.array([pair for found in read for pair in found.get(name, [])])
        return 100 * within_subject_cv(pairs[:, 0], pairs[:, 1]) if pairs.size else float("nan")

    def figures(method: str) -> dict[str, float] | None:
        value = wcv(method)
        return {"wcv": value, "over_bsw": value / wcv(f"BSW as {method}")} if np.isfinite(value) else None

    n = sum(len(found.get("truth", [])) for found in read)
    notes = [
        f"{n} regions of {len(jobs)} subjects; the truth itself differs by {wcv('truth'):.1f} % (wCV), by position."
    ]
    if not widths:
        notes.append("*Resolution* was not measured before: BSW is not smoothed here.")
    return Result(by_method(run.methods, figures), [], notes)


def _widths(run: Run) -> dict[str, float]:
    path = run.results / "resolution.json"
    if not path.is_file():
        return {}
    figures = json.loads(path.read_text("utf-8"))["figures"]
    return {method: values["fwhm"] for method, values in figures.items() if values.get("fwhm")}


def scans_of(number: int) -> tuple[CaseParameters, CaseParameters]:
    """Both scans of a subject."""
    first = drawn("rescan", number, regime="linearity", n_slices=8)
    other = drawn("rescan", 500 + number, regime="linearity", n_slices=8)
    moved = slab(n_slices=8, height=11.5, tilt=3.0, shift=(2.0, -1.5))
    return first, first.model_copy(update={"acquisition": other.acquisition, "geometry": moved})


def _pairs(job: tuple[int, dict[str, float]], setup: Setup) -> Pair:
    number, sigmas = job
    scans = scans_of(number)
    readings = [read_scene(Scene(scan), setup) for scan in scans]
    if not all(reading.maps for reading in readings):
        return {}
    both = [name for name in readings[0].maps if name in readings[1].maps]
    truth = readings[0].truth
    solid = truth["mask"] & ~np.isin(truth["labels"], (0, 1, 5, 6)) & (truth["purity"] > 0.6)
    solid[:, :, [0, -1]] = False  # the moved slab has to hold the region as well
    rng = np.random.default_rng(number)
    voxels = rng.permutation(np.argwhere(solid))[: 4 * N_REGIONS]
    centres = voxels @ scans[0].geometry.matrix[:3, :3].T + scans[0].geometry.matrix[:3, 3]
    found: Pair = {}
    n_kept = 0
    for centre in centres:
        balls = [_ball(scan, centre) & r.mask for scan, r in zip(scans, readings, strict=True)]
        if min(ball.sum() for ball in balls) < 20 or n_kept == N_REGIONS:
            continue
        n_kept += 1
        for name in ("truth", *both, *(f"BSW as {m}" for m in both)):
            values = []
            for reading, ball in zip(readings, balls, strict=True):
                values.append(_value(reading, name, ball, sigmas))
            found.setdefault(name, []).append((values[0], values[1]))
    return found


def _value(reading, name: str, ball: np.ndarray, sigmas: dict[str, float]) -> float:
    if name == "truth":
        array = reading.truth["nrcbv"]
    elif name.startswith("BSW as "):
        array = blurred(reading.maps["BSW"], sigma=sigmas.get(name[7:], 0.0))
    else:
        array = reading.maps[name]
    return float(array[ball].mean())


def _ball(scan: CaseParameters, centre: np.ndarray) -> np.ndarray:
    index = np.moveaxis(np.indices(scan.geometry.shape), 0, -1)
    places = index @ scan.geometry.matrix[:3, :3].T + scan.geometry.matrix[:3, 3]
    ball: np.ndarray = np.linalg.norm(places - centre, axis=-1) < RADIUS
    return ball
