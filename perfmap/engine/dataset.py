"""Training examples: from the simulator, sampled afresh every epoch, or from a cohort on disk."""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import ConfigError, InputError
from perfmap.io.nifti import read_series, read_volume
from perfmap.io.patient_file import SUFFIX, read_patient
from perfmap.io.sidecar import read_sidecar
from perfmap.models.card import InputContract
from perfmap.phantom.case import CaseParameters, draw_case, series_of, simulate_case
from perfmap.phantom.priors import LABELS, LESION_CLASSES
from perfmap.phantom.regimes import require_trainable
from perfmap.preprocess.pipeline import Prepared, network_slice, prepare_series
from perfmap.preprocess.resample import brain_box, to_matrix
from perfmap.preprocess.slices import select_slices
from perfmap.series import FloatArray, Series

HalfArray = NDArray[np.float16]

TRAIN, VALIDATION, TEST = 0, 1, 2
CROP = 8
"""Edges of cropped slices are multiples of this, as the levels of a network want it."""
MIN_WHITE = 30
"""Fewest voxels of white matter whose mean is a level."""
RESIDUAL_MOTION, UNREGISTERED = (0.02, 0.3), 0.1
SMALL_CLASSES = ("csf", "vessel_artery", "vessel_vein")
"""Labels that `nrmse_tissue` leaves out; few and bright or empty, they would otherwise rule a squared loss."""
_ATTEMPTS = 20


@dataclass(frozen=True)
class Stack:
    """Slices of one subject as a network meets them.

    Attributes
    ----------
    curves : ndarray, float16, shape (n, c, h, w)
        Channels, the curves' points first; see `perfmap.preprocess.pipeline.network_slice`.
    valid : ndarray, float32, shape (k,)
        What is told of the series as a whole: `perfmap.preprocess.pipeline.Prepared.context`.
    target : ndarray, float16, shape (n, h, w)
        Reference map.
    coverage : ndarray, float16, shape (n, h, w)
        Share of each pixel that is brain.
    tissue, lesion, white : ndarray of bool, shape (n, h, w)
        Brain without vessels and CSF (all of the brain where no labels are known); lesions; normal-appearing
        white matter.
    white_level : float
        Mean first-pass map over normal-appearing white matter in units of the series' scale; 0 where it is not known.
    """

    curves: HalfArray
    valid: FloatArray
    target: HalfArray
    coverage: HalfArray
    tissue: NDArray[np.bool_]
    lesion: NDArray[np.bool_]
    white: NDArray[np.bool_]
    white_level: float

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True)
class Patient:
    """One line of a cohort: a series and its reference map, or one file for both (`perfmap.io.patient_file`)."""

    name: str
    series: Path
    reference: Path
    labels: Path | None = None
    target: str = "nrcbv"

    @property
    def in_one_file(self) -> bool:
        """Whether series, reference and labels stand in one file."""
        return self.series.suffix == SUFFIX


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
    *,
    nawm: NDArray[np.bool_] | None = None,
) -> Stack:
    """Examples of the given slices of a prepared series and its reference map on the same grid."""
    axis, inputs, nothing = prepared.axis, prepared.inputs, np.zeros(target.shape, dtype=bool)
    classes = [
        nothing if labels is None else np.isin(labels, [LABELS[name] for name in names])
        for names in (SMALL_CLASSES, LESION_CLASSES)
    ]
    white = nothing if nawm is None else np.asarray(nawm, dtype=bool) & prepared.mask
    channels, coverages, maps = [], [], []
    for k in slices:
        image, coverage = network_slice(prepared, k)
        planes = [np.moveaxis(volume, axis, 0)[k] for volume in (target, *classes, white)]
        mask = np.moveaxis(prepared.mask, axis, 0)[k]
        resampled, _ = to_matrix(
            np.stack(planes, axis=-1).astype(np.float32), mask, image.shape[-1], inputs.interpolation
        )
        channels.append(image.astype(np.float16))
        coverages.append(coverage.astype(np.float16))
        maps.append(resampled)
    cover, found = np.stack(coverages), np.stack(maps)
    enough = int(white.sum()) >= MIN_WHITE
    return Stack(
        curves=np.stack(channels),
        valid=prepared.context,
        target=found[..., 0].astype(np.float16),
        coverage=cover,
        tissue=(cover > 0.5) & (found[..., 1] < 0.5),
        lesion=(cover > 0.5) & (found[..., 2] >= 0.5),
        white=(cover > 0.5) & (found[..., 3] >= 0.5),
        white_level=float(prepared.first_pass[white].mean() / prepared.scale) if enough else 0.0,
    )


