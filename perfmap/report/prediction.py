"""A finished prediction as a picture and as a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perfmap.engine.predict import plain_nrcbv
from perfmap.engine.predict_file import Done
from perfmap.engine.quality import QualityReport
from perfmap.engine.quality_table import THRESHOLDS
from perfmap.errors import InputError
from perfmap.io.files import atomic_output
from perfmap.preprocess.pipeline import Validity
from perfmap.quantities import QUANTITIES
from perfmap.report.curves import curve_figure
from perfmap.report.figures import MapPanel, map_figure
from perfmap.report.html import Picture, write_report


def prediction_figure(done: Done) -> bytes:
    """PNG of the network's map with the plain first-pass integral, normalised by the tool's own means, beside it."""
    model = done.manifest["sidecar"]["Model"]["Name"]
    maps, quantity = done.prediction.maps, done.manifest["sidecar"]["Quantity"]
    validity = maps["validity"].array.astype(np.uint8)
    return map_figure(
        maps[quantity],
        quantity,
        title=f"Network {model}",
        beside=_plain_panel(done) if quantity == "nrcbv" else None,
        mask=validity != Validity.OUTSIDE,
        no_reading=validity > Validity.VALID,
    )


def _sd_picture(done: Done) -> list[Picture]:
    """The standard deviation as a picture, where it was asked for."""
    quantity, maps = done.manifest["sidecar"]["Quantity"], done.prediction.maps
    if done.sd_path is None:
        return []
    validity = maps["validity"].array.astype(np.uint8)
    picture = map_figure(
        maps[f"{quantity}_sd"],
        quantity,
        title="Standard deviation",
        is_sd=True,
        mask=validity != Validity.OUTSIDE,
        no_reading=validity > Validity.VALID,
    )
    return [
        Picture(
            picture,
            alt=f"Slices of the standard deviation of the {quantity} map",
            caption="How far the network holds each voxel to be uncertain, for what its simulator varied.",
        )
    ]


def _ranges(rows: Mapping[str, Any]) -> dict[str, Any]:
    """First and last volume of a range in words."""
    return {
        key: f"{value[0]} to {value[1]}, counted from 0"
        if key.endswith("_volumes") and isinstance(value, list)
        else value
        for key, value in rows.items()
    }


def _plain_panel(done: Done) -> MapPanel | None:
    """The plain integral as a panel; None where no white matter is found to normalise it by."""
    try:
        return MapPanel(plain_nrcbv(done.prediction.prepared), "nrcbv", title="Plain first-pass integral")
    except InputError:
        return None


def _quality_rows(quality: QualityReport) -> dict[str, str]:
    """Every measure of the gate in words, with its value and verdict."""
    rows = {}
    for finding in quality.findings:
        known = THRESHOLDS.get(finding.name)
        value = (
            "" if finding.value is None else f", {finding.value:.3g} {known.unit if known else ''}".rstrip()
        )
        rows[known.what if known else finding.name] = f"{finding.status}{value}"
    return rows


def write_prediction_figure(done: Done, path: Path, *, overwrite: bool = False) -> None:
    """Write `prediction_figure` to a file, atomically."""
    with atomic_output(path, overwrite=overwrite) as stream:
        stream.write(prediction_figure(done))


def write_prediction_report(done: Done, path: Path, *, overwrite: bool = False) -> None:
    """Write a one-file HTML report: map, curve, what was found, what it was made with."""
    sidecar = done.manifest["sidecar"]
    prepared = done.prediction.prepared
    quantity = QUANTITIES[sidecar["Quantity"]]
    values = done.prediction.maps[quantity.identifier].array[prepared.mask].astype(np.float32)
    light, dark = (
        curve_figure(prepared.series.time, prepared.mean_curve, prepared.bolus, dark=dark)
        for dark in (False, True)
    )
    write_report(
        path,
        title=quantity.label,
        subtitle=f"predicted by the network {sidecar['Model']['Name']} from a DSC-MRI series",
        facts={
            "median in the brain": round(float(np.nanmedian(values)), 3),
            "voxels with a reading": sidecar["Found"]["voxels"]["valid"],
            "quality gate": str(done.quality.status),
            "volumes": done.series.n_times,
            "time step, s": done.series.time_step,
        },
        warnings=[*(f"Quality {reason}" for reason in done.quality.reasons), *sidecar["Notes"]],
        pictures=[
            Picture(
                prediction_figure(done),
                alt=f"Slices of the {quantity.identifier} map beside the plain first-pass integral",
                caption="The network's map, and the plain first-pass integral over its estimate of white matter.",
            ),
            *_sd_picture(done),
            Picture(
                light,
                dark_png=dark,
                alt="Mean signal of the brain over time with baseline, arrival and first pass marked",
                caption="Mean signal of the brain, and the bolus found in it.",
            ),
        ],
        tables={
            "Input": sidecar["Input"],
            "Found in the series": _ranges(
                {key: value for key, value in sidecar["Found"].items() if key != "voxels"}
            ),
            "Motion": sidecar["Motion"] or {"looked at": False},
            "Quality gate": _quality_rows(done.quality),
            "Voxels": sidecar["Found"]["voxels"],
            "Model": {key: value for key, value in sidecar["Model"].items() if key != "Uncertainty"},
            **({"Uncertainty": uncertainty} if (uncertainty := sidecar["Model"]["Uncertainty"]) else {}),
            "Settings": {
                key: "not given" if value is None else value for key, value in sidecar["Settings"].items()
            },
            "Run": {
                "perfmap": sidecar["GeneratedBy"]["Version"],
                **{f"{step}_s": seconds for step, seconds in done.manifest["seconds"].items()},
            },
        },
        overwrite=overwrite,
    )
