"""How well each method finds the brain on simulated heads with skull: Dice against the true mask.

    python benchmarks/brain_masks.py [--cases 3] [--slices 20] [--output docs/brain_masks.md]

Every regime is drawn with skull, scalp, eyes and muscle, whole heads of 128 × 128 × 20 unless `--slices` cuts them. The
methods start from the same baseline and the same bolus, as in `perfmap conventional`. `deepbet` is left out where its
package is not installed (extra ``brain``). `worst` is the worst case.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from perfmap.errors import PerfmapError
from perfmap.phantom.acquisition import draw_acquisition
from perfmap.phantom.case import CaseParameters, make_geometry, series_of, simulate_case
from perfmap.phantom.drawing import draw_subject
from perfmap.phantom.regimes import find_regime, subject_options
from perfmap.preprocess.brain import find_brain
from perfmap.preprocess.mask import METHODS, dice

REGIMES = (
    "plain",
    "noisy",
    "t1-leak",
    "t2s-leak",
    "slow-short",
    "moving",
    "stroke",
    "field15",
    "spin-echo",
    "training",
)
SEED = 660_000
HEAD = """# Brain masks on heads with skull

Made by

    python benchmarks/brain_masks.py --cases {cases} --slices {slices} --regimes {regimes} --output docs/brain_masks.md

Dice of the mask against the true brain; heads a regime: {cases}, with skull, scalp, eyes and muscle around the brain;
mean, and the worst head in brackets. `otsu` is the default of every command; the others are chosen with
`--mask-method`.

"""
TAIL = """
The true brain leaves out every voxel with 5 % or more of bone in it; a threshold at half of the brain's signal takes
voxels up to half bone. That rim is most of what `otsu` takes too much. The true brain also holds the voids above
sinuses and petrous bone, where dropout leaves no signal, so that no mask made from signal can find them.
"""


def head_of(regime: str, number: int, n_slices: int) -> CaseParameters:
    """A case of a regime whose head has a skull, whatever the regime says."""
    acquisition_rng, subject_rng, geometry_rng = np.random.default_rng([SEED, number]).spawn(3)
    acquisition = draw_acquisition(acquisition_rng, fixed=find_regime(regime).acquisition)
    seed = int(subject_rng.integers(2**31))
    geometry = make_geometry(geometry_rng, "native", n_slices=n_slices)
    subject = draw_subject(
        np.random.default_rng(seed),
        options=subject_options(regime).model_copy(update={"with_skull": True}),
        field_strength=acquisition.field_strength,
        geometry=geometry,
    )
    return CaseParameters(
        regime=regime, geometry=geometry, subject=subject, acquisition=acquisition, subject_seed=seed
    )


def scores(regime: str, n_cases: int, n_slices: int) -> dict[str, list[float]]:
    """Dice of every method on the heads of a regime; a head that is refused counts as 0."""
    found: dict[str, list[float]] = {method: [] for method in METHODS}
    for number in range(n_cases):
        case = simulate_case(head_of(regime, number, n_slices))
        series = series_of(case)
        for method in METHODS:
            try:
                mask = find_brain(series, method=method).mask
            except PerfmapError as error:
                if "not installed" not in str(error):
                    print(f"{regime} {number} {method}: {error}", file=sys.stderr)
                    found[method].append(0.0)
                continue
            found[method].append(dice(mask, case.truth["mask"]))
    return found


def main() -> None:
    """Simulate, find, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--regimes", nargs="+", default=list(REGIMES))
    parser.add_argument("--output", type=Path, help="write the table here, else print it")
    options = parser.parse_args()
    lines = ["| regime, with skull | " + " | ".join(f"`{method}`" for method in METHODS) + " |"]
    lines.append("|---|" + "---|" * len(METHODS))
    pooled: dict[str, list[float]] = {method: [] for method in METHODS}
    for regime in options.regimes:
        found = scores(regime, options.cases, options.slices)
        lines.append(f"| {regime} | " + " | ".join(cell(found[method]) for method in METHODS) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
        if regime != "training":
            for method in METHODS:
                pooled[method] += found[method]
    lines.append("| all but training | " + " | ".join(cell(pooled[method]) for method in METHODS) + " |")
    head = HEAD.format(cases=options.cases, slices=options.slices, regimes=" ".join(options.regimes))
    text = head + "\n".join(lines) + "\n" + TAIL
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        print(text)


def cell(values: list[float]) -> str:
    """Mean and worst, or a dash."""
    return f"{np.mean(values):.3f} ({min(values):.3f})" if values else "–"


if __name__ == "__main__":
    main()
