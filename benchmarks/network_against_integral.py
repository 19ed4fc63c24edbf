"""A network against the plain first-pass integral, on simulated subjects that no training ever saw.

Both read the same series and use the same brain mask and bolus window. Scores follow `perfmap score`. Two ways
to set the scale: *as written*, each by its own means (the integral: its automatic white-matter estimate), and
*normalised alike*, each map divided by its own mean in the true normal-appearing white matter.

    python benchmarks/network_against_integral.py --model unet-gru --subjects 20
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from perfmap.engine.dataset import TEST
from perfmap.engine.predict import PredictConfig, plain_nrcbv, predict
from perfmap.engine.score import score_case
from perfmap.errors import InputError
from perfmap.models import DEFAULT_MODEL
from perfmap.models.checkpoint import find_checkpoint, load_checkpoint
from perfmap.phantom.case import draw_case, series_of, simulate_case

COLUMNS = ("nrmse_tissue", "nrmse_rms", "psnr", "ssim_mask", "ssim")


def simulate(seed: int, index: int, regime: str, n_slices: int):
    """One test subject: its series and its truth."""
    case = draw_case(
        np.random.default_rng([seed, TEST, index]), regime=regime, geometry="stack", n_slices=n_slices
    )
    simulated = simulate_case(case)
    return series_of(simulated), simulated.truth


def main() -> None:
    """Print one table a regime."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--subjects", type=int, default=20)
    parser.add_argument("--slices", type=int, default=6)
    parser.add_argument("--seed", type=int, default=20260)
    parser.add_argument("--regimes", nargs="+", default=["training"])
    parser.add_argument("--motion-correction", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    checkpoint = load_checkpoint(find_checkpoint(options.model))
    card = checkpoint.card
    print(f"model {card.name} ({card.parameters / 1e6:.1f} M parameters), sha256 {card.sha256[:12]}")
    for regime in options.regimes:
        began = time.monotonic()
        rows: dict[str, list[dict[str, float]]] = {}
        n_slices = n_refused = 0
        with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
            jobs = [
                pool.submit(simulate, options.seed, i, regime, options.slices)
                for i in range(options.subjects)
            ]
            for job in jobs:
                series, truth = job.result()
                try:
                    prediction = predict(
                        series,
                        checkpoint,
                        PredictConfig(device="cpu", motion_correction=options.motion_correction),
                        threads=2,
                    )
                    plain = plain_nrcbv(prediction.prepared).array
                except InputError:
                    n_refused += 1
                    continue
                prepared = prediction.prepared
                n_slices += prepared.n_slices
                nawm = truth["nawm"].astype(bool) & prepared.mask
                network = prediction.maps["nrcbv"].array
                integral = prepared.first_pass
                maps = {
                    f"{card.name}, as written": network,
                    "first pass, as written": plain,
                    f"{card.name}, normalised alike": network / network[nawm].mean(),
                    "first pass, normalised alike": integral / integral[nawm].mean(),
                }
                for name, image in maps.items():
                    score = score_case(
                        name,
                        image,
                        truth["nrcbv"],
                        mask=truth["mask"].astype(bool),
                        labels=truth["labels"],
                        data_range=None,
                    )
                    rows.setdefault(name, []).append(score.values)
        print(
            f"\nregime {regime}: {n_slices} slices of {options.subjects - n_refused} subjects, {n_refused} refused, "
            f"{time.monotonic() - began:.0f} s\n"
        )
        print(f"| method | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
        for name, values in rows.items():
            cells = [
                f"{np.nanmean([v[key] for v in values]):.3f} ± {np.nanstd([v[key] for v in values], ddof=1):.3f}"
                for key in COLUMNS
            ]
            print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
