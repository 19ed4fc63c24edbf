"""How bad a series may become before its map does: every factor of the quality gate by itself, on the simulator.

One factor is turned at a time, everything else of the case stays as it is: by replaying the case with another
acquisition where the simulator knows the factor, else by spoiling the finished series. The error is nrmse_tissue
against the truth, as the map is written. Printed per factor: the gate's own measure (median over the subjects), the
error of the network's map and of the plain first-pass integral over their errors in the unspoilt case (geometric mean
over the subjects), and where each reaches 1.25 and 2 times, by linear interpolation.

    python benchmarks/quality_thresholds.py --subjects 4 --slices 5 --factors snr motion > table.md
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from perfmap.engine.predict import PredictConfig, Prediction, plain_nrcbv, predict
from perfmap.engine.quality import assess
from perfmap.engine.score import score_case
from perfmap.errors import InputError
from perfmap.models import DEFAULT_MODEL
from perfmap.models.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from perfmap.phantom.case import (
    CaseParameters,
    SimulatedCase,
    change_case,
    draw_case,
    series_of,
    simulate_case,
)
from perfmap.physics.bolus import find_bolus

SEED = 613
WARN_AT, FAIL_AT = 1.25, 2.0


@dataclass(frozen=True)
class Factor:
    """Something that goes wrong: its levels from harmless to bad, and how it is done.

    Attributes
    ----------
    measure : str
        Of the gate, that is to see it.
    levels : tuple
        Values; the error at the first one is what all are compared with.
    acquisition : callable or None
        Level to changes of the simulated acquisition.
    spoil : callable or None
        (signal, truth, level, rng) to signal, on the finished series; may change the number of volumes.
    mask : callable or None
        (true mask, level) to the mask that is given.
    options : dict
        Of `PredictConfig`.
    """

    measure: str
    levels: tuple
    acquisition: Callable | None = None
    spoil: Callable | None = None
    mask: Callable | None = None
    options: dict | None = None
    slices: bool = False


def _bolus(signal: np.ndarray, truth: dict) -> tuple:
    curve = signal[truth["mask"].astype(bool)].mean(axis=0)
    return curve, find_bolus(curve, time_step=1.5)


def clip_share(signal, truth, share, rng):
    """Clip so that this share of the brain's baseline stands at the ceiling."""
    if share == 0:
        return signal
    _, bolus = _bolus(signal, truth)
    inside = truth["mask"].astype(bool)
    ceiling = np.quantile(signal[inside][:, bolus.baseline], 1 - share)
    return np.minimum(signal, np.float32(ceiling))


def truncate(signal, truth, seconds, rng):
    """End the series this long after the peak."""
    _, bolus = _bolus(signal, truth)
    return signal[..., : max(bolus.peak + 1 + round(seconds / 1.5), 20)]


def start_late(signal, truth, n_baseline, rng):
    """Leave this many volumes before the arrival."""
    _, bolus = _bolus(signal, truth)
    return signal[..., max(bolus.arrival + 1 - n_baseline, 0) :]


def repeat(signal, truth, n, rng):
    """Repeat volumes of the first pass in place of the ones that are lost."""
    _, bolus = _bolus(signal, truth)
    spoilt = signal.copy()
    places = rng.permutation(np.arange(bolus.arrival + 1, bolus.end))[:n]
    for place in sorted(places):
        spoilt[..., place] = spoilt[..., place - 1]
    return spoilt


def spike(signal, truth, n, rng):
    """Make volumes of the first pass brighter or darker by 20 %."""
    _, bolus = _bolus(signal, truth)
    spoilt = signal.copy()
    places = rng.permutation(np.arange(bolus.arrival + 1, bolus.end))[:n]
    for place in places:
        spoilt[..., place] *= np.float32(1 + 0.2 * rng.choice([-1, 1]))
    return spoilt


