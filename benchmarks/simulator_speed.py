"""How fast the simulator is, and whether its memory stays flat.

    OMP_NUM_THREADS=1 python benchmarks/simulator_speed.py [--cases 40] [--slices 7]

Stacks of 128 × 128 with 45 volumes, one process. Processor time does not depend on what else the machine does: slices
a second on two cores are twice the slices a second of processor time, since cases are independent of each other
(`perfmap simulate --jobs 2`). Drawing, building, acquiring and the truth count; writing to disk does not.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from perfmap.phantom.case import change_case, draw_case, simulate_case

PAGE = resource.getpagesize()
N_TIMES = 45


def resident() -> float:
    """Memory in use now, MB (Linux)."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * PAGE / 1e6


def main() -> None:
    """Simulate, and print one line a regime."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--slices", type=int, default=7)
    parser.add_argument("--regimes", nargs="+", default=["plain", "training", "moving", "with-skull"])
    options = parser.parse_args()
    simulate_case(draw_case(0, regime="with-skull", n_slices=2))  # templates are made once a process
    print(
        "| regime | slices | CPU s a slice | slices/s, two cores | wall s a slice | MB after 5 cases, at the end |"
    )
    print("|---|---|---|---|---|---|")
    for regime in options.regimes:
        cpu, wall, early = 0.0, 0.0, 0.0
        for number in range(options.cases):
            start = time.process_time(), time.perf_counter()
            case = draw_case(990_000 + number, regime=regime, geometry="stack", n_slices=options.slices)
            simulate_case(change_case(case, {"n_times": N_TIMES}))
            cpu, wall = cpu + time.process_time() - start[0], wall + time.perf_counter() - start[1]
            if number == 4:
                early = resident()
        slices = options.cases * options.slices
        print(
            f"| {regime} | {slices} | {cpu / slices:.3f} | {2 * slices / cpu:.0f} | {wall / slices:.3f} | "
            f"{early:.0f}, {resident():.0f} |",
            flush=True,
        )
    print(f"\nlargest memory at any time: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")


if __name__ == "__main__":
    main()
