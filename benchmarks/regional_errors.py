"""Errors of voxels and of regions on validation subjects, for the integrals and for networks that correct them.

    python benchmarks/regional_errors.py voxel-unet runs/mine/model --subjects 12 --seed 41

The subjects are those that a training run with that seed is validated on; maps are in units of the true white
matter, so that only what a network does to the series is compared. The regional error is
`perfmap.engine.losses.regional_error`. The second table takes windows of lesions by what is read there, and says how
far above it the truth lies on average, with a standard error between subjects. What says the mean of what is possible,
knowing where lesions are, has 0 in every column; truths above 15 count as 15.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from perfmap.engine.batches import Batch, to_tensors
from perfmap.engine.dataset import VALIDATION, Stack, simulated_stack
from perfmap.engine.losses import FEW_LESIONS, regional_error
from perfmap.engine.train_config import TrainConfig, default_inputs
from perfmap.models.checkpoint import find_checkpoint, load_checkpoint
from perfmap.preprocess.features import channel_maps, context_length

INPUTS = default_inputs("voxel-unet")
CONFIG = TrainConfig(name="errors", architecture="voxel-unet", inputs=INPUTS)
Method = Callable[[Batch], Tensor]
WINDOW, LEAST_SHARE = 8, 0.4
"""Edge of the windows, pixels, and the share of lesion from which one counts."""
READ = (0.2, 0.6, 1.0, 1.5, 2.5, 4.0, 7.0, 15.0)
"""Edges of what is read in a window, nrCBV."""


def integral(name: str) -> Method:
    """A conventional map among the network's inputs."""
    return lambda batch: batch.channels[:, INPUTS.n_times + channel_maps(INPUTS).index(name)]


def network(model: str) -> Method:
    """The map of a checkpoint; one of an earlier contract is given the channels and numbers that it knows."""
    checkpoint = load_checkpoint(find_checkpoint(model))
    inputs = checkpoint.card.inputs
    later = {"reference_fit": inputs.reference_fit, "t1_weighting": inputs.t1_weighting}
    if inputs != INPUTS.model_copy(update=later):
        raise SystemExit(f"{model} reads other inputs than the subjects are made for; give a voxel-unet")
    n, k = inputs.n_times + len(channel_maps(inputs)), context_length(inputs)
    return lambda batch: checkpoint.network(batch.channels[:, :n], batch.context[:, :k])[:, 0]


@torch.inference_mode()
def errors(method: Method, stacks: list[Stack]) -> list[float]:
    """NRMSE of tissue, then the regional errors of lesions, white matter and other tissue, mean of the subjects."""
    squared = reference = 0.0
    regions = []
    for stack in stacks:
        batch = to_tensors(stack, np.arange(len(stack)), CONFIG)
        found, normal, white = method(batch), batch.tissue & ~batch.lesion, batch.white > 0.5
        error = found - batch.target
        squared += float((error[batch.tissue] ** 2).sum())
        reference += float((batch.target[batch.tissue] ** 2).sum())
        few = FEW_LESIONS * len(stack)
        regions.append(
            [
                float(regional_error(found, batch.target, batch.lesion & batch.tissue, least=few)),
                float(regional_error(found, batch.target, normal & white)),
                float(regional_error(found, batch.target, normal & ~white)),
            ]
        )
    return [(squared / reference) ** 0.5, *np.mean(regions, axis=0).tolist()]


@torch.inference_mode()
def lesion_windows(method: Method, stacks: list[Stack]) -> Tensor:
    """Mean of the map, mean of the truth and number of the subject, of windows with enough lesion; shape (n, 3)."""
    rows = []
    for number, stack in enumerate(stacks):
        batch = to_tensors(stack, np.arange(len(stack)), CONFIG)
        lesion = (batch.lesion & batch.tissue).float()
        planes = torch.stack([lesion, lesion * method(batch), lesion * batch.target], dim=1)
        share, read, truth = functional.avg_pool2d(
            planes, WINDOW, ceil_mode=True, divisor_override=WINDOW**2
        ).unbind(1)
        enough = share > LEAST_SHARE
        read, truth = read[enough] / share[enough], truth[enough] / share[enough]
        rows.append(torch.stack([read, truth, torch.full_like(read, number)], dim=1))
    return torch.cat(rows)


def truth_above_reading(windows: Tensor) -> list[str]:
    """Mean of the truth over the mean of what was read, minus 1, by what was read.

    With the standard error of that ratio between subjects: windows of one subject err together.
    """
    cells = []
    for low, high in itertools.pairwise(READ):
        some = windows[(windows[:, 0] >= low) & (windows[:, 0] < high)]
        subjects = sorted(set(some[:, 2].tolist()))
        if len(subjects) < 3:
            cells.append("–")
            continue
        ratio = float(some[:, 1].sum() / some[:, 0].sum())
        rest = some[:, 1] - ratio * some[:, 0]
        sums = torch.stack([rest[some[:, 2] == subject].sum() for subject in subjects])
        error = float((sums**2).sum() * len(subjects) / (len(subjects) - 1)) ** 0.5 / float(some[:, 0].sum())
        cells.append(f"{100 * (ratio - 1):+.0f} ± {100 * error:.0f}".replace("-", "−"))
    return cells


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=["voxel-unet"])
    parser.add_argument("--subjects", type=int, default=12)
    parser.add_argument("--seed", type=int, default=41)
    options = parser.parse_args()
    stacks = [
        simulated_stack(INPUTS, seed=options.seed, part=VALIDATION, index=i, n_slices=6)
        for i in range(options.subjects)
    ]
    integrals = {
        "first pass": "first_pass",
        "BSW": "bsw",
        "fit, tight": "fit_tight",
        "fit, leaky": "fit_leaky",
    }
    methods = {title: integral(name) for title, name in integrals.items()}
    methods |= {name: network(name) for name in options.models}
    print(
        "| | NRMSE of tissue | regional error, lesions | white matter | other tissue |\n|---|---|---|---|---|"
    )
    for name, method in methods.items():
        tissue, lesions, white, other = errors(method, stacks)
        print(f"| {name} | {tissue:.3f} | {lesions:.4f} | {white:.4f} | {other:.4f} |")
    titles = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(READ)]
    print("\n| truth above what was read, % ± SE of subjects | " + " | ".join(titles) + " |")
    print("|---" * (1 + len(titles)) + "|")
    for name in options.models:
        print(f"| {name} | " + " | ".join(truth_above_reading(lesion_windows(methods[name], stacks))) + " |")


if __name__ == "__main__":
    main()