def second(signal, truth, share, rng):
    """A smaller injection 25 s after the first one: its curve is the first one's, later and scaled."""
    _, bolus = _bolus(signal, truth)
    baseline = signal[..., bolus.baseline].mean(axis=-1, keepdims=True)
    height = np.clip(-np.log(np.maximum(signal / np.maximum(baseline, 1e-6), 0.01)), 0, None)
    late = np.roll(height, round(25 / 1.5), axis=-1)
    late[..., : round(25 / 1.5) + bolus.arrival] = 0
    return (signal * np.exp(-share * late)).astype(np.float32)


def first(signal, truth, share, rng):
    """A smaller injection before the one that is read: the series begins 40 s earlier, with a bolus in there."""
    _, bolus = _bolus(signal, truth)
    n = round(40 / 1.5)
    steady = signal[..., bolus.baseline]
    before = steady[..., np.arange(n) % steady.shape[-1]]
    longer = np.concatenate([before, signal[..., bolus.n_unsteady :]], axis=-1)
    if share == 0:
        return longer
    baseline = steady.mean(axis=-1, keepdims=True)
    height = np.clip(-np.log(np.maximum(signal / np.maximum(baseline, 1e-6), 0.01)), 0, None)
    part = height[..., bolus.arrival : bolus.arrival + n - 4]
    effect = np.zeros_like(longer)
    effect[..., 4 : 4 + part.shape[-1]] = part[..., : longer.shape[-1] - 4]
    return (longer * np.exp(-share * effect)).astype(np.float32)


def eat_mask(mask, mm):
    """Take a border off the brain (mm below 0), or add one, 2 mm in plane."""
    from scipy import ndimage

    n = round(abs(mm) / 2)
    flat = np.zeros((3, 3, 1), bool)
    flat[:, 1], flat[1] = True, True
    if n == 0:
        return mask
    change = ndimage.binary_erosion if mm < 0 else ndimage.binary_dilation
    return change(mask, flat, iterations=n)


def cut_mask(mask, share):
    """Lose the frontal part of the brain."""
    cut = mask.copy()
    rows = np.flatnonzero(mask.any(axis=(0, 2)))
    cut[:, rows[-1] - round(share * rows.size) + 1 :] = False
    return cut


def _sequence(name):
    if name == "gradient echo":
        return {}
    return {"sequence": "spin-echo", "echo_time": float(name.split()[-1]) / 1000}


FACTORS: dict[str, Factor] = {
    "clipped": Factor("at_ceiling", (0.0, 0.1, 0.3, 0.5, 0.65), spoil=clip_share),
    "truncated": Factor("after_peak", (60.0, 20.0, 12.0, 7.5, 4.5, 1.5, 0.0), spoil=truncate),
    "baseline": Factor("baseline_volumes", (12, 7, 5, 4, 3), spoil=start_late),
    "spiked": Factor("spoilt_in_pass", (0, 1, 3, 6, 9), spoil=spike),
    "repeated": Factor("spoilt_in_pass", (0, 4, 8, 12), spoil=repeat),
    "second-bolus": Factor("later_bolus", (0.0, 0.15, 0.3, 0.5, 0.8), spoil=second),
    "first-bolus": Factor("earlier_bolus", (0.0, 0.15, 0.3, 0.5, 0.8), spoil=first),
    "cut-mask": Factor("brain_misfit", (0.0, 0.15, 0.3, 0.45, 0.6), mask=cut_mask),
    "eroded-mask": Factor("brain_misfit", (0.0, -4.0, -10.0, -16.0, -22.0), mask=eat_mask),
    "dilated-mask": Factor("brain_misfit", (0.0, 4.0, 10.0, 16.0), mask=eat_mask),
    "snr": Factor(
        "baseline_tsnr", (100.0, 30.0, 16.0, 10.0, 7.0, 5.0, 3.5, 2.5), lambda v: {"artefacts.snr": v}
    ),
    "dose": Factor("drop", (1.0, 0.4, 0.2, 0.13, 0.08), lambda v: {"dose": v}),
    "motion": Factor(
        "motion_left",
        (0.0, 1.0, 2.0, 4.0, 7.0),
        lambda v: {"motion.jumps": ((0.32, v),) if v else ()},
        options={"motion_correction": "off"},
    ),
    "motion-corrected": Factor(
        "motion_corrected",
        (0.0, 4.0, 8.0, 14.0, 20.0),
        lambda v: {"motion.jumps": ((0.32, v),) if v else ()},
        options={"motion_correction": "on"},
    ),
    "slices": Factor("white_matter_voxels", (8, 4, 2, 1), slices=True),
    "time-step": Factor(
        "training_distance",
        (1.5, 2.5, 4.0, 7.0),
        lambda v: {"repetition_time": v, "n_times": max(round(90 / v), 20)},
    ),
    "fast": Factor(
        "training_distance", (1.5, 1.0, 0.5), lambda v: {"repetition_time": v, "n_times": round(90 / v)}
    ),
    "short-echo-time": Factor("training_distance", (0.030, 0.020, 0.012, 0.007), lambda v: {"echo_time": v}),
    "long-echo-time": Factor("training_distance", (0.030, 0.050, 0.080, 0.110), lambda v: {"echo_time": v}),
    "overdose": Factor("extinguished", (1.0, 3.0, 6.0), lambda v: {"dose": v}),
    "spin-echo": Factor("drop", ("gradient echo", "spin echo 60", "spin echo 100"), _sequence),
    "field": Factor("training_distance", (3.0, 1.5), lambda v: {"field_strength": v}),
    "unsteady": Factor("unsteady_volumes", (4, 1, 0), lambda v: {"n_dummies": v, "flip_angle": 80.0}),
    "drift": Factor("baseline_drift", (0.0, 0.1, 0.3), lambda v: {"artefacts.drift": (v, 0.0)}),
}


