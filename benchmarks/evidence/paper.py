"""The paper's own task: networks that copy CaPTk's ap-rCBV, on a simulated cohort like the paper's."""

from __future__ import annotations

import numpy as np

from benchmarks.evidence.methods import Setup, checkpoint_of
from benchmarks.evidence.run import Figure, Result, Run, mean
from perfmap.engine.cohort import PatientCase
from perfmap.engine.predict import PredictConfig, predict
from perfmap.engine.score import score_case
from perfmap.errors import PerfmapError
from perfmap.models.checkpoint import find_checkpoint, read_card
from perfmap.phantom.case import series_of
from perfmap.phantom.cohort import PAPER_PARTS
from perfmap.physics.captk import SCALE, brightest_level

TITLE = "The paper's cohort and target (ap-rCBV)"
FIGURES = (
    Figure("psnr", "PSNR over the slice, dB", ".1f", least=36.4),
    Figure("ssim", "SSIM over the slice", ".3f", least=0.973),
    Figure("nrmse", "NRMSE_range over the slice", ".4f", most=0.015),
    Figure("of_patient", "the same, each patient's map times its best factor", ".4f"),
    Figure("of_slice", "the same, each slice times its best factor", ".4f"),
)
INTRO = """Patients of a simulated cohort like the paper's (7 slices, 45 volumes; [simulator.md](simulator.md)) of
another seed than any training's; the target is CaPTk's ap-rCBV of the same noisy series, as in the paper. The
targets are the paper's figures for UNet+GRU on UPENN-GBM, which was not available here: another data set, so an
orientation.

CaPTk scales a patient's map so that the 99.9th percentile of all of its voxels is 255. A network that reads one slice
at a time cannot know that number; where its card says so, perfmap brings a network's finished map to the scale that its
own 99.9th percentile says. In the last two rows, without targets, a map is multiplied by the factor that fits the
reference best: one of the patient, and one of each slice, which bounds from above what the scale costs.

*First pass* is the plain first-pass integral under CaPTk's rule. The reference is itself an integral of the same noisy
series, so an integral is close to it by construction: this task asks who copies CaPTk, not who is right."""
JUDGED = "unet-gru-ap-rcbv"
"""The network that the targets are meant for."""
PAPER_RANKING = "UNet+GRU, ConvLSTM2D, Conv3D"
INTEGRAL = "first pass"
NAMES = {"unet-gru": "UNet+GRU", "convlstm": "ConvLSTM2D", "conv3d": "Conv3D"}
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
        for name in (*run.ap_models, INTEGRAL)
    }
    return Result(figures, [], [f"{len(read)} patients of seven slices.", *said_of(figures)])


def said_of(figures: dict[str, dict[str, float]]) -> list[str]:
    """How the three networks rank, those that read the series alike, and how long each was trained."""
    cards = {name: read_card(find_checkpoint(name)) for name in figures if name != INTEGRAL}
    alike = cards[JUDGED].inputs if JUDGED in cards else None
    same = [name for name in cards if cards[name].inputs == alike]
    ranked = sorted(same, key=lambda name: figures[name]["nrmse"])
    order = ", ".join(NAMES[cards[name].architecture] for name in ranked)
    notes = [f"Ranking by NRMSE here: {order}; in the paper: {PAPER_RANKING}."] if len(ranked) > 1 else []
    for name, card in cards.items():
        record = card.training
        notes.append(
            f"`{name}`: {record.seconds / 60:.0f} minutes on one core, each of {record.n_train_slices} slices seen "
            f"{record.steps * record.config['batch'] / record.n_train_slices:.1f} times, ended by {record.ended_by}."
        )
    return notes


def _scores(job: tuple[int, tuple[str, ...]], setup: Setup) -> dict[str, dict[str, float]]:
    number, names = job
    patient = PatientCase(f"patient-{number:04d}", SEED, number)
    try:
        simulated = patient.simulate(patient.parameters())
    except PerfmapError:
        return {}
    truth, series = simulated.truth, series_of(simulated)
    wanted = np.where(truth["mask"], truth["ap_rcbv"], 0)

    def scored(name: str, array: np.ndarray) -> dict[str, float]:
        return score_case(name, array, wanted, mask=truth["mask"], labels=None, data_range=None).values

    found: dict[str, dict[str, float]] = {}
    arrays: dict[str, np.ndarray] = {}
    for name in names:
        checkpoint = checkpoint_of(name)
        config = PredictConfig(device="cpu", motion_correction="off")
        prediction = predict(series, checkpoint, config, mask=truth["mask"])
        arrays[name] = np.asarray(prediction.maps[checkpoint.card.outputs.quantity].array)
    integral = np.where(prediction.prepared.mask, prediction.prepared.first_pass, 0)
    arrays[INTEGRAL] = integral * (SCALE / brightest_level(integral))
    for name, array in arrays.items():
        scores = scored(name, array)
        found[name] = {
            "psnr": scores["psnr_slice"],
            "ssim": scores["ssim"],
            "nrmse": scores["nrmse_range_slice"],
            "of_patient": scored(name, array * best_factor(array, wanted))["nrmse_range_slice"],
            "of_slice": scored(name, array * best_factor(array, wanted, axis=(0, 1)))["nrmse_range_slice"],
        }
    return found


def best_factor(array: np.ndarray, wanted: np.ndarray, *, axis: tuple[int, ...] | None = None) -> np.ndarray:
    """What a map is to be multiplied by to come closest to another, in least squares; over `axis`, or over all."""
    power = (array**2).sum(axis=axis, keepdims=True)
    factor: np.ndarray = (array * wanted).sum(axis=axis, keepdims=True) / np.maximum(power, 1e-12)
    return factor
