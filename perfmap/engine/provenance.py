"""What is written beside a map: where it comes from, and everything needed to make it again."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

import perfmap
from perfmap.engine.predict import PredictConfig, Prediction
from perfmap.engine.quality import QualityReport
from perfmap.io.dicom_source import DicomSource
from perfmap.models.card import ModelCard
from perfmap.preprocess.acquired_grid import WorkingGrid
from perfmap.preprocess.motion import MotionReport
from perfmap.preprocess.pipeline import Prepared, Validity
from perfmap.quantities import QUANTITIES, RESEARCH_ONLY
from perfmap.series import Series, Volume


def describe_input(series: Series, *, sha256: str) -> dict[str, Any]:
    """The series, without its name or path: those may name a patient."""
    return {
        "sha256": sha256,
        "shape": list(series.signal.shape),
        "voxel_size_mm": [round(float(edge), 4) for edge in np.linalg.norm(series.affine[:3, :3], axis=0)],
        "time_step_s": series.time_step,
        "repetition_time_s": series.repetition_time,
        "echo_time_s": series.echo_time,
        "flip_angle_deg": series.flip_angle,
        "field_strength_t": series.field_strength,
        "echo_time_note": None if series.echo_time else "unknown; it cancels in a relative map",
    }


def describe_bolus(prepared: Prepared, validity: Volume) -> dict[str, Any]:
    """Bolus and scale as found in the series, and the voxels of the map that is written."""
    bolus = prepared.bolus
    counts = {reason.name.lower(): int((validity.array == reason).sum()) for reason in Validity}
    return {
        "unsteady_volumes": bolus.n_unsteady,
        "baseline_volumes": [bolus.baseline.start, bolus.baseline.stop - 1],
        "arrival_volume": bolus.arrival,
        "peak_volume": bolus.peak,
        "first_pass_volumes": [bolus.window.start, bolus.window.stop - 1],
        "scale_s": round(prepared.scale, 6),
        "grid_points_measured": int(prepared.time_mapping.valid.sum()),
        "voxels": counts,
    }


def describe_motion(motion: MotionReport | None) -> dict[str, Any] | None:
    """How the head moved and what was done about it; None where nobody looked."""
    if motion is None:
        return None
    return {
        "max_displacement_mm": round(motion.max_displacement, 3),
        "corrected": motion.corrected,
        "in_plane_only": motion.in_plane_only,
    }


def describe_origin(source: DicomSource) -> dict[str, Any]:
    """The DICOM objects of a series by their number and the hash of their UIDs; nothing that names a patient."""
    return {
        "kind": source.kind,
        "n_series": len(source.series_instance_uids),
        "n_objects": len(source.sop_instance_uids),
        "objects_sha256": hashlib.sha256("\n".join(source.sop_instance_uids).encode()).hexdigest(),
        "lossy": source.lossy,
    }


def describe_grid(grid: WorkingGrid) -> dict[str, Any] | None:
    """The acquired grid that was computed on; None where that is the one of the file."""
    if grid.is_stored:
        return None
    edges = np.linalg.norm(grid.series.affine[:3, :3], axis=0)
    return {
        "shape": list(grid.series.signal.shape[:3]),
        "voxel_size_mm": [round(float(edge), 4) for edge in edges],
        "way_back": "linear in plane",
    }


def map_sidecar(
    series: Series,
    prediction: Prediction,
    card: ModelCard,
    config: PredictConfig,
    quality: QualityReport,
    grid: WorkingGrid,
    validity: Volume,
    *,
    input_sha256: str,
    mask_sha256: str | None,
    source: DicomSource | None = None,
) -> dict[str, Any]:
    """Sidecar of a map: the same for the same input, model, settings and version.

    Parameters
    ----------
    series, prediction, card, config
        What went into the prediction.
    quality : QualityReport
        What the quality gate says of it.
    grid : WorkingGrid
        What was computed on.
    validity : Volume
        Of the voxels of the map, on the grid it is written on.
    input_sha256 : str
        Of the input file.
    mask_sha256 : str or None
        Of the mask file, where one was given.
    source : DicomSource, optional
        Where the series came from, if it was DICOM.
    """
    quantity, prepared = QUANTITIES[card.outputs.quantity], prediction.prepared
    several: dict[str, Any] = {"boluses": prediction.boluses} if prediction.boluses else {}
    if acquired := describe_grid(grid):
        several["acquired_grid"] = acquired
    return {
        "Quantity": quantity.identifier,
        "Description": quantity.label,
        "Units": quantity.unit or "1",
        "Warning": RESEARCH_ONLY,
        "GeneratedBy": {"Name": "perfmap", "Version": perfmap.__version__},
        "Model": {
            "Name": card.name,
            "Architecture": card.architecture,
            "sha256": card.sha256,
            "TrainingData": card.training.data,
            "ScaleInvariant": card.scale_invariant,
            "Reference": card.outputs.reference,
            **({"Brightest": card.outputs.brightest} if card.outputs.brightest else {}),
            "Uncertainty": card.outputs.uncertainty and card.outputs.uncertainty.model_dump(),
        },
        "Input": describe_input(series, sha256=input_sha256),
        "Found": {**describe_bolus(prepared, validity), **several},
        "Motion": describe_motion(prediction.motion),
        "Quality": quality.as_dict(),
        "Settings": {**config.model_dump(exclude={"device"}), "mask_sha256": mask_sha256},
        **({"Origin": describe_origin(source)} if source else {}),
        "Notes": [*(source.notes if source else ()), *series.notes, *prediction.notes],
    }
