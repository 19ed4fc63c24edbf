"""A finished prediction as DICOM: the network's map and the conventional one beside it, in every form asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from perfmap.engine.predict import plain_nrcbv
from perfmap.engine.predict_file import Done
from perfmap.engine.quality import Status
from perfmap.errors import InputError
from perfmap.io.dicom_out import no_dicom_origin, write_objects
from perfmap.io.dicom_out_grid import sample_on_slices
from perfmap.io.dicom_out_header import DerivedMap, patient_orientation
from perfmap.io.dicom_out_mr import mr_series
from perfmap.io.dicom_out_pm import pm_object
from perfmap.io.dicom_out_sc import sc_series
from perfmap.io.dicom_source import DicomSource
from perfmap.preprocess.pipeline import Validity
from perfmap.quantities import RESEARCH_ONLY
from perfmap.report.dicom_picture import colour_frames
from perfmap.series import Volume


def maps_for_dicom(done: Done) -> tuple[DerivedMap, DerivedMap]:
    """The conventional map and the network's, in the order in which they are written.

    Raises
    ------
    InputError
        If no white matter is found: then there is no conventional map to go beside the network's.
    """
    sidecar = done.manifest["sidecar"]
    model, quantity = sidecar["Model"], sidecar["Quantity"]
    prepared = done.prediction.prepared
    if quantity != "nrcbv":
        raise InputError(f"model '{model['Name']}' gives {quantity}, and nrcbv alone has DICOM forms")
    try:
        plain = done.grid.values(plain_nrcbv(prepared), prepared.mask)
    except InputError as error:
        raise InputError(
            f"{error}; a network's map is not written as DICOM without the conventional map beside it"
        ) from error
    validity = np.asarray(done.maps["validity"].array)
    valid, brain = validity == Validity.VALID, validity != Validity.OUTSIDE
    quality = f" Quality gate: {done.quality.summary}."
    caution = "quality FAIL" if done.quality.status is Status.FAIL else ""
    # The source itself stands in the UIDs by its own: a converted file may differ from run to run, it does not.
    times = {key: sidecar["Input"][key] for key in ("time_step_s", "repetition_time_s", "echo_time_s")}
    made_with = {"settings": sidecar["Settings"], "times": times}
    conventional = DerivedMap(
        plain,
        valid,
        brain,
        folder="nrcbv-conventional",
        method="conventional",
        algorithm="first-pass",
        derivation="Integral of -ln(S/S0) over the first pass of the bolus, divided by its level in white matter. "
        + RESEARCH_ONLY
        + quality,
        caution=caution,
        identity=json.dumps(made_with, sort_keys=True),
    )
    network = DerivedMap(
        done.maps[quantity],
        valid,
        brain,
        folder="nrcbv",
        method="network",
        algorithm=str(model["Name"]),
        derivation=f"CBV relative to white matter, predicted by the network {model['Name']} "
        f"(sha256 {model['sha256'][:16]}) from the DSC series. {RESEARCH_ONLY}{quality}",
        caution=caution,
        identity=json.dumps([made_with, model["sha256"]], sort_keys=True),
    )
    return conventional, network


def form_objects(source: DicomSource, made: DerivedMap, form: str) -> Iterator[Dataset]:
    """Objects of one form of a map, in memory."""
    if form == "mr":
        yield from mr_series(source, made)
    elif form == "sc":
        values = sample_on_slices(made.volume, source).astype(np.float32)
        brain = Volume(made.brain, made.volume.affine)
        frames, enlarged = colour_frames(
            values,
            sample_on_slices(made.valid_volume, source).astype(bool),
            sample_on_slices(brain, source).astype(bool),
            made.volume.quantity,
            title=f"CBV relative to white matter, {made.method} ({made.algorithm})"
            + (f", {made.caution}" if made.caution else ""),
            orientation=patient_orientation(source),
        )
        yield from sc_series(source, made, frames, enlarged=enlarged)
    else:
        yield pm_object(source, made)


def write_prediction_dicom(
    done: Done, folder: Path, forms: Sequence[str], *, overwrite: bool = False
) -> dict[str, object]:
    """Write ``<folder>/<form>/nrcbv-conventional`` and ``<folder>/<form>/nrcbv`` for each form.

    The conventional map comes first, so that the network's never stands alone.

    Parameters
    ----------
    done : Done
        Of a series that was read from DICOM.
    folder : Path
    forms : sequence of str
        Some of ``mr``, ``sc``, ``pm``.
    overwrite : bool

    Returns
    -------
    dict
        Number of objects a folder, and seconds a form, for the run's manifest.

    Raises
    ------
    InputError
        If the series was not DICOM, there is no conventional map, the grids differ, or a file cannot be written.
    ConfigError
        If a folder exists and `overwrite` is False.
    """
    source = done.source
    if source is None:
        raise no_dicom_origin()
    maps = maps_for_dicom(done)
    objects: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for form in forms:
        began = time.monotonic()
        for made in maps:
            paths = write_objects(
                form_objects(source, made, form), folder / form / made.folder, overwrite=overwrite
            )
            objects[f"{form}/{made.folder}"] = len(paths)
        seconds[form] = round(time.monotonic() - began, 3)
    return {"warning": RESEARCH_ONLY, "objects": objects, "seconds": seconds}