def measure(
    checkpoint: Checkpoint,
    simulated: SimulatedCase,
    factor: Factor,
    level: object,
    rng: np.random.Generator,
) -> tuple[dict[str, float], float, float, str] | None:
    """Measures of the gate, error of the network and of the integral, status; None where the series is refused."""
    truth = simulated.truth
    signal = simulated.signal
    if factor.spoil is not None:
        signal = np.ascontiguousarray(factor.spoil(signal, truth, level, rng), dtype=np.float32)
    series = replace(series_of(simulated), signal=signal)
    inside = truth["mask"].astype(bool)
    mask = factor.mask(inside, level) if factor.mask is not None else None
    try:
        config = PredictConfig(device="cpu", **(factor.options or {}))
        prediction = predict(series, checkpoint, config, mask=mask)
        plain = plain_nrcbv(prediction.prepared).array
    except InputError:
        return None
    report = assess(prediction, checkpoint.card)
    values = {finding.name: finding.value for finding in report.findings if finding.value is not None}
    values |= dict(prediction.measures)
    seen = inside & prediction.prepared.mask if factor.mask is not None else inside
    errors = [_error(image, truth, seen) for image in (prediction.maps["nrcbv"].array, plain)]
    values["scale_error"] = abs(float(np.log(_scale(prediction, truth))))
    return values, errors[0], errors[1], report.summary


def _error(image: np.ndarray, truth: dict, inside: np.ndarray) -> float:
    score = score_case("x", image, truth["nrcbv"], mask=inside, labels=truth["labels"], data_range=None)
    return score.values["nrmse_tissue"]


def _scale(prediction: Prediction, truth: dict) -> float:
    """White-matter level found over the one in the true white matter."""
    nawm = truth["nawm"].astype(bool) & prediction.prepared.mask
    white = prediction.white_matter
    if white is None or not nawm.any():
        return float("nan")
    return white.level / float(prediction.prepared.first_pass[nawm].mean())


def crossing(measures: list[float], ratios: list[float], wanted: float) -> float:
    """Where the ratio first reaches `wanted`, linear between the levels; NaN where it does not."""
    for k in range(1, len(ratios)):
        low, high = ratios[k - 1], ratios[k]
        if low < wanted <= high:
            part = (wanted - low) / (high - low)
            return measures[k - 1] + part * (measures[k] - measures[k - 1])
    return float("nan")