def crop_to_brain(stack: Stack, *, multiple: int) -> Stack:
    """The same stack without the empty rim around the brain, its edges multiples of `multiple` where there is room."""
    cut = (Ellipsis, *brain_box(stack.coverage.max(axis=0) > 0, multiple=multiple))
    names = ("curves", "target", "coverage", "tissue", "lesion", "white")
    cropped: dict[str, Any] = {name: np.ascontiguousarray(getattr(stack, name)[cut]) for name in names}
    return replace(stack, **cropped)


def simulated_stack(
    inputs: InputContract, *, seed: int, part: int, index: int, n_slices: int, regime: str = "training"
) -> Stack:
    """The `index`-th simulated subject of a part, as training examples; the same numbers give the same bytes.

    A draw in which no bolus can be found is drawn again. Networks that read the maps beside the curves are trained on
    series as registration leaves them (`as_registered`), cropped to the brain.
    """
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([seed, part, index, attempt])
        case = draw_case(rng, regime=regime, geometry="stack", n_slices=n_slices)
        if inputs.features == "curves+maps":
            case = as_registered(case, np.random.default_rng([seed, part, index, attempt, 1]))
        simulated = simulate_case(case)
        series = series_of(simulated)
        try:
            prepared = prepare_series(series, inputs)
        except InputError:
            continue
        truth = simulated.truth
        stack = stack_examples(
            prepared, truth["nrcbv"], truth["labels"], range(n_slices), nawm=truth["nawm"].astype(bool)
        )
        return crop_to_brain(stack, multiple=CROP) if inputs.features == "curves+maps" else stack
    raise InputError(
        f"regime '{regime}' gave no usable series in {_ATTEMPTS} draws (seed {seed}, subject {index})"
    )


def as_registered(case: CaseParameters, rng: np.random.Generator) -> CaseParameters:
    """A case whose head moves as little as registration leaves over: by 2 to 30 % of what was drawn, one in ten by all.

    What is left is around the mean pose of the first images, as registration leaves it. The truth is where the head was
    at the very first: that offset remains, as it does in a registered series.

    Registering every series of a training run would take ten times as long as simulating it.
    """
    share = float(rng.uniform(*RESIDUAL_MOTION)) if rng.random() > UNREGISTERED else 1.0
    less = case.acquisition.motion.model_copy(update={"left": share})
    return case.model_copy(update={"acquisition": case.acquisition.model_copy(update={"motion": less})})


