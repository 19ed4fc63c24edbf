"""Draw every regime of the simulator as a PNG: images, true maps and curves, to be looked at.

    python benchmarks/gallery.py [--output gallery] [--regime NAME ...] [--seed 0] [--slices 3] [--no-anatomy]

Every regime shows another head at another height. Three pages more show what no single slice can: `heads`, whole brains
from base to vertex, with and without skull; `vessels`, the arteries and veins of three subjects in projection; `rims`,
glioblastomas whose rim should be no perfect ring.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from perfmap.phantom.anatomy import place
from perfmap.phantom.case import SimulatedCase, draw_case, simulate_case
from perfmap.phantom.geometry import axial_geometry
from perfmap.phantom.priors import LABELS
from perfmap.phantom.regimes import REGIMES
from perfmap.phantom.vessels import vessel_fractions

MAPS = {  # quantity: (title, colour map, window)
    "nrcbv": ("true nrCBV", "inferno", (0.0, 5.0)),
    "cbf": ("true CBF, ml/100 ml/min", "inferno", (0.0, 100.0)),
    "mtt": ("true MTT, s", "viridis", (0.0, 15.0)),
    "delay": ("true delay, s", "coolwarm", (-8.0, 8.0)),
    "ktrans": ("true Ktrans, /min", "magma", (0.0, 0.3)),
    "labels": ("labels", "tab20", (0.0, 19.0)),
}
CURVES = (
    "gm",
    "wm",
    "vessel_artery",
    "vessel_vein",
    "enhancing",
    "oedema",
    "meningioma",
    "infarct_core",
    "penumbra",
)
LEAST_VOXELS = 5


def show(ax: Axes, image: NDArray[np.generic], title: str, **options: object) -> None:
    """One slice in radiological view: the patient's right on the left."""
    ax.imshow(np.asarray(image)[::-1].T, origin="lower", interpolation="nearest", **options)
    ax.set_title(title, fontsize=8)
    ax.set_axis_off()


def widest_slice(simulated: SimulatedCase) -> int:
    """The slice with most lesion, or the middle one of a healthy subject."""
    lesion = (simulated.truth["labels"] >= LABELS["enhancing"]) & (
        simulated.truth["labels"] <= LABELS["penumbra"]
    )
    areas = lesion.sum(axis=(0, 1))
    return int(areas.argmax()) if areas.any() else simulated.signal.shape[2] // 2


def draw_page(simulated: SimulatedCase, path: Path, title: str) -> None:
    """One page of a case: series above, truth in the middle, curves below."""
    k = widest_slice(simulated)
    signal, truth = (
        simulated.signal[:, :, k],
        {name: array[:, :, k] for name, array in simulated.truth.items()},
    )
    brain = truth["mask"]
    mean = signal[brain].mean(axis=0)
    steady = slice(2, 7)
    baseline = np.maximum(signal[..., steady].mean(axis=-1), 1e-6)
    peak = int(median_filter(mean[2:], 3).argmin()) + 2  # a spiked volume is no bolus
    log_ratio = -np.log(np.maximum(signal, 1e-6) / baseline[..., None])
    window = slice(max(peak - 8, 0), peak + 10)
    integral = np.where(brain, log_ratio[..., window].sum(axis=-1), 0.0)
    white = np.median(integral[truth["nawm"]]) if truth["nawm"].any() else np.median(integral[brain])

    figure, axes = plt.subplots(3, 4, figsize=(13, 10.5), constrained_layout=True)
    top = float(np.percentile(baseline[brain], 99.5)) * 1.1
    grey = {"cmap": "gray", "vmin": 0.0, "vmax": top}
    show(axes[0, 0], signal[..., 0], "first volume", **grey)
    show(axes[0, 1], baseline, "baseline", **grey)
    show(axes[0, 2], signal[..., peak], f"volume {peak}, deepest", **grey)
    show(axes[0, 3], integral / white, "first-pass integral / NAWM", cmap="inferno", vmin=0.0, vmax=5.0)
    for ax, (name, (label, colours, (low, high))) in zip(axes[1:].flat, MAPS.items(), strict=False):
        show(ax, truth[name], label, cmap=colours, vmin=low, vmax=high)
    draw_curves(axes[2, 2], simulated, k)
    draw_voxels(axes[2, 3], signal, brain, truth["labels"], simulated.time_step)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def draw_curves(ax: Axes, simulated: SimulatedCase, k: int) -> None:
    """Mean signal of each class over its baseline."""
    time = np.arange(simulated.signal.shape[3]) * simulated.time_step
    for name in CURVES:
        chosen = simulated.truth["labels"][:, :, k] == LABELS[name]
        if chosen.sum() >= LEAST_VOXELS:
            curve = simulated.signal[:, :, k][chosen].mean(axis=0)
            ax.plot(time, curve / curve[2:7].mean(), lw=1, label=name)
    ax.axhline(1.0, color="0.7", lw=0.5)
    ax.set_xlabel("s")
    ax.set_title("mean signal over baseline", fontsize=8)
    ax.legend(fontsize=6)


