"""Train the paper's three networks on the simulated cohort `paper`, one after the other, on equal footing.

Same patients, same split, same seed, batch, schedule and loss (the paper's plain squared error) for all; what differs
is the network, the target, the normalisation and the budget:

1. UNet+GRU on ap-rCBV, as in the paper, with `training-max` (the paper's) and with `log-ratio`;
2. ConvLSTM2D and Conv3D on ap-rCBV, with whichever of the two gave UNet+GRU the lower validation error;
3. all three on the true nrCBV, with that normalisation.

A run ends when its validation loss has not fallen for 15 epochs, or with its budget; its card says which and keeps the
curve. Stopped anywhere, the same command goes on from there. The budget counts wall-clock time, and is that of two
processes on two cores:

    perfmap simulate cohort/ --cohort paper --seed 0
    python benchmarks/train_paper.py cohort/ -o runs/paper --processes 2
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

CORE_HOURS = {"unet-gru": 3.0, "conv3d": 3.0, "convlstm": 6.0}
NORMALISATIONS = ("training-max", "log-ratio")
COMMON = ["--plain-mse", "--batch", "8", "--epochs", "1000", "--patience", "15", "--seed", "0"]


def train(
    options: argparse.Namespace, architecture: str, target: str, normalisation: str
) -> dict[str, float]:
    """Begin a run, go on with it, or leave it if it is done; its validation scores."""
    name = f"{architecture}-{target.replace('_', '-')}-{normalisation}"
    folder = options.output / name
    done = folder / "done"
    if not done.exists():
        minutes = CORE_HOURS[architecture] * 60 / options.processes * options.share
        program = [sys.executable, "-m", "perfmap"]
        if options.processes > 1:
            launcher = [
                "-m",
                "torch.distributed.run",
                "--standalone",
                "--nproc-per-node",
                str(options.processes),
            ]
            program = [sys.executable, *launcher, "-m", "perfmap"]
        command = [
            *program,
            "train",
            str(options.cohort),
            "--arch",
            architecture,
            "--target",
            target,
            *COMMON,
        ]
        command += ["--normalisation", normalisation, "--minutes", f"{minutes:g}", "--name", name]
        command += ["--output", str(folder), "--threads", "1"]
        if (folder / "state.json").exists():
            command.append("--resume")
        print(" ".join(command), flush=True)
        subprocess.run(command, check=True)
        done.touch()
    card = json.loads((folder / "model" / "card.json").read_text("utf-8"))
    print(
        f"{name}: ended by {card['training']['ended_by']} after {card['training']['epochs']} epochs, {card['scores']}"
    )
    return dict(card["scores"])


def main() -> None:
    """Train all of them, in order."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cohort", type=Path, help="folder that 'perfmap simulate --cohort paper' wrote")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/paper"))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0, help="share of the budget, for a trial")
    options = parser.parse_args()
    first = {n: train(options, "unet-gru", "ap_rcbv", n) for n in NORMALISATIONS}
    better = min(NORMALISATIONS, key=lambda name: first[name]["validation_nrmse_tissue"])
    print(f"the better normalisation for UNet+GRU is {better}")
    for architecture in ("convlstm", "conv3d"):
        train(options, architecture, "ap_rcbv", better)
    for architecture in ("unet-gru", "convlstm", "conv3d"):
        train(options, architecture, "nrcbv", better)


if __name__ == "__main__":
    main()
