"""Run the evidence and write its page.

    python -m benchmarks.evidence                       everything; about three quarters of an hour on two idle cores
    python -m benchmarks.evidence --quick               few subjects, to see that it works
    python -m benchmarks.evidence --share 0.5           half of the subjects
    python -m benchmarks.evidence linearity resolution  these groups alone; the page keeps the others' last results

Simulated series and maps are kept below ``runs/evidence/``, named by a hash of what made them: with new weights
only the new network's maps are computed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

from benchmarks.evidence import (
    cost,
    in_vivo,
    leakage,
    limits,
    linearity,
    page,
    painting,
    paper,
    protocols,
    relaxivity,
    rescan,
    resolution,
    scale,
    truth,
    uncertainty,
)
from benchmarks.evidence.methods import CONVENTIONAL, SLOW, Setup, made_from
from benchmarks.evidence.run import Result, Run, open_pool, plain, restored
from benchmarks.evidence.store import Code, present_code
from perfmap.io.sidecar import write_json
from perfmap.models import DEFAULT_MODEL
from perfmap.models.checkpoint import find_checkpoint, read_card, shipped_models

GROUPS: dict[str, ModuleType] = {
    "truth": truth,
    "linearity": linearity,
    "protocols": protocols,
    "scale": scale,
    "painting": painting,
    "resolution": resolution,
    "rescan": rescan,
    "leakage": leakage,
    "relaxivity": relaxivity,
    "uncertainty": uncertainty,
    "paper": paper,
    "in-vivo": in_vivo,
    "cost": cost,
    "limits": limits,
}


REUSED = "Series, conventional maps and maps of unchanged weights come from an earlier state of the code (`--reuse`)."


def main() -> None:
    """Parse the command line, measure, write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"of {' '.join(GROUPS)}; all if none is named"
    )
    parser.add_argument("--quick", action="store_true", help="few subjects")
    parser.add_argument(
        "--share", type=float, default=1.0, metavar="F", help="share of a full run's subjects, e.g. 0.5"
    )
    parser.add_argument("--default", default=DEFAULT_MODEL, help="model that is judged, shipped or a folder")
    parser.add_argument(
        "--models", nargs="*", help="other networks to show; all that are shipped if not given"
    )
    parser.add_argument("--in-vivo", type=Path, help="npz with signal (x, y, z, t) and repetition_time in s")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=Path("runs/evidence"), help="results and kept series")
    parser.add_argument("--no-store", action="store_true", help="keep no series and no maps")
    parser.add_argument(
        "--reuse",
        action="store_true",
        help="take kept series and maps though the code changed since the last run (new weights are computed); the "
        "page says so",
    )
    parser.add_argument("--output", type=Path, default=Path("docs/evidence.md"))
    options = parser.parse_args()
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        parser.error(f"unknown group {', '.join(sorted(unknown))}; wanted some of {' '.join(GROUPS)}")
    if not 0 < options.share <= 1:
        parser.error(f"--share {options.share:g} was not understood, wanted a number above 0 and at most 1")
    if options.quick and options.share < 1:
        parser.error("--quick takes few subjects by itself; leave out --share")
    pool = open_pool(options.workers)
    run = run_of(options, pool)
    for name in options.groups or GROUPS:
        began = time.monotonic()
        result = replace(GROUPS[name].measure(run), quick=run.quick, share=run.share)
        if options.reuse:
            result.notes.append(REUSED)
        write_json(plain(result), run.results / f"{name}.json", overwrite=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if pool is not None:
        pool.shutdown()
    done = [(module, result) for name, module in GROUPS.items() if (result := last_result(run, name))]
    missing = [module for module in GROUPS.values() if module not in [shown for shown, _ in done]]
    options.output.write_text(page.page_of(done, run, missing=missing), encoding="utf-8")
    print(options.output)


def run_of(options: argparse.Namespace, pool: ProcessPoolExecutor | None) -> Run:
    """The run that the options ask for."""
    others = list(shipped_models()) if options.models is None else options.models
    cards = {name: read_card(find_checkpoint(name)) for name in dict.fromkeys([options.default, *others])}
    wanted = {name: card for name, card in cards.items() if card.outputs.quantity == "nrcbv"}
    return Run(
        quick=options.quick,
        share=options.share,
        setup=Setup(
            models=tuple((name, made_from(card)) for name, card in wanted.items()),
            conventional=tuple(m for m in CONVENTIONAL if m not in SLOW or not options.quick),
            store=None if options.no_store else options.folder / "store",
            code=code_of(options),
        ),
        ap_models=tuple(name for name, card in cards.items() if card.outputs.quantity == "ap_rcbv"),
        default=options.default,
        pool=pool,
        in_vivo=options.in_vivo,
        results=options.folder / "results",
    )


def code_of(options: argparse.Namespace) -> Code:
    """Hashes of the code; with ``--reuse`` those of the last run: of networks, weights and card tell them."""
    code, path = present_code(), options.folder / "code.json"
    if options.reuse and path.is_file():
        return Code(**json.loads(path.read_text("utf-8")))
    write_json(asdict(code), path, overwrite=True)
    return code


def last_result(run: Run, name: str) -> Result | None:
    """What a group measured last, if it ever ran."""
    path = run.results / f"{name}.json"
    return restored(json.loads(path.read_text("utf-8"))) if path.is_file() else None


if __name__ == "__main__":
    main()
