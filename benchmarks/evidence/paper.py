"""The paper's own task: networks that copy CaPTk's ap-rCBV, on a simulated cohort like the paper's."""

from __future__ import annotations

import numpy as np

from benchmarks.evidence.methods import Setup, checkpoint_of
from benchmarks.evidence.run import Figure, Result, Run, mean
from perfmap.engine.cohort import PatientCase
from perfmap.engine.predict import PredictConfig, predict
from perfmap.engine.score import score_case
from perfmap.errors import PerfmapError
from perfmap.phantom.case import series_of
from perfmap.phantom.cohort import PAPER_PARTS

TITLE = "The paper's cohort and target (ap-rCBV)"
FIGURES = (
    Figure("psnr", "PSNR over the slice, dB", ".1f", least=36.4),
    Figure("ssim", "SSIM over the slice", ".3f", least=0.973),
    Figure("nrmse", "NRMSE_range over the slice", ".4f", most=0.015),
)
INTRO = """Patients of a simulated cohort like the paper's (7 slices, 45 volumes; [simulator.md](simulator.md)) of
another seed than any training's; the target is CaPTk's ap-rCBV of the same noisy series, as in the paper. The
targets are the paper's figures for UNet+GRU on UPENN-GBM, which was not available here: another data set, so an
orientation. Its ranking there: UNet+GRU, ConvLSTM2D, Conv3D."""
SEED = 91
"""Seed of this cohort; networks are trained on others."""
FIRST_TEST = PAPER_PARTS["train"] + PAPER_PARTS["validation"]


def measure(run: Run) -> Result:
    """Predict ap-rCBV of unseen patients with every shipped network that gives it."""
    if not run.ap_models:
        return Result({}, [], ["Not shipped: no network with ap-rCBV as its target."])
    jobs = [(FIRST_TEST + i, run.ap_models) for i in range(run.few(20, 3))]
    read = [found for found in run.each(_scores, jobs, TITLE) if found]
    figures = {
        name: {f.key: mean([found[name][f.key] for found in read if name in found]) for f in FIGURES}
        for name in run.ap_models
    }
    shipped = ", ".join(f"`{name}`" for name in run.ap_models)
    return Result(figures, [], [f"{len(read)} patients of seven slices; networks shipped: {shipped}."])


def _scores(job: tuple[int, tuple[str, ...]], setup: Setup) -> dict[str, dict[str, float]]:
    number, names = job
    patient = PatientCase(f"patient-{number:04d}", SEED, number)
    try:
        simulated = patient.simulate(patient.parameters())
    except PerfmapError:
        return {}
    truth = simulated.truth
    found: dict[str, dict[str, float]] = {}
    for name in names:
        checkpoint = checkpoint_of(name)
        config = PredictConfig(device="cpu", motion_correction="off")
        prediction = predict(series_of(simulated), checkpoint, config, mask=truth["mask"])
        array = np.asarray(prediction.maps[checkpoint.card.outputs.quantity].array)
        wanted = np.where(truth["mask"], truth["ap_rcbv"], 0)
        scores = score_case(name, array, wanted, mask=truth["mask"], labels=None, data_range=None).values
        found[name] = {
            "psnr": scores["psnr_slice"],
            "ssim": scores["ssim"],
            "nrmse": scores["nrmse_range_slice"],
        }
    return found
