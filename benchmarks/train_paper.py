"""Train the paper's three networks on the simulated cohort `paper`, on equal footing.

Same patients, same split, same seed, batch, schedule and loss (the paper's plain squared error) for all; what differs
is the network, the target, the normalisation and the budget:

1. UNet+GRU on ap-rCBV, as in the paper, with `training-max` (the paper's) and with `log-ratio`;
2. ConvLSTM2D and Conv3D on ap-rCBV, with whichever of the two gave UNet+GRU the lower validation error;
3. all three on the true nrCBV, with that normalisation, each from its own ap-rCBV weights, with a third of the budget.

A run ends when its validation loss has not fallen for 15 epochs, or with its budget of wall-clock time; its card says
which and keeps the curve. Stopped anywhere, the same command goes on from there. One run takes one core; `--jobs` are
done side by side. Finished models are copied to `weights/` under short names with `--ship`.

    perfmap simulate cohort/ --cohort paper --seed 0
    python benchmarks/train_paper.py cohort/ -o runs/paper --jobs 2
    python benchmarks/train_paper.py cohort/ -o runs/paper --ship weights/
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

CORE_HOURS = {"unet-gru": 3.0, "conv3d": 3.0, "convlstm": 6.0}
TRAINED_ON = 1 / 3
"""Share of these hours for a network that begins with the weights of another."""
NORMALISATIONS = ("training-max", "log-ratio")
COMMON = ["--plain-mse", "--batch", "8", "--epochs", "1000", "--patience", "15", "--seed", "0"]


@dataclass(frozen=True)
class Training:
    """One run: a network, what it is to give, how it reads the series."""

    architecture: str
    target: str
    normalisation: str

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return f"{self.architecture}-{self.target.replace('_', '-')}-{self.normalisation}"

    @property
    def begins_with(self) -> Training | None:
        """The run whose weights this one begins with."""
        return Training(self.architecture, "ap_rcbv", self.normalisation) if self.target == "nrcbv" else None

    def shipped_as(self, better: str) -> str:
        """Short name of the shipped model."""
        short = f"{self.architecture}-{'paper' if self.target == 'nrcbv' else 'ap-rcbv'}"
        return short if self.normalisation == better else f"{short}-{self.normalisation}"


def train(options: argparse.Namespace, training: Training) -> float:
    """Begin a run, go on with it, or leave it if it is done; its validation error."""
    folder = options.output / training.name
    done = folder / "done"
    if not done.exists():
        before = training.begins_with
        hours = CORE_HOURS[training.architecture] * options.share * (TRAINED_ON if before else 1.0)
        command = [sys.executable, "-m", "perfmap", "train", str(options.cohort), *COMMON]
        command += ["--arch", training.architecture, "--target", training.target, "--name", training.name]
        command += ["--normalisation", training.normalisation, "--minutes", f"{60 * hours:g}"]
        command += ["--output", str(folder), "--threads", "1"]
        if before:
            command += ["--start-from", str(options.output / before.name / "model")]
        if (folder / "state.json").exists():
            command.append("--resume")
        print(" ".join(command), flush=True)
        subprocess.run(command, check=True)
        done.touch()
    card = json.loads((folder / "model" / "card.json").read_text("utf-8"))
    said = card["training"]
    print(f"{training.name}: ended by {said['ended_by']} after {said['epochs']} epochs, {card['scores']}")
    return float(card["scores"]["validation_nrmse_tissue"])


def together(options: argparse.Namespace, trainings: Sequence[Training]) -> list[float]:
    """Several runs, `--jobs` of them at a time."""
    with ThreadPoolExecutor(options.jobs) as pool:
        return list(pool.map(lambda training: train(options, training), trainings))


def ship(options: argparse.Namespace, trainings: Sequence[Training], better: str) -> None:
    """Copy the finished models, with the names that they are to be called by."""
    for training in trainings:
        name = training.shipped_as(better)
        shutil.copytree(options.output / training.name / "model", options.ship / name, dirs_exist_ok=True)
        path = options.ship / name / "card.json"
        card = json.loads(path.read_text("utf-8")) | {"name": name}
        if training.begins_with:
            card["training"]["started_from"]["name"] = training.begins_with.shipped_as(better)
        path.write_text(json.dumps(card, indent=2, sort_keys=True) + "\n", "utf-8")
        print(options.ship / name)


def main() -> None:
    """Train all of them, in order."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path, help="folder that 'perfmap simulate --cohort paper' wrote")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/paper"))
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side, one core each")
    parser.add_argument("--share", type=float, default=1.0, help="share of the budget, for a trial")
    parser.add_argument("--ship", type=Path, help="copy the finished models to this folder")
    options = parser.parse_args()
    first = [Training("unet-gru", "ap_rcbv", normalisation) for normalisation in NORMALISATIONS]
    errors = dict(zip(NORMALISATIONS, together(options, first), strict=True))
    better = min(NORMALISATIONS, key=lambda name: errors[name])
    print(f"the better normalisation for UNet+GRU is {better}")
    others = [Training(architecture, "ap_rcbv", better) for architecture in ("convlstm", "conv3d")]
    together(options, others)
    truth = [Training(architecture, "nrcbv", better) for architecture in CORE_HOURS]
    together(options, truth)
    if options.ship:
        ship(options, [*first, *others, *truth], better)


if __name__ == "__main__":
    main()
