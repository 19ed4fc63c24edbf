"""Kill a batch at random moments, many times: no half file, no wrong map, and the next run completes the rest.

    python benchmarks/kill9.py --trials 100

The batch runs in a forked child, so that a moment is one of the batch's own work and not of starting Python.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from perfmap.cli import run
from perfmap.engine import batch  # noqa: F401  (loaded before the fork)
from perfmap.io.files import PARTIAL_FOLDER
from tests.studies import hashes, save_small_model, write_study

torch.set_num_threads(1)  # threads do not survive a fork


def predict(studies: Path, output: Path, model: Path) -> int:
    """Start a batch in a child process; give its id."""
    child = os.fork()
    if child == 0:
        try:
            code = run(
                [
                    "predict",
                    str(studies),
                    "-o",
                    str(output),
                    "--model",
                    str(model),
                    "--threads",
                    "2",
                    "--quiet",
                ]
            )
        except BaseException:
            code = 99
        os._exit(code)
    return child


def wait(child: int) -> int:
    """Exit code of a child."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def trials(n: int, *, cases: int, seed: int) -> dict[str, int]:
    """Run the trials.

    Returns
    -------
    dict
        Trials, kills that met a running batch, wrong maps, half files, maps lost, and reruns that did not complete.
    """
    rng = random.Random(seed)
    found = dict.fromkeys(
        (
            "trials",
            "killed",
            "finished_when_killed",
            "half_files",
            "wrong_maps",
            "maps_lost",
            "reruns_incomplete",
        ),
        0,
    )
    with tempfile.TemporaryDirectory(prefix="perfmap-kill9-") as name:
        place = Path(name)
        model = save_small_model(place / "small")
        for number in range(cases):
            write_study(place / "in" / f"p{number}.nii.gz", seed=number)
        began = time.monotonic()
        if wait(predict(place / "in", place / "whole", model)) != 0:
            raise SystemExit("the undisturbed run failed")
        length = time.monotonic() - began
        wanted = hashes(place / "whole")
        for _ in range(n):
            found["trials"] += 1
            output = place / "out"
            child = predict(place / "in", output, model)
            time.sleep(rng.uniform(0, length))
            os.kill(child, signal.SIGKILL)
            found["killed"] += wait(child) == -signal.SIGKILL
            there = {key: value for key, value in hashes(output).items() if PARTIAL_FOLDER not in key}
            found["finished_when_killed"] += len(there)
            found["wrong_maps"] += sum(wanted.get(key) != value for key, value in there.items())
            found["half_files"] += sum(path.stat().st_size == 0 for path in output.rglob("*.json"))
            if wait(predict(place / "in", output, model)) != 0:
                found["reruns_incomplete"] += 1
            after = hashes(output)
            found["maps_lost"] += len(wanted.keys() - after.keys())
            found["wrong_maps"] += sum(wanted.get(key) != value for key, value in after.items())
            found["half_files"] += len(list(output.rglob("*.part")))
            shutil.rmtree(output)
    return found


def main() -> None:
    """Print the counts; end with 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = trials(options.trials, cases=options.cases, seed=options.seed)
    print("\n".join(f"{name:24s}{value}" for name, value in found.items()))
    bad = ("half_files", "wrong_maps", "maps_lost", "reruns_incomplete")
    sys.exit(1 if any(found[name] for name in bad) else 0)


if __name__ == "__main__":
    main()
