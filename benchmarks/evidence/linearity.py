"""Linearity: lesions whose CBV is independent of everything that can be seen of them."""

from __future__ import annotations

from itertools import chain

import numpy as np

from benchmarks.evidence.methods import Scene, Setup, read_scene
from benchmarks.evidence.regions import Region, lesion_regions, tissue_mean
from benchmarks.evidence.run import Figure, Result, Run, Table, by_method, mean
from benchmarks.evidence.subjects import drawn
from perfmap.metrics import ccc, coefficient_of_variation, cohen_kappa, regression

TITLE = "Linearity"
FIGURES = (
    Figure("slope", "slope of lesion means over the truth", ".2f", least=0.95, most=1.05),
    Figure("intercept", "intercept", ".2f", least=-0.1, most=0.1),
    Figure("ccc", "CCC", ".3f", least=0.97),
    Figure("cv_tight", "CV of measured/true, lesions without leakage, %", ".1f", most=6.6),
    Figure("cv", "CV of measured/true, all lesions, %", ".1f", most=12.0),
    Figure("cv_tumour", "the same without infarcts, %", ".1f"),
    Figure("bias_sd", "SD of measured − true, nrCBV", ".2f", most=0.4),
    Figure("treatment", "enhancing rim of nrCBV 0.3–0.8 (treatment effect): measured/true", ".2f",
           least=0.85, most=1.15),
    Figure("kappa_low", "κ of the classes below and above 1.0", ".2f", least=0.9),
    Figure("kappa_high", "κ of the classes below and above 1.75", ".2f", least=0.9),
    Figure("grey", "grey over white matter (true 1.2–3.0): measured/true", ".2f"),
    Figure("grey_ccc", "CCC of grey over white matter", ".3f"),
)  # fmt: skip
INTRO = """Lesions of true nrCBV 0.3 to 12, drawn independently of tissue class, enhancement, size and permeability;
grey matter 1.2 to 3.0 times white matter. A region is every voxel of one lesion compartment that is purely of it
(more than 90 %), at least 12 of them; its mean, as written, against the mean of the truth. Without leakage: Ktrans
below 0.005 /min. The last table has the same figures with the maps scaled alike."""
INFARCT = ("infarct_core", "penumbra")
TIGHT = 0.005
RANGE = (0.3, 12.0)


def measure(run: Run) -> Result:
    """Read lesion means of every subject."""
    jobs = [("linearity", number) for number in range(run.few(40, 6))]
    effects = [("treatment-effect", number) for number in range(run.few(12, 3))]
    read = run.each(_regions, [*jobs, *effects], TITLE)
    lesions = chain.from_iterable(part[0] for part in read[: len(jobs)])
    lesions = [r for r in lesions if RANGE[0] <= r.truth <= RANGE[1]]
    tissue = [part[1] for part in read[: len(jobs)] if part[1] is not None]
    rims = [r for r in chain.from_iterable(part[0] for part in read[len(jobs) :]) if r.kind == "enhancing"]
    figures = by_method(run.methods, lambda m: _figures(m, lesions, tissue, rims, alike=False))
    alike = by_method(run.methods, lambda m: _figures(m, lesions, tissue, rims, alike=True))
    rows = {f.title: {m: values[f.key] for m, values in alike.items()} for f in FIGURES}
    n_tight = sum(r.ktrans < TIGHT for r in lesions)
    notes = [
        f"{len(lesions)} lesion compartments of {len(jobs)} subjects, {n_tight} of them without leakage; "
        f"{len(rims)} treated rims of {len(effects)} subjects."
    ]
    return Result(figures, [Table("The same, maps scaled alike", rows)], notes)


def _regions(job: tuple[str, int], setup: Setup) -> tuple[list[Region], tuple[Region, Region] | None]:
    regime, number = job
    group = "linearity" if regime == "linearity" else "treatment"
    reading = read_scene(Scene(drawn(group, number, regime=regime, n_slices=6)), setup)
    if not reading.maps:
        return [], None
    return lesion_regions(reading), (tissue_mean(reading, "gm"), tissue_mean(reading, "wm"))


def _figures(
    method: str,
    lesions: list[Region],
    tissue: list[tuple[Region, Region]],
    rims: list[Region],
    *,
    alike: bool,
) -> dict[str, float] | None:
    def read(region: Region) -> float:
        return (region.alike if alike else region.means)[method]

    seen = [r for r in lesions if method in r.means]
    if len(seen) < 3:
        return None
    measured, truth = np.array([read(r) for r in seen]), np.array([r.truth for r in seen])
    ratio = measured / truth
    tight = np.array([r.ktrans < TIGHT for r in seen])
    tumour = np.array([r.kind not in INFARCT for r in seen])
    slope, intercept = regression(measured, truth)
    pairs = [(grey, white) for grey, white in tissue if method in grey.means]
    grey = np.array([read(g) / read(w) for g, w in pairs])
    true_grey = np.array([g.truth / w.truth for g, w in pairs])
    return {
        "slope": slope,
        "intercept": intercept,
        "ccc": ccc(measured, truth),
        "cv_tight": 100 * coefficient_of_variation(ratio[tight]) if tight.sum() > 2 else float("nan"),
        "cv": 100 * coefficient_of_variation(ratio),
        "cv_tumour": 100 * coefficient_of_variation(ratio[tumour]) if tumour.sum() > 2 else float("nan"),
        "bias_sd": float(np.std(measured - truth, ddof=1)),
        "treatment": mean([read(r) / r.truth for r in rims if method in r.means]),
        "kappa_low": cohen_kappa(measured > 1.0, truth > 1.0),
        "kappa_high": cohen_kappa(measured > 1.75, truth > 1.75),
        "grey": mean(grey / true_grey),
        "grey_ccc": ccc(grey, true_grey),
    }
