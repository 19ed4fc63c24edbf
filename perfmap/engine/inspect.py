"""Look at an input and say what it holds, without predicting anything."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from perfmap.engine.acquired_matrix import acquired_in_plane, as_acquired
from perfmap.engine.export import DicomCase, Export, find_cases, staged_case
from perfmap.engine.export_choice import reason_by_curve
from perfmap.engine.predict import examine
from perfmap.engine.quality import assess
from perfmap.engine.training_range import acquisition_of
from perfmap.errors import InputError, PerfmapWarning
from perfmap.io.dicom_files import holds_dicom
from perfmap.io.nifti import read_series
from perfmap.io.sidecar import read_sidecar
from perfmap.models import DEFAULT_MODEL
from perfmap.models.checkpoint import find_checkpoint, read_card
from perfmap.preprocess.slices import slice_axis
from perfmap.quantities import RESEARCH_ONLY
from perfmap.series import Series


def inspect_input(
    path: Path,
    *,
    prefer: Literal["original", "moco"] = "original",
    keep_phi: bool = False,
    quiet_minutes: float = 0.0,
    time_step: float | None = None,
    quality: bool = True,
    bolus: int | None = None,
    on_file: Callable[[int], None] = lambda n_files: None,
) -> dict[str, Any]:
    """Every series of an export with the reason why it is taken or left, or the facts of one NIfTI series.

    Parameters
    ----------
    path : Path
        Export of DICOM, or a NIfTI file.
    prefer, keep_phi, quiet_minutes, time_step, on_file
        As in `find_cases`.
    quality : bool
        Judge every case by the quality gate, as a map of the default network would be; the images are read for that.
    bolus : int, optional
        Of several boluses in one series, the one that is judged; the last full one if not given.

    Returns
    -------
    dict
        ``kind`` is ``"dicom"`` or ``"nifti"``; ``series`` has one entry for each series, ``cases`` one for each that
        `perfmap predict` would take.

    Raises
    ------
    InputError
        If the input cannot be read.
    """
    if not path.exists():
        raise InputError(f"input {path} does not exist; check the path")
    if not holds_dicom(path):
        if path.is_dir():
            raise InputError(f"{path} holds no DICOM; give an export of DICOM or one NIfTI series")
        return {"warning": RESEARCH_ONLY, "kind": "nifti", **_describe_nifti(path, time_step, quality, bolus)}
    export = find_cases(
        path,
        prefer=prefer,
        keep_phi=keep_phi,
        quiet_minutes=quiet_minutes,
        time_step=time_step,
        on_file=on_file,
    )
    described = describe_export(export)
    if quality:
        for case, entry in zip(export.cases, described["cases"], strict=True):
            entry["quality"] = _quality_of_case(case, bolus)
    return {"warning": RESEARCH_ONLY, "kind": "dicom", **described}


def describe_export(export: Export) -> dict[str, Any]:
    """An export as plain values, for JSON and tables."""
    return {
        "n_files": export.n_files,
        "left_files": dict(sorted(export.left_files.items())),
        "series": [asdict(line) for line in export.series],
        "cases": [
            {
                "name": case.name,
                "series": case.number,
                "n_volumes": case.arranged.n_volumes,
                "n_slices": case.arranged.n_slices,
                "time_step_s": case.axis.time_step,
                "repetition_time_s": case.axis.repetition_time,
                "echo_time_s": case.arranged.stack.echo_time,
                "time_axis_verified": case.axis.verified,
                "acquired_matrix": _acquired(case),
                "incomplete": case.incomplete,
                "notes": [*case.notes, *case.arranged.notes, *case.axis.notes],
            }
            for case in export.cases
        ],
    }


def _acquired(case: DicomCase) -> list[int] | None:
    """Columns and rows that were acquired, where the images are interpolated from fewer."""
    frame = case.arranged.order.grid[0][0]
    n_tiles = math.ceil(math.sqrt(frame.n_tiles)) or 1
    if frame.spacing is None:
        return None
    shape, edges = (frame.columns // n_tiles, frame.rows // n_tiles), (frame.spacing[1], frame.spacing[0])
    found = acquired_in_plane(case.series[0].header["encoding"], shape, edges)
    return None if found is None else list(found)


def judge_series(series: Series, sidecar: Mapping[str, Any], *, bolus: int | None = None) -> dict[str, Any]:
    """Verdict of the quality gate on a series, without a map.

    Returns
    -------
    dict
        As `QualityReport.as_dict`, with ``notes`` and, of several boluses, ``boluses``; status FAIL with the reason
        where the series would be refused.
    """
    card = read_card(find_checkpoint(DEFAULT_MODEL))
    try:
        grid = as_acquired(sidecar, series)
        looked_at = examine(grid.series, card.inputs, bolus=bolus)
    except InputError as error:
        return {"status": "FAIL", "reasons": [f"FAIL refused: {error}"], "findings": {}}
    return {
        **assess(looked_at, card, acquisition=acquisition_of(sidecar)).as_dict(),
        "notes": [*([grid.note] if grid.note else []), *looked_at.notes],
        **({"boluses": looked_at.boluses} if looked_at.boluses else {}),
    }


def _quality_of_case(case: DicomCase, bolus: int | None) -> dict[str, Any]:
    try:
        with staged_case(case) as staged, warnings.catch_warnings():
            warnings.simplefilter("ignore", PerfmapWarning)  # they stand in the notes of the case
            return judge_series(read_series(staged.nifti), read_sidecar(staged.nifti), bolus=bolus)
    except InputError as error:
        return {"status": "FAIL", "reasons": [f"FAIL refused: {error}"], "findings": {}}


def _describe_nifti(path: Path, time_step: float | None, quality: bool, bolus: int | None) -> dict[str, Any]:
    series = read_series(path, time_step=time_step)
    axis = slice_axis(series.affine)
    plane = np.moveaxis(series.signal, axis, 0)[series.signal.shape[axis] // 2]  # (rows, columns, t)
    first = plane[..., :3].mean(axis=-1)
    bright = plane[first > 0.35 * np.percentile(first, 98)]
    curve = bright.mean(axis=0, dtype=np.float64) if bright.size else np.zeros(series.n_times)
    reason = reason_by_curve(curve, time_step=series.time_step) if np.isfinite(curve).all() else "not finite"
    described = {
        "name": path.name,
        "shape": list(series.signal.shape),
        "voxel_size_mm": [round(float(edge), 4) for edge in np.linalg.norm(series.affine[:3, :3], axis=0)],
        "time_step_s": series.time_step,
        "repetition_time_s": series.repetition_time,
        "echo_time_s": series.echo_time,
        "flip_angle_deg": series.flip_angle,
        "field_strength_t": series.field_strength,
        "taken": not reason,
        "reason": reason or f"DSC: {series.n_times} volumes, a bolus",
        "notes": list(series.notes),
    }
    case = described
    if quality:
        case = {**described, "quality": judge_series(series, read_sidecar(path), bolus=bolus)}
    return {"series": [described], "cases": [case] if not reason else []}
