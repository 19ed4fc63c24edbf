"""Uncertainty: do the standard deviations that a network states cover its errors?"""

from __future__ import annotations

import numpy as np

from benchmarks.evidence.methods import Scene, Setup, checkpoint_of, read_scene
from benchmarks.evidence.regions import lesions_of
from benchmarks.evidence.run import Figure, Result, Run, Table, by_method, mean
from benchmarks.evidence.subjects import drawn
from perfmap.metrics import sd_of_mean
from perfmap.phantom.regimes import REGIMES
from perfmap.preprocess.brain import voxel_size

TITLE = "Uncertainty"
FIGURES = (
    Figure("one", "voxels within 1 SD, %", ".1f", least=60, most=76),
    Figure("two", "voxels within 2 SD, %", ".1f", least=92, most=98),
    Figure("one_out", "voxels within 1 SD, held-out regimes, %", ".1f", least=60, most=76),
    Figure("two_out", "voxels within 2 SD, held-out regimes, %", ".1f", least=92, most=98),
    Figure("lesion", "lesion means within their 95 % interval, %", ".0f", least=90, most=98),
)
INTRO = """Networks that state a standard deviation: the share of brain voxels (vessels and CSF included) whose
truth lies within one and two of it, as written. The interval of a lesion's mean counts the correlation of
neighbouring errors, with the length that the card states; lesions are those of *Linearity*."""


def measure(run: Run) -> Result:
    """Coverage in every regime, and of lesion means."""
    if not any(checkpoint_of(name).card.outputs.uncertainty for name in run.networks):
        return Result({}, [], ["Not available: no shipped network states a standard deviation."])
    names = ["plain", "ood-te"] if run.quick else [name for name in REGIMES if name != "training"]
    voxels = [(regime, n, run.setting(10, 4)) for regime in names for n in range(run.few(3, 1))]
    lesions = [("linearity-lesions", n, 6) for n in range(run.few(40, 6))]
    read = dict(zip([*voxels, *lesions], run.each(_coverage, [*voxels, *lesions], TITLE), strict=True))

    def over(jobs: list[tuple[str, int, int]], method: str, key: str) -> float:
        return 100 * mean([v for job in jobs for v in read[job].get(method, {}).get(key, [])])

    def figures(method: str) -> dict[str, float] | None:
        if not any(method in found for found in read.values()):
            return None
        inside = [job for job in voxels if not job[0].startswith("ood-")]
        outside = [job for job in voxels if job[0].startswith("ood-")]
        return {
            "one": over(inside, method, "one"),
            "two": over(inside, method, "two"),
            "one_out": over(outside, method, "one"),
            "two_out": over(outside, method, "two"),
            "lesion": over(lesions, method, "lesion"),
        }

    found = by_method(run.networks, figures)
    rows = {
        f"{regime}, {key}": {m: over([job for job in voxels if job[0] == regime], m, key) for m in found}
        for regime in names
        for key in ("one", "two")
    }
    return Result(found, [Table("Coverage by regime, %", rows, ".0f")], [])


def _coverage(job: tuple[str, int, int], setup: Setup) -> dict[str, dict[str, list[float]]]:
    regime, number, n_slices = job
    if regime == "linearity-lesions":
        reading = read_scene(Scene(drawn("linearity", number, regime="linearity", n_slices=6)), setup)
    else:
        n_slices = 20 if regime == "moving" else n_slices
        reading = read_scene(Scene(drawn("truth", number, regime=regime, n_slices=n_slices)), setup)
    wanted = reading.truth["nrcbv"]
    inside = reading.truth["mask"] & reading.mask
    found: dict[str, dict[str, list[float]]] = {}
    for method, sd in reading.sds.items():
        error = reading.maps[method] - wanted
        if regime == "linearity-lesions":
            limits = checkpoint_of(method).card.outputs.uncertainty
            length = 0.0 if limits is None else limits.correlation_length_mm
            size = voxel_size(reading.affine)
            hits = [
                abs(error[where].mean())
                <= 1.96 * sd_of_mean(sd, where, voxel_size=size, correlation_length=length)
                for where in lesions_of(reading).values()
            ]
            found[method] = {"lesion": [float(hit) for hit in hits]}
            continue
        share = np.abs(error[inside]) / np.maximum(sd[inside], 1e-9)
        found[method] = {"one": [float(np.mean(share <= 1))], "two": [float(np.mean(share <= 2))]}
    return found
