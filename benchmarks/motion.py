"""What motion costs and what registration gives back; how still heads are read; how long it takes.

    python benchmarks/motion.py --subjects 6

First table: tissue error of the first-pass map (scaled by its mean in true white matter) of subjects of the regime
``moving``: the same subject at rest, as it moved, after perfmap's registration, and after resampling by the motion
that was drawn, which is the most that any registration could find. Second table: the largest displacement read in
subjects that lie still, by number of slices: above the threshold they would be registered for nothing.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import ndimage

from perfmap.errors import PerfmapError
from perfmap.phantom import motion as drawn_motion
from perfmap.phantom.case import CaseParameters, change_case, draw_case, series_of, simulate_case
from perfmap.phantom.priors import LABELS
from perfmap.physics.bolus import first_pass_integral, log_ratio
from perfmap.preprocess.brain import find_brain, voxel_size
from perfmap.preprocess.motion import THRESHOLD, correct_motion, estimate_displacement
from perfmap.series import FloatArray, Series

SEED = 880_000
STILL = {"motion.walk": 0.0, "motion.jumps": ()}
WAYS = ("at rest", "as moved", "registered", "true motion")


def tissue_error(series: Series, truth: dict[str, Any]) -> float:
    """NRMSE_rms of the first-pass map in tissue, scaled alike."""
    bolus = find_brain(series).bolus
    found = first_pass_integral(log_ratio(series.signal, bolus), bolus, time_step=series.time_step)
    found = found / found[truth["nawm"]].mean()
    vessels = [LABELS["vessel_artery"], LABELS["vessel_vein"], LABELS["csf"]]
    tissue = truth["mask"] & ~np.isin(truth["labels"], vessels)
    wanted = truth["nrcbv"][tissue]
    return float(np.sqrt(np.mean((found[tissue] - wanted) ** 2) / np.mean(wanted**2)))


def brought_back(signal: FloatArray, record: CaseParameters, edges: tuple[float, float, float]) -> FloatArray:
    """The series resampled by the motion that was drawn, cubic splines."""
    acquisition = record.acquisition
    poses = drawn_motion.poses(acquisition.motion, n_times=signal.shape[3], seed=acquisition.seed)
    zooms, centre = np.array(edges), (np.array(signal.shape[:3]) - 1) / 2
    result = np.empty_like(signal)
    for t, pose in enumerate(poses):
        rotation = drawn_motion.rotation_matrix(pose[3:])
        matrix = rotation / zooms[:, None] * zooms[None, :]
        offset = centre - matrix @ centre + pose[:3] / zooms
        result[..., t] = ndimage.affine_transform(signal[..., t], matrix, offset, order=3, mode="nearest")
    return np.maximum(result, 0)


def moving_subject(number: int) -> dict[str, float]:
    """Errors of one subject of `moving`, seconds of both steps."""
    record = draw_case(SEED + number, regime="moving", geometry="native", n_slices=20)
    rest = simulate_case(change_case(record, STILL))
    moved = simulate_case(record)
    series = series_of(moved)
    edges = voxel_size(series.affine)
    bolus = find_brain(series).bolus
    seen: dict[str, Any] = {"voxel_size": edges, "baseline": bolus.baseline, "spikes": bolus.spikes}
    began = time.perf_counter()
    estimate_displacement(series.signal, **seen)
    looked = time.perf_counter()
    registered, report = correct_motion(series.signal, **seen, mode="on")
    done = time.perf_counter()
    ways = (
        series_of(rest),
        series,
        replace(series, signal=registered),
        replace(series, signal=brought_back(series.signal, record, edges)),
    )
    errors = {
        way: tissue_error(one, moved.truth | {"mask": rest.truth["mask"]})
        for way, one in zip(WAYS, ways, strict=True)
    }
    seconds = {"look, s": looked - began, "registration, s": done - looked}
    return errors | {"found, mm": report.max_displacement if report else 0.0} | seconds


def still_reading(number: int, regime: str, n_slices: int) -> float | None:
    """Largest displacement read where nothing moves, mm; None where no bolus is found."""
    record = change_case(draw_case(SEED + number, regime=regime, geometry="native", n_slices=n_slices), STILL)
    series = series_of(simulate_case(record))
    try:
        bolus = find_brain(series).bolus
    except PerfmapError:
        return None
    return estimate_displacement(
        series.signal, voxel_size=voxel_size(series.affine), baseline=bolus.baseline, spikes=bolus.spikes
    ).max_displacement


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subjects", type=int, default=6)
    parser.add_argument("--still", type=int, default=6, help="still subjects a regime and number of slices")
    parser.add_argument("--regimes", nargs="+", default=["plain", "t1-leak", "stroke", "training"])
    options = parser.parse_args()
    if options.subjects:
        rows = [moving_subject(n) for n in range(options.subjects)]
        print("| subject | " + " | ".join(rows[0]) + " |\n|---|" + "---|" * len(rows[0]))
        for n, row in enumerate(rows):
            print(f"| {n} | " + " | ".join(f"{value:.3g}" for value in row.values()) + " |")
        print("| mean | " + " | ".join(f"{np.mean([r[k] for r in rows]):.3g}" for k in rows[0]) + " |\n")
    if options.still:
        print(f"| regime, slices | median, mm | largest, mm | above {THRESHOLD} mm |\n|---|---|---|---|")
        for regime in options.regimes:
            for n_slices in (3, 6, 12, 20):
                read = [still_reading(n, regime, n_slices) for n in range(options.still)]
                seen = np.array([one for one in read if one is not None])
                above = f"{(seen > THRESHOLD).sum()} of {len(seen)}"
                print(
                    f"| {regime}, {n_slices} | {np.median(seen):.2f} | {seen.max():.2f} | {above} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
