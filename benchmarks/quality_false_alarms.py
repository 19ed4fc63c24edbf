"""How often the quality gate speaks up on series that deserve no word, and stays silent on bad maps.

    python benchmarks/quality_false_alarms.py --draws 40

Series are drawn as the training draws them, and from a plain regime. The error of each map is nrmse_tissue against the
truth; "good" is one below 1.25 times the median error of its regime, "bad" one above twice. A false alarm is a WARN or
a FAIL on a good map, a miss a PASS on a bad one. Series that are refused are counted apart.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from perfmap.engine.predict import PredictConfig, predict
from perfmap.engine.quality import assess
from perfmap.engine.score import score_case
from perfmap.errors import InputError
from perfmap.models import DEFAULT_MODEL
from perfmap.models.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from perfmap.phantom.case import draw_case, series_of, simulate_case

SEED = 87_000  # far from the seeds of training


def judged(checkpoint: Checkpoint, regime: str, seed: int, slices: int) -> tuple[str, float] | None:
    """Verdict of the gate with its reasons, and the error of the map; None where the series is refused."""
    simulated = simulate_case(draw_case(seed, regime=regime, n_slices=slices))
    try:
        prediction = predict(series_of(simulated), checkpoint, PredictConfig(device="cpu"))
    except InputError:
        return None
    truth = simulated.truth
    mask = truth["mask"].astype(bool) & prediction.prepared.mask
    image = prediction.maps["nrcbv"].array
    score = score_case("x", image, truth["nrcbv"], mask=mask, labels=truth["labels"], data_range=None)
    return assess(prediction, checkpoint.card).summary, score.values["nrmse_tissue"]


def main() -> None:
    """Print a line a regime, and what was named how often."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--regimes", nargs="+", default=["plain", "training"])
    options = parser.parse_args()
    checkpoint = load_checkpoint(find_checkpoint(options.model))
    for regime in options.regimes:
        found = [judged(checkpoint, regime, SEED + i, options.slices) for i in range(options.draws)]
        seen = [one for one in found if one is not None]
        middle = float(np.median([error for _, error in seen]))
        good = [verdict for verdict, error in seen if error < 1.25 * middle]
        bad = [verdict for verdict, error in seen if error > 2 * middle]
        verdicts = Counter(verdict.split()[0] for verdict, _ in seen)
        named = Counter(name for verdict in good for name in verdict.split()[1:])
        alarms = Counter(verdict.split()[0] for verdict in good)
        print(
            f"{regime}: {len(found)} draws, {len(found) - len(seen)} refused; {dict(verdicts)}; median error "
            f"{middle:.3f}; good {len(good)}, of these WARN {alarms['WARN']}, FAIL {alarms['FAIL']}; bad {len(bad)}, "
            f"of these PASS {sum(verdict.startswith('PASS') for verdict in bad)}"
        )
        print(f"  named on good maps: {dict(named.most_common())}", flush=True)


if __name__ == "__main__":
    main()
