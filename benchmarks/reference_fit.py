"""What each way of integrating a curve makes of lesions: the conventional maps and the fits of the reference curve.

    python benchmarks/reference_fit.py --subjects 40

Subjects of the regime `linearity` (not those of the evidence), maps divided by their mean in the true white matter.
Prints the mean and the coefficient of variation of measured over true nrCBV, by kind of lesion and whether it leaks.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.evidence.linearity import INFARCT, RANGE, TIGHT
from benchmarks.evidence.methods import Reading
from benchmarks.evidence.regions import Region, lesion_regions
from benchmarks.evidence.subjects import purity
from perfmap.engine.train_config import default_inputs
from perfmap.phantom.case import draw_case, series_of, simulate_case
from perfmap.phantom.subject import build_subject
from perfmap.physics.bolus import log_ratio
from perfmap.preprocess.features import channel_maps, feature_maps
from perfmap.preprocess.pipeline import prepare_series

FIRST_SEED = 640_000
SHOWN = ("first_pass", "full", "bsw", "fit_tight", "fit_middle", "fit_leaky")


def regions_of(seed: int) -> list[Region]:
    """Lesion compartments of one subject, read by every map."""
    case = draw_case(seed, regime="linearity", geometry="native", n_slices=6)
    simulated = simulate_case(case)
    prepared = prepare_series(series_of(simulated), default_inputs("voxel-unet"))
    mask = prepared.mask
    channels = feature_maps(
        log_ratio(prepared.series.signal[mask], prepared.bolus),
        prepared.baseline[mask],
        prepared.bolus,
        prepared.leakage_reference,
        time_step=prepared.series.time_step,
        scale=prepared.scale,
        brightness=prepared.brightness,
        functionals=prepared.functionals,
    )
    truth = simulated.truth
    truth = truth | {
        "purity": purity(build_subject(case.subject, case.geometry)),
        "nawm": truth["nawm"].astype(bool) & mask,
    }
    reading = Reading(truth, simulated.affine, mask)
    for name, values in zip(channel_maps(prepared.inputs), channels.T, strict=True):
        if name in SHOWN:
            reading.maps[name] = np.zeros(mask.shape)
            reading.maps[name][mask] = values
    return [region for region in lesion_regions(reading) if RANGE[0] <= region.truth <= RANGE[1]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--subjects", type=int, default=40)
    options = parser.parse_args()
    regions = [r for number in range(options.subjects) for r in regions_of(FIRST_SEED + number)]
    groups = {
        "infarcts": [r for r in regions if r.kind in INFARCT],
        "others without leakage": [r for r in regions if r.kind not in INFARCT and r.ktrans < TIGHT],
        "with leakage": [r for r in regions if r.ktrans >= TIGHT],
    }
    print("| | " + " | ".join(f"{title} ({len(found)})" for title, found in groups.items()) + " |")
    print("|---" * (len(groups) + 1) + "|")
    for name in SHOWN:
        cells = []
        for found in groups.values():
            ratio = np.array([region.alike[name] / region.truth for region in found])
            cells.append(f"{ratio.mean():.2f} ± {ratio.std(ddof=1):.2f}")
        print(f"| `{name}` | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