def run(checkpoint: Checkpoint, name: str, cases: list[CaseParameters], plain: list[SimulatedCase]) -> None:
    """Print the table of one factor."""
    factor = FACTORS[name]
    began = time.monotonic()
    print(
        f"\n### {name}\n\n| level | {factor.measure} | network | integral | error | scale error | refused | gate |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    base: list[tuple[float, float]] = []
    rows: list[tuple[float, float, float]] = []
    for position, level in enumerate(factor.levels):
        found = []
        for index, case in enumerate(cases):
            if factor.slices:
                grid = case.geometry
                middle = grid.matrix @ np.array([*(np.array(grid.shape) - 1) / 2, 1])
                from perfmap.phantom.geometry import axial_geometry

                stack = axial_geometry(
                    (grid.shape[0], grid.shape[1], int(level)),
                    grid.voxel_size,
                    centre=tuple(middle[:3]),
                    slice_thickness=grid.slice_thickness,
                )
                simulated = simulate_case(case.model_copy(update={"geometry": stack}))
            elif factor.acquisition is not None:
                changes = factor.acquisition(level)
                changed = change_case(case, changes) if changes else case
                simulated = plain[index] if changed == case else simulate_case(changed)
            else:
                simulated = plain[index]
            found.append(measure(checkpoint, simulated, factor, level, np.random.default_rng([SEED, index])))
        if position == 0:
            base = [(one[1], one[2]) if one else (np.nan, np.nan) for one in found]
        kept = [(one, ref) for one, ref in zip(found, base, strict=True) if one is not None]
        if not kept:
            print(f"| {level} | – | – | – | – | – | {len(cases)} of {len(cases)} | refused |", flush=True)
            continue
        value = float(np.median([one[0].get(factor.measure, np.nan) for one, _ in kept]))
        ratio = [
            float(np.exp(np.nanmean([np.log(one[1 + k] / ref[k]) for one, ref in kept]))) for k in (0, 1)
        ]
        error = float(np.mean([one[1] for one, _ in kept]))
        scale = float(np.nanmean([one[0]["scale_error"] for one, _ in kept]))
        rows.append((value, *ratio))
        gates = "; ".join(sorted({one[3] for one, _ in kept}))
        extra = " ".join(
            f"{key}={np.median([one[0].get(key, np.nan) for one, _ in kept]):.3g}"
            for key in (
                "map_agreement",
                "brain_misfit",
                "white_matter_voxels",
                "white_matter_spread",
                "brain_area",
            )
        )
        print(
            f"| {level} | {value:.4g} | {ratio[0]:.2f} | {ratio[1]:.2f} | {error:.3f} | {scale:.3f} "
            f"| {len(cases) - len(kept)} of {len(cases)} | {gates} | {extra} |",
            flush=True,
        )
    values = [row[0] for row in rows]
    for label, column in (("network", 1), ("integral", 2)):
        ratios = [row[column] for row in rows]
        at = [crossing(values, ratios, wanted) for wanted in (WARN_AT, FAIL_AT)]
        print(f"\n{label}: error × {WARN_AT:g} at {factor.measure} {at[0]:.3g}, × {FAIL_AT:g} at {at[1]:.3g}")
    print(f"({time.monotonic() - began:.0f} s)", flush=True)


def main() -> None:
    """Print one table a factor."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--subjects", type=int, default=4)
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--factors", nargs="+", default=list(FACTORS), choices=list(FACTORS))
    options = parser.parse_args()
    checkpoint = load_checkpoint(find_checkpoint(options.model))
    cases = [
        draw_case(np.random.default_rng([SEED, i]), regime="plain", geometry="stack", n_slices=options.slices)
        for i in range(options.subjects)
    ]
    plain = [simulate_case(case) for case in cases]
    print(f"model {checkpoint.card.name}, {options.subjects} subjects of {options.slices} slices")
    for name in options.factors:
        run(checkpoint, name, cases, plain)


if __name__ == "__main__":
    main()
