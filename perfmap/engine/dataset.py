"""Training examples: from the simulator, sampled afresh every epoch, or from a cohort on disk."""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import ConfigError, InputError
from perfmap.io.nifti import read_series, read_volume
from perfmap.io.sidecar import read_sidecar
from perfmap.models.card import InputContract
from perfmap.phantom.case import draw_case, simulate_case
from perfmap.phantom.regimes import require_trainable
from perfmap.phantom.subject import LABELS
from perfmap.preprocess.pipeline import Prepared, network_slice, prepare_series
from perfmap.preprocess.resample import to_matrix
from perfmap.preprocess.slices import select_slices
from perfmap.series import FloatArray, Series

HalfArray = NDArray[np.float16]

TRAIN, VALIDATION, TEST = 0, 1, 2
SMALL_CLASSES = ("csf", "vessel_artery", "vessel_vein")
"""Labels that `nrmse_tissue` leaves out; few and bright or empty, they would otherwise rule a squared loss."""
_ATTEMPTS = 20


@dataclass(frozen=True)
class Stack:
    """Slices of one subject as a network meets them.

    Attributes
    ----------
    curves : ndarray, float16, shape (n, n_times, matrix, matrix)
    valid : ndarray, float32, shape (n_times,)
    target : ndarray, float16, shape (n, matrix, matrix)
        Reference map.
    coverage : ndarray, float16, shape (n, matrix, matrix)
        Share of each pixel that is brain.
    tissue : ndarray of bool, shape (n, matrix, matrix)
        Brain without vessels and CSF; all of the brain where no labels are known.
    integral : ndarray, float16, shape (n, matrix, matrix)
        First-pass integral divided by the series' scale: what a plain method would say.
    """

    curves: HalfArray
    valid: FloatArray
    target: HalfArray
    coverage: HalfArray
    tissue: NDArray[np.bool_]
    integral: HalfArray

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True)
class Patient:
    """One line of a cohort: a series and its reference map."""

    name: str
    series: Path
    reference: Path
    labels: Path | None = None


