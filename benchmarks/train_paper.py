"""Train the paper's three networks on the simulated cohort `paper`, on equal footing.

Same patients, same split, same seed, batch, schedule and loss (the paper's plain squared error) for all; what differs
is the network, the target, the normalisation and the budget:

1. UNet+GRU on ap-rCBV, as in the paper, with `training-max` (the paper's) and with `log-ratio`;
2. ConvLSTM2D and Conv3D on ap-rCBV, with whichever of the two gave UNet+GRU the lower validation error;
3. all three on the true nrCBV, with that normalisation, each from its own ap-rCBV weights, with a third of the budget.

A run ends when its validation loss has not fallen for 15 epochs, or with its budget of wall-clock time; its card says
which and keeps the curve. Stopped, the same command goes on from the last whole epoch. One run takes one core; `--jobs`
are done side by side. `--ship` trains nothing and copies the finished models to `weights/` under short names.

    perfmap simulate cohort/ --cohort paper --seed 0
    python benchmarks/train_paper.py cohort/ -o runs/paper --jobs 2
    python benchmarks/train_paper.py cohort/ -o runs/paper --ship weights/
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from perfmap.models.checkpoint import read_card, write_card

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
    done = folder / "done"  # holds the command that was finished: one with another budget goes on
    before = training.begins_with
    if before and not options.ship and not begins_with_present_weights(options.output, training):
        kept = folder.with_name(f"{folder.name}-{read_card(folder / 'model').sha256[:8]}")
        print(
            f"{before.name} has other weights: {training.name} begins anew, the old run is {kept}", flush=True
        )
        folder.rename(kept)
    hours = CORE_HOURS[training.architecture] * options.share * (TRAINED_ON if before else 1.0)
    command = [sys.executable, "-m", "perfmap", "train", str(options.cohort), *COMMON]
    command += ["--arch", training.architecture, "--target", training.target, "--name", training.name]
    command += ["--normalisation", training.normalisation, "--minutes", f"{60 * hours:g}"]
    command += ["--output", str(folder), "--threads", "1"]
    if before:
        command += ["--start-from", str(options.output / before.name / "model")]
    wanted = " ".join(command)
    if options.ship and not done.exists():
        raise SystemExit(f"{folder} holds no finished run; train it first, without --ship")
    if not options.ship and (not done.exists() or done.read_text("utf-8") != wanted):
        print(wanted, flush=True)
        subprocess.run([*command, *(["--resume"] if (folder / "state.json").exists() else [])], check=True)
        done.write_text(wanted, "utf-8")
    card = read_card(folder / "model")
    said = card.training
    print(f"{training.name}: ended by {said.ended_by} after {said.epochs} epochs, {card.scores}")
    return card.scores["validation_nrmse_tissue"]


def begins_with_present_weights(runs: Path, training: Training) -> bool:
    """Whether a run began with the weights that the one before it has now, as far as it has begun."""
    before, model = training.begins_with, runs / training.name / "model"
    if before is None or not model.exists():
        return True
    start = read_card(model).training.started_from
    return start is not None and start.sha256 == read_card(runs / before.name / "model").sha256


def together(options: argparse.Namespace, trainings: Sequence[Training]) -> list[float]:
    """Several runs, `--jobs` of them at a time."""
    with ThreadPoolExecutor(options.jobs) as pool:
        return list(pool.map(lambda training: train(options, training), trainings))


def ship(options: argparse.Namespace, trainings: Sequence[Training], better: str) -> None:
    """Copy the finished models, with the names that they are to be called by."""
    for training in trainings:
        name, model = training.shipped_as(better), options.output / training.name / "model"
        card, before = read_card(model).model_copy(update={"name": name}), training.begins_with
        if before:
            start = card.training.started_from
            if start is None or not begins_with_present_weights(options.output, training):
                raise SystemExit(
                    f"{model} did not begin with the present weights of {before.name}; train it again"
                )
            start_as = start.model_copy(update={"name": before.shipped_as(better)})
            record = card.training.model_copy(update={"started_from": start_as})
            card = card.model_copy(update={"training": record})
        shutil.copytree(model, options.ship / name, dirs_exist_ok=True)
        write_card(options.ship / name, card)
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
