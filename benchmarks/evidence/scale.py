"""The scale as written: is the mean of a map 1 in the true normal-appearing white matter?"""

from __future__ import annotations

import numpy as np

from benchmarks.evidence.methods import Scene, Setup, read_scene
from benchmarks.evidence.run import Figure, Result, Run, Table, by_method
from benchmarks.evidence.subjects import drawn, redrawn, seed_of, slab
from perfmap.phantom.case import CaseParameters
from perfmap.phantom.drawing import DrawOptions, options_of

TITLE = "Scale as written"
FIGURES = (
    Figure("median", "distance of the mean in true white matter from 1, median, %", ".1f", most=3.0),
    Figure("p95", "the same, 95th percentile, %", ".1f", most=10.0, aim=" or WARN"),
    Figure("silent", "subjects off by more than 10 % without a warning", ".0f", most=0),
    Figure("warned", "subjects with a warning", ".0f"),
)
INTRO = """The file says nrCBV: its mean in the true normal-appearing white matter must be 1. Healthy subjects,
lesions of the tissue table, glioblastomas with wide oedema, slabs tilted by 20°, and slabs through the posterior
fossa. Conventional maps are scaled by the same estimate of white matter and state no warning."""
SCENES = ("no lesion", "lesion", "large oedema", "tilted slab", "posterior fossa")
_OEDEMA = DrawOptions(with_skull=False, n_lesions=1, lesion_kinds=("glioblastoma",), lesion_radius=24.0)


def measure(run: Run) -> Result:
    """Read the mean in true white matter of every scene."""
    jobs = [(scene, number) for scene in SCENES for number in range(run.few(8, 1))]
    read = run.each(_level, jobs, TITLE)

    def figures(method: str, scene: str | None = None) -> dict[str, float] | None:
        seen = [
            levels[method]
            for (name, _), levels in zip(jobs, read, strict=True)
            if method in levels and scene in (None, name)
        ]
        if not seen:
            return None
        error = np.array([100 * abs(level - 1) for level, _ in seen])
        warned = np.array([warning for _, warning in seen])
        return {
            "median": float(np.median(error)),
            "p95": float(np.percentile(error, 95)),
            "silent": float(np.sum((error > 10) & ~warned)),
            "warned": float(np.sum(warned)),
        }

    rows = {}
    for scene in SCENES:
        found = by_method(run.methods, lambda method, scene=scene: figures(method, scene))
        rows[f"{scene}, median"] = {m: f["median"] for m, f in found.items()}
        rows[f"{scene}, largest of {run.few(8, 1)}"] = {
            m: max(
                100 * abs(lv[m][0] - 1)
                for (name, _), lv in zip(jobs, read, strict=True)
                if name == scene and m in lv
            )
            for m in found
        }
    refused = sum(not levels for levels in read)
    notes = [f"{len(jobs)} subjects, {refused} of them refused by every method."]
    return Result(by_method(run.methods, figures), [Table("By scene, %", rows, ".1f")], notes)


def _level(job: tuple[str, int], setup: Setup) -> dict[str, tuple[float, bool]]:
    scene, number = job
    reading = read_scene(Scene(scene_case(scene, number)), setup)
    nawm = reading.truth["nawm"]
    return {
        method: (float(array[nawm].mean()), reading.warned.get(method, False))
        for method, array in reading.maps.items()
    }


def scene_case(scene: str, number: int) -> CaseParameters:
    """Record of one subject of a scene."""
    place = 100 * SCENES.index(scene) + number
    regime = "no-lesion" if scene == "no lesion" else "plain"
    case = drawn("scale", place, regime=regime, n_slices=8)
    if scene in ("no lesion", "lesion"):
        return case
    options = options_of("plain")
    geometry = case.geometry
    if scene == "tilted slab":
        geometry = slab(n_slices=8, tilt=20.0 if number % 2 else -20.0)
    elif scene == "posterior fossa":
        geometry = slab(n_slices=8, height=-28.0)
    else:
        options = _OEDEMA
    case = redrawn(case.model_copy(update={"geometry": geometry}), seed_of("scale", place), options)
    if scene == "large oedema":
        lesions = tuple(lesion.model_copy(update={"reach": 22.0}) for lesion in case.subject.lesions)
        case = case.model_copy(update={"subject": case.subject.model_copy(update={"lesions": lesions})})
    return case