def draw_voxels(
    ax: Axes, signal: NDArray[np.float32], brain: NDArray[np.bool_], labels: NDArray[np.uint8], step: float
) -> None:
    """Single voxels, as stored."""
    rng = np.random.default_rng(0)
    for name, colour in (("gm", "C0"), ("wm", "C1"), ("vessel_artery", "C2")):
        places = np.argwhere(brain & (labels == LABELS[name]))
        for x, y in places[rng.permutation(len(places))[:3]]:
            ax.plot(np.arange(signal.shape[-1]) * step, signal[x, y], lw=0.7, color=colour)
    ax.set_xlabel("s")
    ax.set_title("single voxels: GM, WM, artery", fontsize=8)


def baseline_of(simulated: SimulatedCase) -> NDArray[np.float32]:
    """Mean of five steady volumes. Shape (x, y, z)."""
    return np.asarray(simulated.signal[..., 2:7].mean(axis=-1))


def draw_heads(path: Path, seed: int) -> None:
    """Whole brains from base to vertex: baseline and true nrCBV, with skull above, stripped below."""
    figure, axes = plt.subplots(4, 8, figsize=(16, 8.6), constrained_layout=True)
    for row, (regime, number) in enumerate((("with-skull", seed), ("field15", seed + 1))):
        simulated = simulate_case(draw_case(number, regime=regime, geometry="native"))
        baseline, nrcbv = baseline_of(simulated), simulated.truth["nrcbv"]
        top = 1.1 * float(np.percentile(baseline[simulated.truth["mask"]], 99.5))
        for column, k in enumerate(np.linspace(1, baseline.shape[2] - 2, 8).round().astype(int)):
            show(
                axes[2 * row, column],
                baseline[:, :, k],
                f"{regime}, slice {k}",
                cmap="gray",
                vmin=0.0,
                vmax=top,
            )
            show(axes[2 * row + 1, column], nrcbv[:, :, k], "true nrCBV", cmap="inferno", vmin=0.0, vmax=5.0)
    figure.savefig(path, dpi=70)
    plt.close(figure)


def draw_vessel_trees(path: Path, seed: int) -> None:
    """Arteries and veins of three subjects, largest blood fraction along each line of sight."""
    grid = axial_geometry((160, 200, 160), (1.0, 1.0, 1.0))
    figure, axes = plt.subplots(3, 4, figsize=(14, 11), constrained_layout=True)
    for row in range(3):
        subject = draw_case(seed + row, regime="no-lesion", geometry="stack", n_slices=1).subject
        arteries, veins = vessel_fractions(subject.vessels, place(subject.shape), grid)
        base = slice(*(round(z - grid.matrix[2, 3]) for z in (-35.0, 5.0)))
        options = {"cmap": "gray", "vmin": 0.0, "vmax": 1.0}
        show(
            axes[row, 0],
            arteries[:, :, base].max(axis=2),
            "arteries from below, base of the brain",
            **options,
        )
        show(axes[row, 1], arteries.max(axis=1), "arteries from the front", **options)
        show(axes[row, 2], arteries.max(axis=0), "arteries from the side", **options)
        show(axes[row, 3], veins.max(axis=0), "veins from the side", **options)
    figure.savefig(path, dpi=70)
    plt.close(figure)


def draw_rims(path: Path, seed: int) -> None:
    """Six glioblastomas: baseline, labels and true nrCBV in the slice that shows most of each."""
    figure, axes = plt.subplots(3, 6, figsize=(15, 8), constrained_layout=True)
    for column in range(6):
        simulated = simulate_case(draw_case(seed + column, regime="upenn-like", geometry="stack", n_slices=3))
        k = widest_slice(simulated)
        image, truth = baseline_of(simulated)[:, :, k], simulated.truth
        options = {"cmap": "gray", "vmin": 0.0, "vmax": 1.1 * float(np.percentile(image, 99.8))}
        show(axes[0, column], image, "baseline", **options)
        show(axes[1, column], truth["labels"][:, :, k], "labels", cmap="tab20", vmin=0.0, vmax=19.0)
        show(axes[2, column], truth["nrcbv"][:, :, k], "true nrCBV", cmap="inferno", vmin=0.0, vmax=6.0)
    figure.savefig(path, dpi=70)
    plt.close(figure)


def main() -> None:
    """Draw the pages asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("gallery"))
    parser.add_argument("--regime", nargs="*", default=list(REGIMES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slices", type=int, default=3)
    parser.add_argument("--no-anatomy", action="store_true", help="only the regimes")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    pages = {"heads": draw_heads, "vessels": draw_vessel_trees, "rims": draw_rims}
    for name, draw in () if arguments.no_anatomy else pages.items():
        draw(arguments.output / f"{name}.png", arguments.seed)
        print(arguments.output / f"{name}.png")
    for number, name in enumerate(arguments.regime):
        simulated = simulate_case(
            draw_case(arguments.seed + number, regime=name, geometry="stack", n_slices=arguments.slices)
        )
        record = simulated.case.acquisition
        title = (
            f"{name}: {REGIMES[name].purpose}\n{record.sequence}, {record.field_strength} T, "
            f"TE {1000 * record.echo_time:.0f} ms, TR {record.repetition_time:.2f} s, {record.flip_angle:.0f}°, "
            f"{record.n_times} volumes, {record.arterial.generator}, {record.residue_family}, "
            f"SNR {record.artefacts.snr:.0f}"
        )
        path = arguments.output / f"{name}.png"
        draw_page(simulated, path, title)
        print(path)


if __name__ == "__main__":
    main()
