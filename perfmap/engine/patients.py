"""A cohort on disk: who is in it, who is in which part, and one patient as training examples."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perfmap.engine.dataset import Stack, stack_examples
from perfmap.engine.predict import find_white_matter
from perfmap.errors import ConfigError, InputError
from perfmap.io.nifti import read_series, read_volume
from perfmap.io.patient_file import SUFFIX, read_patient
from perfmap.io.sidecar import read_sidecar
from perfmap.models.card import InputContract
from perfmap.phantom.regimes import require_trainable
from perfmap.preprocess.pipeline import Prepared, prepare_series
from perfmap.preprocess.slices import select_slices
from perfmap.quantities import QUANTITIES
from perfmap.series import Series

_COLUMNS = ("patient", "series", "reference")


@dataclass(frozen=True)
class Patient:
    """One line of a cohort: a series and its reference map, or one file for both (`perfmap.io.patient_file`).

    `labels` and `nawm`, a mask of normal-appearing white matter, may be unknown.
    """

    name: str
    series: Path
    reference: Path
    labels: Path | None = None
    nawm: Path | None = None
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


def find_patients(data: Path, *, target: str) -> list[Patient]:
    """Patients of a CSV manifest or of a cohort folder: ``<patient>.npz``, or ``<patient>/dsc.nii.gz`` with
    ``truth_<target>.nii.gz`` beside it.

    Nothing is opened: files that are missing or broken are for `patient_stack` to refuse.

    Parameters
    ----------
    data : Path
        Folder, or CSV file with the columns ``patient,series,reference`` and optionally ``labels`` and ``nawm``;
        paths in it may be relative to it. Several lines may be of one patient.
    target : str
        Quantity of the reference maps.

    Raises
    ------
    InputError
        If there is no such cohort, or no patient in it has a reference map.
    """
    if data.is_dir():
        found = [
            Patient(
                series.parent.name,
                series,
                series.with_name(f"truth_{target}.nii.gz"),
                _if_there(series.with_name("truth_labels.nii.gz")),
                _if_there(series.with_name("truth_nawm.nii.gz")),
                target,
            )
            for series in sorted(data.glob("*/dsc.nii.gz"))
        ]
        packed = [
            Patient(file.stem, file, file, file, None, target) for file in sorted(data.glob(f"*{SUFFIX}"))
        ]
        if not packed and (data / "dsc.nii.gz").is_file():
            raise InputError(f"{data.name} is one patient; give the folder that holds all of them")
        if not packed and not any(patient.reference.is_file() for patient in found):
            raise InputError(
                f"{data.name}: no <patient>{SUFFIX}, and no <patient>/dsc.nii.gz with truth_{target}.nii.gz beside it; "
                "give a cohort folder or a CSV manifest"
            )
        return found + packed
    if not data.is_file():
        raise InputError(f"{data}: no such folder or CSV manifest")
    try:
        return list(dict.fromkeys(_read_manifest(data, target=target)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{data.name} is no CSV file ({error}); wanted a table with the columns {','.join(_COLUMNS)}"
        ) from error


def patient_stack(patient: Patient, inputs: InputContract, *, slices: str) -> Stack:
    """Training examples of one patient read from disk; a simulated one of a held-out regime is refused.

    Raises
    ------
    InputError
        If a file cannot be read, the series cannot be used, or most of the brain has no reference.
    ConfigError
        If the patient belongs to what is kept for tests.
    """
    series, target, labels, nawm = _read(patient, wants_nawm=inputs.features == "curves+maps")
    prepared = prepare_series(series, inputs)
    unknown = float(np.mean(~np.isfinite(target[prepared.mask])))
    if unknown > 0.5:
        raise InputError(
            f"the reference map has no finite value in {100 * unknown:.0f} % of the brain; check it"
        )
    level = float(np.nanmean(np.where(np.isfinite(target), target, np.nan)[prepared.mask]))
    if not level > 0 and QUANTITIES[patient.target].window[0] >= 0:  # delays and K2 may be negative
        raise InputError(f"the reference map has a mean of {level:.3g} in the brain, wanted a positive one")
    if nawm is None and inputs.features == "curves+maps":
        nawm = _estimated_white_matter(prepared)
    indices = select_slices(prepared.n_slices, slices)
    return stack_examples(prepared, target, labels, indices, nawm=nawm)


def largest_intensity(patient: Patient) -> float:
    """Largest finite intensity of a series, of which the largest over the patients is the paper's constant.

    Raises
    ------
    InputError
        If the series cannot be read or holds no positive value.
    """
    series = (
        read_patient(patient.series, maps=()).series if patient.in_one_file else read_series(patient.series)
    )
    largest = float(np.max(series.signal, where=np.isfinite(series.signal), initial=0.0))
    if largest <= 0:
        raise InputError("the series holds no positive intensity; export magnitude images")
    return largest


def _estimated_white_matter(prepared: Prepared) -> NDArray[np.bool_] | None:
    """White matter by the brain's shape, where no mask says it; None where the slices hold too little."""
    try:
        return find_white_matter(prepared).mask
    except InputError:
        return None


def _if_there(path: Path) -> Path | None:
    return path if path.is_file() else None


def _read_manifest(path: Path, *, target: str) -> Iterator[Patient]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        missing = set(_COLUMNS) - set(rows.fieldnames or ())
        if missing:
            raise InputError(
                f"{path.name} lacks the columns {', '.join(sorted(missing))}; wanted {','.join(_COLUMNS)}, "
                "separated by commas"
            )
        for row in rows:
            if not any(row.values()):
                continue  # as a spreadsheet leaves them
            empty = [name for name in _COLUMNS if not row[name]]
            if empty:
                raise InputError(f"{path.name}, line {rows.line_num}: no {empty[0]}; fill it in")
            labels, nawm = (path.parent / row[name] if row.get(name) else None for name in ("labels", "nawm"))
            yield Patient(
                row["patient"],
                path.parent / row["series"],
                path.parent / row["reference"],
                labels,
                nawm,
                target,
            )


def _read(
    patient: Patient, *, wants_nawm: bool
) -> tuple[Series, NDArray[np.float32], NDArray[np.integer] | None, NDArray[np.bool_] | None]:
    """Series, reference map, labels and white matter of a patient."""
    if patient.in_one_file:
        content = read_patient(patient.series, maps=(patient.target,))
        require_trainable(content.regime)
        return content.series, content.maps[patient.target], content.labels, None
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
    target = np.asarray(read_volume(patient.reference, like=series).array, dtype=np.float32)
    labels = nawm = None
    if patient.labels is not None:
        labels = read_volume(patient.labels, like=series).array.astype(np.int16)
    if patient.nawm is not None and wants_nawm:
        nawm = np.asarray(read_volume(patient.nawm, like=series).array, dtype=np.float32) > 0.5
    return series, target, labels, nawm