@dataclass(frozen=True)
class Split:
    """Patients of each part; nobody is in two."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = field(default=())


def split_patients(names: Sequence[str], *, seed: int) -> Split:
    """68 / 12 / 20 % by patient, as in Diumin & Alkhimova 2026: 519 become 353, 63 and 103.

    Names are sorted before they are shuffled, so the order on disk changes nothing.
    """
    ordered = sorted(set(names))
    n_test = int(0.20 * len(ordered))
    n_train = int(0.85 * (len(ordered) - n_test))
    if n_train < 1 or n_train + n_test >= len(ordered):
        raise InputError(
            f"cohort has {len(ordered)} patients, too few for a training and a validation part; wanted at least 2"
        )
    shuffled = [ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered))]
    train, rest = shuffled[:n_train], shuffled[n_train:]
    n_validation = len(rest) - n_test
    return Split(tuple(sorted(train)), tuple(sorted(rest[:n_validation])), tuple(sorted(rest[n_validation:])))


def stack_examples(
    prepared: Prepared,
    target: NDArray[np.floating],
    labels: NDArray[np.integer] | None,
    slices: Sequence[int],
) -> Stack:
    """Examples of the given slices of a prepared series and its reference map on the same grid."""
    inputs, axis = prepared.inputs, prepared.axis
    curves, targets, coverages, tissues, integrals = [], [], [], [], []
    outside = (
        np.zeros(target.shape, dtype=bool)
        if labels is None
        else np.isin(labels, [LABELS[c] for c in SMALL_CLASSES])
    )
    for k in slices:
        image, coverage = network_slice(prepared, k)
        mask = np.moveaxis(prepared.mask, axis, 0)[k]
        maps = np.stack(
            [
                np.moveaxis(target, axis, 0)[k],
                np.moveaxis(prepared.first_pass, axis, 0)[k] / prepared.scale,
                np.moveaxis(outside, axis, 0)[k],
            ],
            axis=-1,
        ).astype(np.float32)
        resampled, _ = to_matrix(maps, mask, inputs.matrix, inputs.interpolation)
        curves.append(image.astype(np.float16))
        targets.append(resampled[..., 0].astype(np.float16))
        integrals.append(resampled[..., 1].astype(np.float16))
        coverages.append(coverage.astype(np.float16))
        tissues.append((coverage > 0.5) & (resampled[..., 2] < 0.5))
    return Stack(
        curves=np.stack(curves),
        valid=prepared.time_mapping.valid,
        target=np.stack(targets),
        coverage=np.stack(coverages),
        tissue=np.stack(tissues),
        integral=np.stack(integrals),
    )


def simulated_stack(
    inputs: InputContract, *, seed: int, part: int, index: int, n_slices: int, regime: str = "training"
) -> Stack:
    """The `index`-th simulated subject of a part, as training examples; the same numbers give the same bytes.

    A draw in which no bolus can be found is drawn again.
    """
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([seed, part, index, attempt])
        simulated = simulate_case(draw_case(rng, regime=regime, geometry="stack", n_slices=n_slices))
        series = Series(
            signal=simulated.signal,
            affine=simulated.affine,
            time_step=simulated.time_step,
            repetition_time=simulated.repetition_time,
            echo_time=simulated.echo_time,
        )
        try:
            prepared = prepare_series(series, inputs)
        except InputError:
            continue
        truth = simulated.truth
        return stack_examples(prepared, truth["nrcbv"], truth["labels"], range(n_slices))
    raise InputError(
        f"regime '{regime}' gave no usable series in {_ATTEMPTS} draws (seed {seed}, subject {index})"
    )


def _limit_threads() -> None:
    """A worker simulates on one core: its arrays are small, and the other cores have workers of their own."""
    import torch

    os.nice(5)
    torch.set_num_threads(1)


class SimulatedStacks:
    """Simulated subjects, made by worker processes ahead of their use.

    Parameters
    ----------
    inputs : InputContract
    seed : int
    part : int
        ``TRAIN``, ``VALIDATION`` or ``TEST``: separate streams of subjects.
    n_slices : int
        Slices a subject.
    workers : int
        Processes.
    """

    def __init__(self, inputs: InputContract, *, seed: int, n_slices: int, workers: int) -> None:
        self._inputs, self._seed, self._n_slices = inputs, seed, n_slices
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(max(workers, 1), mp_context=context, initializer=_limit_threads)

    def submit(self, part: int, indices: Sequence[int]) -> list[Future[Stack]]:
        """Start making the subjects `indices` of a part."""
        return [
            self._pool.submit(
                simulated_stack, self._inputs, seed=self._seed, part=part, index=i, n_slices=self._n_slices
            )
            for i in indices
        ]

    def close(self) -> None:
        """Stop the workers; what was not begun is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def find_patients(data: Path, *, target: str) -> list[Patient]:
    """Patients of a cohort folder (``<patient>/dsc.nii.gz`` and ``truth_<target>.nii.gz``) or of a CSV manifest.

    Parameters
    ----------
    data : Path
        Folder, or CSV file with the columns ``patient,series,reference`` and optionally ``labels``;
        paths in it may be relative to it.
    target : str
        Quantity of the reference maps.
    """
    if data.is_dir():
        found = [
            Patient(series.parent.name, series, reference, labels if labels.is_file() else None)
            for series in sorted(data.glob("*/dsc.nii.gz"))
            if (reference := series.with_name(f"truth_{target}.nii.gz")).is_file()
            for labels in [series.with_name("truth_labels.nii.gz")]
        ]
        if not found:
            raise InputError(
                f"{data.name}: no <patient>/dsc.nii.gz with truth_{target}.nii.gz beside it; "
                "give a cohort folder or a CSV manifest"
            )
        return found
    if not data.is_file():
        raise InputError(f"{data}: no such folder or CSV manifest")
    return list(_read_manifest(data))


def _read_manifest(path: Path) -> Iterator[Patient]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        missing = {"patient", "series", "reference"} - set(rows.fieldnames or ())
        if missing:
            raise InputError(
                f"{path.name} lacks the columns {', '.join(sorted(missing))}; wanted patient,series,reference"
            )
        for row in rows:
            files = {key: path.parent / row[key] for key in ("series", "reference")}
            for file_path in files.values():
                if not file_path.is_file():
                    raise InputError(
                        f"{path.name}, patient {row['patient']}: {file_path.name} does not exist"
                    )
            labels = path.parent / row["labels"] if row.get("labels") else None
            yield Patient(row["patient"], files["series"], files["reference"], labels)


def patient_stack(patient: Patient, inputs: InputContract, *, slices: str) -> Stack:
    """Training examples of one patient read from disk; a simulated one of a held-out regime is refused."""
    regime = read_sidecar(patient.series).get("Regime")
    if isinstance(regime, str):
        require_trainable(regime)
    series = read_series(patient.series)
    target = read_volume(patient.reference, like=series).array
    labels = None
    if patient.labels is not None:
        labels = read_volume(patient.labels, like=series).array.astype(np.int16)
    prepared = prepare_series(series, inputs)
    indices = select_slices(prepared.n_slices, slices)
    return stack_examples(prepared, np.asarray(target, dtype=np.float32), labels, indices)


def training_maximum(patients: Sequence[Patient]) -> float:
    """Largest intensity of all series, the paper's normalisation constant."""
    if not patients:
        raise ConfigError("normalisation 'training-max' wants training data on disk; give DATA")
    return max(float(np.nanmax(read_series(patient.series).signal)) for patient in patients)
