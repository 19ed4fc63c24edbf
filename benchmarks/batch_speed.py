"""Studies a minute: single calls one after the other, a batch, a batch with two workers; time and memory by number.

    python benchmarks/batch_speed.py --studies 40
    python benchmarks/batch_speed.py --studies 10 20 40 80 --modes batch --place studies/

The studies are those of ten simulated patients (128 x 128 x 20 x 45, 16 bit, head with skull), each several times with
other noise. Every mode starts the program as a user would. Peak memory is that of the process and its children, sampled
from /proc four times a second. --single N: only N of the single calls are made, and their time is scaled.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import psutil

from perfmap.io.nifti import write_series
from perfmap.phantom.case import draw_case, series_of, simulate_case

ROOT = Path(__file__).parents[1]
MODES = ("single", "batch", "workers")
PATIENTS = 10


def write_studies(folder: Path, n: int) -> None:
    """Write the studies that are not there yet."""
    for patient in range(min(n, PATIENTS)):
        paths = [folder / f"p{number:03d}.nii.gz" for number in range(patient, n, PATIENTS)]
        if all(path.exists() for path in paths):
            continue
        whole = series_of(simulate_case(draw_case(patient, regime="plain", n_slices=20)))
        for number, path in enumerate(paths):
            noise = np.random.default_rng([patient, number]).normal(0, 1, (*whole.signal.shape[:3], 45))
            signal = np.maximum(whole.signal[..., :45] + noise.astype(np.float32), 0)
            write_series(replace(whole, signal=signal), path, dtype=np.int16, overwrite=True)


class Memory(threading.Thread):
    """Largest sum of resident memory of a process and its children, bytes."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process, self.peak = psutil.Process(pid), 0

    def run(self) -> None:
        """Look until the process is gone."""
        while True:
            try:
                everyone = [self.process, *self.process.children(recursive=True)]
                self.peak = max(self.peak, sum(one.memory_info().rss for one in everyone))
            except psutil.NoSuchProcess:
                return
            time.sleep(0.25)


def timed(commands: list[list[str]]) -> tuple[float, float, float]:
    """Wall time (s), processor time of all of them (s) and peak memory (MB)."""
    began, peak = time.monotonic(), 0
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for command in commands:
        process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL
        )
        memory = Memory(process.pid)
        memory.start()
        if process.wait():
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        peak = max(peak, memory.peak)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, processor, peak / 1e6


def measure(mode: str, studies: Path, output: Path, *, single: int | None) -> tuple[float, float, float]:
    """One mode over all studies: wall time (s), processor time (s), peak memory (MB)."""
    perfmap = [sys.executable, "-m", "perfmap", "predict"]
    if mode == "single":
        paths = sorted(studies.iterdir())
        called = paths[:single]
        commands = [[*perfmap, str(path), "-o", str(output / path.name), "--quiet"] for path in called]
        wall, processor, peak = timed(commands)
        return wall * len(paths) / len(called), processor * len(paths) / len(called), peak
    more = ["--workers", "2"] if mode == "workers" else []
    return timed([[*perfmap, str(studies), "-o", str(output), "--quiet", *more]])


def main() -> None:
    """Print a line a mode and number of studies, and the load of the machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, nargs="+", default=[40])
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES)
    parser.add_argument("--single", type=int, default=None, help="single calls to make; all if not given")
    parser.add_argument("--place", type=Path, default=None, help="where studies stay for the next run")
    parser.add_argument("--only-write", action="store_true", help="write the studies and end")
    options = parser.parse_args()
    print("mode     studies   wall s   per study   studies/min   processor s   peak MB   load")
    with nullcontext(options.place) if options.place else tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for n in options.studies:
            studies = place / f"in-{n}"
            write_studies(studies, n)
            if options.only_write:
                continue
            for mode in options.modes:
                wall, processor, peak = measure(mode, studies, place / "out", single=options.single)
                shutil.rmtree(place / "out")
                print(
                    f"{mode:8s} {n:7d} {wall:8.1f} {wall / n:11.2f} {60 * n / wall:13.1f} {processor:13.1f} "
                    f"{peak:9.0f} {os.getloadavg()[0]:6.1f}",
                    flush=True,
                )
    print(json.dumps({"processors": os.cpu_count()}))


if __name__ == "__main__":
    main()
