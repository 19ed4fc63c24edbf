"""No painting, no hallucination: subjects on which a map that knows anatomy but does not measure is wrong."""

from __future__ import annotations

import numpy as np

from benchmarks.evidence.methods import Reading, Scene, Setup, read_scene
from benchmarks.evidence.regions import lesions_of, tissue_mean
from benchmarks.evidence.run import Figure, Result, Run, by_method, mean
from benchmarks.evidence.subjects import drawn, redrawn, seed_of, sphere, white_places, with_subject
from perfmap.engine.score import score_case
from perfmap.phantom.case import CaseParameters
from perfmap.phantom.drawing import DrawOptions
from perfmap.phantom.tissue import draw_tissue

TITLE = "No painting, no hallucination"
FIGURES = (
    Figure("enhancing", "enhancing lesion with the CBV of white matter: error of its mean, %", ".1f",
           most=15.0),
    Figure("no_bolus", "lesion without bolus: error of its mean, % of white matter", ".1f", most=15.0),
    Figure("swapped", "grey and white CBV swapped: error of their ratio, %", ".1f", most=15.0),
    Figure("unflagged", "readings of the three off by more than 15 % and not flagged, %", ".0f", most=0.0),
    Figure("shuffled", "voxels shuffled: tissue NRMSE over that of BSW", ".2f", most=1.5),
)  # fmt: skip
INTRO = """An enhancing, leaking ball (20 mm) whose CBV is that of white matter; a ball that gets no contrast agent
at all; subjects whose grey matter has the CBV of white matter and the reverse; and subjects whose brain voxels
change places, curves and truth alike, so that no anatomy is left. *Flagged*: the truth lies within two of the map's
own standard deviations, or perfmap warns; a ratio of grey to white is flagged by a warning alone."""
KINDS = ("enhancing", "no_bolus", "swapped", "shuffled")
LIMIT = 0.15


def measure(run: Run) -> Result:
    """Read every kind of subject."""
    n = run.few(8, 2)
    jobs = [(kind, number) for kind in KINDS for number in range(n if kind != "shuffled" else run.few(4, 1))]
    read = run.each(_error, jobs, TITLE)

    def figures(method: str) -> dict[str, float] | None:
        errors: dict[str, list[tuple[float, bool]]] = {kind: [] for kind in KINDS}
        for (kind, _), found in zip(jobs, read, strict=True):
            if method in found:
                errors[kind].append(found[method])
        if not any(errors.values()):
            return None
        three = [pair for kind in KINDS[:3] for pair in errors[kind]]
        values = {kind: 100 * mean([error for error, _ in errors[kind]]) for kind in KINDS[:3]}
        missed = [error > LIMIT and not flagged for error, flagged in three]
        return values | {
            "unflagged": 100 * mean(np.array(missed, dtype=float)),
            "shuffled": mean([error for error, _ in errors["shuffled"]]),
        }

    notes = [
        f"{n} subjects of each of the first three kinds, {run.few(4, 1)} shuffled; as written, shuffled scaled alike."
    ]
    return Result(by_method(run.methods, figures), [], notes)


def _error(job: tuple[str, int], setup: Setup) -> dict[str, tuple[float, bool]]:
    """Relative error of every method on one subject, and whether it was flagged."""
    kind, number = job
    reading = read_scene(Scene(case_of(kind, number), shuffled=kind == "shuffled"), setup)
    if not reading.maps:
        return {}
    truth = reading.truth
    if kind == "shuffled":
        scores = {
            method: score_case(
                method,
                reading.alike(method),
                truth["nrcbv"],
                mask=truth["mask"],
                labels=truth["labels"],
                data_range=None,
            ).values["nrmse_tissue"]
            for method in reading.maps
        }
        return {method: (score / scores["BSW"], False) for method, score in scores.items()}
    if kind == "swapped":
        grey, white = tissue_mean(reading, "gm"), tissue_mean(reading, "wm")
        true = grey.truth / white.truth
        return {
            m: (abs(grey.means[m] / white.means[m] / true - 1), reading.warned.get(m, False))
            for m in reading.maps
        }
    where = np.any(list(lesions_of(reading).values()), axis=0)
    true = float(truth["nrcbv"][where].mean())
    found = {}
    for method, array in reading.maps.items():
        measured = float(array[where].mean())
        error = abs(measured / true - 1) if kind == "enhancing" else abs(measured - true)
        found[method] = (error, _flagged(reading, method, where, measured - true))
    return found


def _flagged(reading: Reading, method: str, where: np.ndarray, difference: float) -> bool:
    inside = method in reading.sds and abs(difference) <= 2 * float(reading.sds[method][where].mean())
    return inside or reading.warned.get(method, False)


def case_of(kind: str, number: int) -> CaseParameters:
    """Record of one subject of a kind."""
    place = 100 * KINDS.index(kind) + number
    seed = seed_of("painting", place)
    if kind == "swapped":
        return redrawn(
            drawn("painting", place, regime="plain", n_slices=6),
            seed,
            DrawOptions(with_skull=False, n_lesions=0, swap_gm_wm=True),
        )
    case = drawn("painting", place, regime="no-lesion", n_slices=6)
    if kind == "shuffled":
        return case
    rng = np.random.default_rng(seed)
    (centre,) = white_places(case, 1, apart=0.0)
    white = case.subject.tissues["wm"]
    name = "enhancing" if kind == "enhancing" else "low_grade"
    tissue = draw_tissue(name, rng, field_strength=case.acquisition.field_strength)
    cbv = white.cbv if kind == "enhancing" else 0.0
    return with_subject(case, lesions=(sphere(name, tissue, centre, diameter=20.0, cbv=cbv),))
