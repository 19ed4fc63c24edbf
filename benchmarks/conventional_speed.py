"""How long the conventional maps take: 128 × 128 × 20 × 45, one thread, without reading and motion correction.

    OMP_NUM_THREADS=1 python benchmarks/conventional_speed.py [--repeats 3]

Each method computes every map it can give; least of the repeats. Processor time is that of one core, so two cores are
never slower than that.
"""

from __future__ import annotations

import argparse
import time

from perfmap.engine.conventional import conventional
from perfmap.engine.conventional_config import Method, available_maps, make_config
from perfmap.phantom.case import change_case, draw_case, series_of, simulate_case
from perfmap.preprocess.brain import find_brain
from perfmap.series import Series

METHODS: tuple[Method, ...] = (
    "firstpass",
    "full",
    "gamma",
    "bsw",
    "bidirectional",
    "dual-echo",
    "captk",
    "ssvd",
    "csvd",
    "osvd",
    "tikhonov",
)
SEED = 880_000


def series_at(echo_time: float) -> Series:
    """One native-like case of the regime plain with 45 volumes, at an echo time."""
    drawn = draw_case(SEED, regime="plain", geometry="native")
    case = simulate_case(change_case(drawn, {"n_times": 45, "echo_time": echo_time}))
    return series_of(case)


def main() -> None:
    """Compute, and print one line a method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    first, second = series_at(0.010), series_at(0.030)
    n_brain = int(find_brain(second).mask.sum())
    print(f"{second.signal.shape}, {n_brain} brain voxels\n")
    print("| method | maps | CPU s | wall s |")
    print("|---|---|---|---|")
    for method in METHODS:
        config = make_config(method=method, maps=available_maps(method), motion_correction="off")
        dual = method == "dual-echo"
        took = []
        for _ in range(options.repeats):
            start = time.process_time(), time.perf_counter()
            conventional(
                first if dual else second,
                config,
                aif=None if method == "captk" else "auto",
                second_echo=second if dual else None,
            )
            took.append((time.process_time() - start[0], time.perf_counter() - start[1]))
        cpu, wall = min(took)
        print(f"| `{method}` | {' '.join(config.chosen_maps)} | {cpu:.1f} | {wall:.1f} |", flush=True)


if __name__ == "__main__":
    main()
