"""Cost: time a slice, parameters and multiply-adds of every shipped network."""

from __future__ import annotations

import os
import time
from functools import cache

import numpy as np
import torch

from benchmarks.evidence.methods import checkpoint_of
from benchmarks.evidence.run import Figure, Result, Run
from benchmarks.evidence.subjects import drawn
from perfmap.engine.forward import filled_slices, in_layout, run_network
from perfmap.engine.predict import PredictConfig, first_look, predict
from perfmap.phantom.case import change_case, series_of, simulate_case
from perfmap.preprocess.pipeline import network_slice, prepare_series

TITLE = "Cost"
FIGURES = (
    Figure("slice", "ms a slice of 128 × 128 × 45, prediction alone, two threads", ".1f", most=15.0),
    Figure("whole", "ms a slice with finding bolus, brain and scale", ".1f"),
    Figure("parameters", "parameters, millions", ".2f"),
    Figure("multiply_adds", "multiply-adds a slice, 10⁹", ".2f"),
)
INTRO = """A series of 20 slices of 128 × 128 and 45 volumes in memory. *Prediction alone*: with the brain mask given,
the network and the preparation of its inputs, slice by slice; with the first look at four slices for networks that
look twice (once to find white matter, once in its units). The best of several runs, as other work on the machine
only ever slows them down."""
REPEATS = 5


def measure(run: Run) -> Result:
    """Time every network on one simulated series."""
    case = change_case(drawn("cost", 0, regime="plain", n_slices=20), {"n_times": 45})
    simulated = simulate_case(case)
    series, mask = series_of(simulated), simulated.truth["mask"]
    figures: dict[str, dict[str, float]] = {}
    for name in (*run.networks, *run.ap_models):
        checkpoint = checkpoint_of(name)
        inputs = checkpoint.card.inputs
        config = PredictConfig(device="cpu", motion_correction="off")
        prepared = prepare_series(series, inputs, mask=mask)
        slices = filled_slices(prepared.mask, prepared.axis)
        network = in_layout(checkpoint.network, inputs, torch.device("cpu"))
        looks = [slices] if inputs.features == "curves" else [first_look(slices), slices]
        alone, whole = [], []
        for _ in range(run.setting(REPEATS, 2)):
            began = time.perf_counter()
            read = cache(
                lambda k, prepared=prepared: network_slice(prepared, k)
            )  # each slice is prepared once
            for look in looks:
                run_network(network, prepared, look, device=torch.device("cpu"), threads=2, read=read)
            between = time.perf_counter()
            predict(series, checkpoint, config, threads=2)
            alone.append(between - began)
            whole.append(time.perf_counter() - between)
        figures[name] = {
            "slice": 1000 * min(alone) / len(slices),
            "whole": 1000 * min(whole) / len(slices),
            "parameters": checkpoint.card.parameters / 1e6,
            "multiply_adds": checkpoint.card.multiply_adds / 1e9,
        }
    load = os.getloadavg()[0]
    notes = [
        f"{os.cpu_count()} cores, load {load:.1f} at the end, torch {torch.__version__}, numpy {np.__version__}."
    ]
    return Result(figures, [], notes)
