"""A simulated patient in one file: series, reference maps and labels in whole numbers, with the record.

The file is an uncompressed ``.npz`` (numpy, no pickle). Signal and maps are int16; a map times its scale is the
quantity. The same patient gives the same bytes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.io.files import atomic_output
from perfmap.series import Series

SUFFIX = ".npz"
_LARGEST = 32767
_TIMES = ("time_step", "repetition_time", "echo_time")
_SETTINGS = ("flip_angle", "field_strength")


@dataclass(frozen=True)
class PatientFile:
    """What a patient's file holds.

    Attributes
    ----------
    series : Series
    maps : dict of str to ndarray, float32, shape (x, y, z)
        Reference maps by quantity.
    labels : ndarray, uint8, shape (x, y, z)
    regime : str
        Regime that the patient was drawn from.
    """

    series: Series
    maps: dict[str, NDArray[np.float32]]
    labels: NDArray[np.uint8]
    regime: str


def write_patient(
    path: Path,
    series: Series,
    maps: Mapping[str, NDArray[np.floating]],
    labels: NDArray[np.uint8],
    *,
    regime: str,
    record: str,
    overwrite: bool = False,
) -> None:
    """Write a patient; the file appears whole or not at all.

    Parameters
    ----------
    path : Path
        ``.npz``.
    series : Series
        Signal in whole numbers from 0 to 32767; the echo time is known.
    maps : mapping of str to ndarray, shape (x, y, z)
        Reference maps; rounded to 1/32767 of their largest value.
    labels : ndarray, uint8, shape (x, y, z)
    regime : str
    record : str
        JSON from which the patient can be made again.
    overwrite : bool

    Raises
    ------
    InputError
        If the signal does not fit into int16, or the file cannot be written.
    """
    signal = np.rint(series.signal)
    if signal.min() < 0 or signal.max() > _LARGEST or np.abs(signal - series.signal).max() > 1e-3:
        raise InputError(
            f"signal from {series.signal.min():g} to {series.signal.max():g}, wanted whole numbers from 0 to "
            f"{_LARGEST}; simulate with artefacts.int16"
        )
    arrays: dict[str, NDArray[np.generic]] = {
        "signal": signal.astype(np.int16),
        "affine": np.asarray(series.affine, dtype=np.float64),
        "labels": np.asarray(labels, dtype=np.uint8),
        "regime": np.asarray(regime),
        "record": np.asarray(record),
        **{name: np.asarray(getattr(series, name) or np.nan) for name in (*_TIMES, *_SETTINGS)},
    }
    for name, array in maps.items():
        scale = max(float(np.abs(array).max()), 1e-6) / _LARGEST
        arrays[f"map_{name}"] = np.rint(array / scale).astype(np.int16)
        arrays[f"scale_{name}"] = np.asarray(scale)
    with atomic_output(path, overwrite=overwrite) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def read_patient(path: Path, *, maps: Sequence[str] | None = None) -> PatientFile:
    """Read a patient.

    Parameters
    ----------
    path : Path
    maps : sequence of str, optional
        Quantities to read; all by default.

    Raises
    ------
    InputError
        If the file is missing, damaged, no patient, or lacks a map.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            found = tuple(name.removeprefix("map_") for name in content.files if name.startswith("map_"))
            wanted = found if maps is None else maps
            missing = sorted(set(wanted) - set(found))
            if missing:
                raise InputError(f"{path} holds no map {', '.join(missing)}, only {', '.join(found)}")
            step, repetition, echo = (float(content[name]) for name in _TIMES)
            # Files of earlier versions do not hold the settings.
            flip, field = (float(content[name]) if name in content else np.nan for name in _SETTINGS)
            series = Series(
                signal=content["signal"].astype(np.float32),
                affine=content["affine"],
                time_step=step,
                repetition_time=repetition,
                echo_time=echo if np.isfinite(echo) else None,
                flip_angle=flip if np.isfinite(flip) else None,
                field_strength=field if np.isfinite(field) else None,
            )
            return PatientFile(
                series=series,
                maps={name: content[f"map_{name}"] * np.float32(content[f"scale_{name}"]) for name in wanted},
                labels=content["labels"],
                regime=str(content["regime"]),
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path} is no patient of a cohort: {error}; simulate it again") from error


def read_record(path: Path) -> str:
    """The record of a patient's file, without reading anything else; InputError as in `read_patient`."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            return str(content["record"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"{path} is no patient of a cohort: {error}; simulate it again") from error