def save_stack(stack: Stack, path: Path) -> None:
    """Keep a stack on disk, to be seen again; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    with partial.open("wb") as file:
        np.savez(file, **{name: getattr(stack, name) for name in Stack.__dataclass_fields__})
    partial.replace(path)


def load_stack(path: Path) -> Stack:
    """A stack from disk."""
    with np.load(path) as content:
        arrays = {name: content[name] for name in Stack.__dataclass_fields__}
    return Stack(**arrays | {"white_level": float(arrays["white_level"])})


def kept_stack(
    inputs: InputContract, *, seed: int, part: int, index: int, n_slices: int, folder: Path
) -> Stack:
    """A simulated subject from `folder`, made and kept there where it is missing."""
    path = folder / f"{part}-{index:06d}.npz"
    if path.is_file():
        return load_stack(path)
    stack = simulated_stack(inputs, seed=seed, part=part, index=index, n_slices=n_slices)
    save_stack(stack, path)
    return stack


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
    folder : Path, optional
        Where subjects are kept, to be seen again.
    """

    def __init__(
        self, inputs: InputContract, *, seed: int, n_slices: int, workers: int, folder: Path | None = None
    ) -> None:
        self._inputs, self._seed, self._n_slices, self._folder = inputs, seed, n_slices, folder
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(max(workers, 1), mp_context=context, initializer=_limit_threads)

    def submit(self, part: int, indices: Sequence[int]) -> list[Future[Stack]]:
        """Start making the subjects `indices` of a part."""
        if self._folder is not None:
            return [
                self._pool.submit(
                    kept_stack,
                    self._inputs,
                    seed=self._seed,
                    part=part,
                    index=i,
                    n_slices=self._n_slices,
                    folder=self._folder,
                )
                for i in indices
            ]
        return [
            self._pool.submit(
                simulated_stack, self._inputs, seed=self._seed, part=part, index=i, n_slices=self._n_slices
            )
            for i in indices
        ]

    def kept(self, part: int, index: int) -> Stack:
        """A subject that was made before, from the folder."""
        assert self._folder is not None
        return kept_stack(
            self._inputs,
            seed=self._seed,
            part=part,
            index=index,
            n_slices=self._n_slices,
            folder=self._folder,
        )

    def close(self) -> None:
        """Stop the workers; what was not begun is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def find_patients(data: Path, *, target: str) -> list[Patient]:
    """Patients of a CSV manifest or of a cohort folder: ``<patient>.npz``, or ``<patient>/dsc.nii.gz`` with
    ``truth_<target>.nii.gz`` beside it.

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
        found += [Patient(file.stem, file, file, file, target) for file in sorted(data.glob(f"*{SUFFIX}"))]
        if not found:
            raise InputError(
                f"{data.name}: no <patient>{SUFFIX}, and no <patient>/dsc.nii.gz with truth_{target}.nii.gz beside it; "
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
    series, target, labels = _read(patient)
    prepared = prepare_series(series, inputs)
    indices = select_slices(prepared.n_slices, slices)
    return stack_examples(prepared, np.asarray(target, dtype=np.float32), labels, indices)


def _read(
    patient: Patient,
) -> tuple[Series, NDArray[np.generic], NDArray[np.integer] | None]:
    """Series, reference map and labels of a patient."""
    if patient.in_one_file:
        content = read_patient(patient.series, maps=(patient.target,))
        require_trainable(content.regime)
        return content.series, content.maps[patient.target], content.labels
    sidecar = read_sidecar(patient.series)
    regime, held_out = sidecar.get("Regime"), sidecar.get("HeldOut")
    if isinstance(regime, str):
        require_trainable(regime)
    if isinstance(held_out, list) and held_out:
        names = ", ".join(str(name) for name in held_out)
        raise ConfigError(
            f"{patient.name} has {names} in a range that is held out of training; it is refused as training data"
        )
    series = read_series(patient.series)
    target = read_volume(patient.reference, like=series).array
    labels = None
    if patient.labels is not None:
        labels = read_volume(patient.labels, like=series).array.astype(np.int16)
    return series, target, labels


def training_maximum(patients: Sequence[Patient]) -> float:
    """Largest intensity of all series that can be read, the paper's normalisation constant."""
    if not patients:
        raise ConfigError("normalisation 'training-max' wants training data on disk; give DATA")
    largest = [_largest(patient) for patient in patients]
    if not any(largest):
        raise InputError("no series of the training part can be read")
    return max(largest)


def _largest(patient: Patient) -> float:
    """Largest intensity of a series; 0 where it cannot be read, which is told when its slices are wanted."""
    try:
        series = (
            read_patient(patient.series, maps=()).series
            if patient.in_one_file
            else read_series(patient.series)
        )
    except InputError:
        return 0.0
    return float(np.nanmax(series.signal))
