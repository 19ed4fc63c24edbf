"""What limits a map: its error by kind of voxel, and with one thing changed at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.evidence.methods import Reading, Scene, Setup, read_scene
from benchmarks.evidence.run import Result, Run, Table
from benchmarks.evidence.subjects import drawn, shares, without_leakage, without_noise, without_vessels
from perfmap.phantom.case import CaseParameters, change_case
from perfmap.phantom.priors import LABELS, LESION_CLASSES, VESSEL_CLASSES
from perfmap.phantom.subject import build_subject

TITLE = "What limits the maps"
FIGURES = ()
INTRO = """Subjects of the regime `plain`, maps scaled alike. Tissue is the brain without CSF and without voxels of
more than 8 % blood; voxels of 2 to 8 % blood belong to it, as in `nrmse_tissue`. First by kind of voxel (*bias* and
*spread*: mean and SD of the error over the mean truth), then with one thing changed at a time."""


def _bare(case: CaseParameters) -> CaseParameters:
    return without_vessels(without_leakage(without_noise(case)))


FACTORS: dict[str, Callable[[CaseParameters], CaseParameters]] = {
    "as it is": lambda case: case,
    "no noise": without_noise,
    "no leakage": without_leakage,
    "no vessels": without_vessels,
    "no water exchange (κ_ex 0)": lambda case: change_case(case, {"kappa_ex": 0.0}),
    "no B1 error": lambda case: change_case(case, {"b1_spread": 0.0}),
    "no noise, leakage, vessels": _bare,
    "nor water exchange": lambda case: change_case(_bare(case), {"kappa_ex": 0.0}),
    "SNR 20": lambda case: change_case(case, {"artefacts.snr": 20.0}),
    "moving, registered": lambda case: change_case(
        case, {"motion.walk": 0.2, "motion.jumps": ((0.3, 2.0), (0.7, 3.0))}
    ),
}
Sums = dict[str, dict[str, np.ndarray]]
"""By kind of voxel and method: number of voxels, and sums of truth, truth², error, error²."""


def measure(run: Run) -> Result:
    """Read every subject under every change."""
    jobs = [(number, factor) for factor in FACTORS for number in range(run.few(3, 1))]
    read = dict(zip(jobs, run.each(_sums, jobs, TITLE), strict=True))
    pooled = {factor: _pooled([found for (_, f), found in read.items() if f == factor]) for factor in FACTORS}
    usual = pooled["as it is"]
    kinds = [kind for kind, by_method in usual.items() if by_method]
    tables = [
        Table("Bias by kind of voxel, %", {_named(k, usual): _map(usual[k], _bias) for k in kinds}, "+.1f"),
        Table(
            "Spread by kind of voxel, %", {_named(k, usual): _map(usual[k], _spread) for k in kinds}, ".1f"
        ),
        Table("Share of the squared error in tissue, %", _portions(usual, kinds), ".1f"),
    ]
    for title, left_out in (
        ("NRMSE of tissue with one thing changed", ("vessel > ",)),
        ("The same without any voxel that holds a vessel", ("vessel",)),
    ):
        rows = {factor: _errors(by_kind, left_out) for factor, by_kind in pooled.items()}
        tables.append(Table(title, rows, ".3f"))
    return Result({}, tables, [f"{run.few(3, 1)} subjects, 8 slices each."])


def _sums(job: tuple[int, str], setup: Setup) -> Sums:
    number, factor = job
    case = FACTORS[factor](drawn("limits", number, regime="plain", n_slices=8))
    reading = read_scene(Scene(case), setup)
    wanted = reading.truth["nrcbv"].astype(float)
    found: Sums = {}
    for kind, where in kinds_of(case, reading).items():
        truth = wanted[where]
        found[kind] = {}
        for method in reading.maps:
            error = reading.alike(method)[where] - truth
            sums = [truth.size, truth.sum(), (truth**2).sum(), error.sum(), (error**2).sum()]
            found[kind][method] = np.array(sums)
    return found


def kinds_of(case: CaseParameters, reading: Reading) -> dict[str, np.ndarray]:
    """Masks of the voxels by what they hold; every brain voxel but CSF is in exactly one."""
    share = shares(build_subject(case.subject, case.geometry))
    vessel = np.sum([share[name] for name in VESSEL_CLASSES], axis=0)
    lesion = np.sum([share[name] for name in LESION_CLASSES], axis=0)
    labels = reading.truth["labels"]
    tests: dict[str, np.ndarray] = {
        "vessel > 30 %": vessel > 0.30,
        "vessel > 8 to 30 %": vessel > 0.08,
        "vessel 4 to 8 %": vessel > 0.04,
        "vessel 2 to 4 %": vessel > 0,
        "lesion, edge": (lesion > 0.1) & (lesion <= 0.9),
        **{f"lesion, {name}": (lesion > 0.9) & (labels == LABELS[name]) for name in LESION_CLASSES},
        "CSF > 10 %": share["csf"] > 0.10,
        "WM > 90 %": share["wm"] > 0.9,
        "GM > 90 %": share["gm"] > 0.9,
        "deep GM > 90 %": share["deep_gm"] > 0.9,
        "GM with WM": np.ones_like(reading.mask),
    }
    rest = reading.truth["mask"] & (labels != LABELS["csf"])
    kinds: dict[str, np.ndarray] = {}
    for name, test in tests.items():
        kinds[name] = rest & test
        rest = rest & ~test
    return kinds


def _pooled(parts: list[Sums]) -> Sums:
    pooled: Sums = {}
    for part in parts:
        for kind, by_method in part.items():
            for method, sums in by_method.items():
                place = pooled.setdefault(kind, {})
                place[method] = place.get(method, np.zeros(5)) + sums
    return {kind: found for kind, found in pooled.items() if all(sums[0] > 0 for sums in found.values())}


def _named(kind: str, sums: Sums) -> str:
    tissue = sum(next(iter(s.values()))[0] for k, s in sums.items() if not k.startswith("vessel > "))
    n, total = next(iter(sums[kind].values()))[:2]
    return f"{kind} ({100 * n / tissue:.1f} % of tissue, truth {total / n:.2f})"


def _map(by_method: dict[str, np.ndarray], of: Callable[[np.ndarray], float]) -> dict[str, float]:
    return {method: of(sums) for method, sums in by_method.items()}


def _bias(sums: np.ndarray) -> float:
    return 100 * float(sums[3] / sums[1])


def _spread(sums: np.ndarray) -> float:
    n, total, _, error, square = sums
    return 100 * float(np.sqrt(max(square / n - (error / n) ** 2, 0)) / (total / n))


def _portions(sums: Sums, kinds: list[str]) -> dict[str, dict[str, float]]:
    tissue = [kind for kind in kinds if not kind.startswith("vessel > ")]
    methods = sums[tissue[0]]
    whole = {m: sum(sums[kind][m][4] for kind in tissue) for m in methods}
    return {kind: {m: 100 * float(sums[kind][m][4] / whole[m]) for m in methods} for kind in tissue}


def _errors(sums: Sums, left_out: tuple[str, ...]) -> dict[str, float]:
    kept = [found for kind, found in sums.items() if not kind.startswith(left_out)]
    return {m: float(np.sqrt(sum(s[m][4] for s in kept) / sum(s[m][2] for s in kept))) for m in kept[0]}
