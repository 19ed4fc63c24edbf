"""Seven accelerated nights: a folder that fills while a nightly run goes over it.

    python benchmarks/soak.py --nights 7 --studies 20

Each night brings studies, of which some are whole, some have not arrived in full (they are completed before the next
night), one is broken for good and one is a copy of another under a new name. Nobody intervenes.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from perfmap.engine.batch import run_batch
from perfmap.engine.batch_case import Job
from perfmap.engine.cases import discover
from perfmap.engine.predict import PredictConfig
from tests.studies import hashes, save_small_model, truncate, write_study


def soak(place: Path, *, nights: int, studies: int) -> dict[str, object]:
    """Run the nights.

    Returns
    -------
    dict
        Cases mapped a night, peak memory after each night (MB), and what is wrong at the end: nothing, if all is well.
    """
    inbox, output = place / "in", place / "out"
    job = Job(save_small_model(place / "small"), output, PredictConfig(device="cpu"))
    done_a_night: list[int] = []
    memory: list[float] = []
    mapped: dict[str, int] = {}
    good, late = set(), []
    for night in range(nights):
        for path, content in late:
            path.write_bytes(content)
        late = []
        for number in range(studies):
            name = f"n{night}s{number:02d}"
            path = inbox / f"{name}.nii.gz"
            if number == 1:  # a copy of the night's first study
                path.write_bytes((inbox / f"n{night}s00.nii.gz").read_bytes())
                continue
            write_study(path, seed=1000 * night + number)
            if number == 2:
                truncate(path)
                continue
            good.add(name)
            if number in (3, 4):  # arrives in full tomorrow
                late.append((path, path.read_bytes()))
                truncate(path, 0.7)
        summary = run_batch(discover(inbox), job, lanes=2)
        done = [row.case for row in summary.rows if row.status == "done"]
        for case in done:
            mapped[case] = mapped.get(case, 0) + 1
        done_a_night.append(len(done))
        memory.append(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1))
    for path, content in late:
        path.write_bytes(content)
    last = run_batch(discover(inbox), replace(job))
    for row in last.rows:
        if row.status == "done":
            mapped[row.case] = mapped.get(row.case, 0) + 1
    return {
        "done_a_night": done_a_night,
        "peak_memory_mb": memory,
        "good_studies": len(good),
        "mapped_once": sum(count == 1 for count in mapped.values()),
        "missing": sorted(good - mapped.keys()),
        "mapped_again": sorted(case for case, count in mapped.items() if count > 1),
        "not_wanted": sorted(mapped.keys() - good),
        "maps": len(hashes(output)),
        "failed_at_the_end": last.counts["failed"],
    }


def main() -> None:
    """Print what became of the nights as JSON; end with 1 if a study was lost or made twice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=7)
    parser.add_argument("--studies", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="perfmap-soak-") as place:
        found = soak(Path(place), nights=options.nights, studies=options.studies)
    print(json.dumps(found, indent=2))
    sys.exit(1 if found["missing"] or found["mapped_again"] or found["not_wanted"] else 0)


if __name__ == "__main__":
    main()
