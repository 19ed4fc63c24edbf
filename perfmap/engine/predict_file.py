"""One file in, one map and its sidecar out: the thin edge between `predict` and the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfmap.engine.acquired_matrix import as_acquired
from perfmap.engine.cases import AS_IN_FILE, Protocol
from perfmap.engine.predict import PredictConfig, Prediction, predict
from perfmap.engine.provenance import map_sidecar
from perfmap.engine.quality import QualityReport, Status, assess
from perfmap.engine.request import environment, refuse_changed, request_of
from perfmap.engine.training_range import acquisition_of
from perfmap.errors import ConfigError, InputError, QualityError
from perfmap.io.dicom_source import DicomSource
from perfmap.io.files import check_output, sweep_partial
from perfmap.io.nifti import read_series, read_volume, write_volume
from perfmap.io.sidecar import has_image_name, image_stem, read_sidecar, sha256_of, sidecar_path, write_json
from perfmap.models.card import ModelCard
from perfmap.models.checkpoint import Checkpoint
from perfmap.preprocess.acquired_grid import WorkingGrid, working_grid
from perfmap.preprocess.pipeline import Validity
from perfmap.quantities import RESEARCH_ONLY
from perfmap.series import Series, Volume

_OTHER_FILES = (
    *(".nrrd", ".nhdr", ".mha", ".mhd", ".img", ".hdr", ".mgz", ".mgh", ".mif", ".dcm", ".zip", ".gz"),
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".svg", ".txt", ".json", ".csv", ".tsv", ".html", ".pdf"),
    *(".npy", ".npz", ".mat", ".h5", ".mnc", ".tar", ".bz2", ".xz"),
)
"""Endings of files that a map is not written as; any other name may be a folder's."""


@dataclass(frozen=True)
class Done:
    """A finished prediction: what was made, and where it was written.

    `maps` lie on the grid of the file, as they were written; those of `prediction` on the one they were computed on,
    which is another where the scanner interpolated the images: `grid` knows the way between them.
    """

    series: Series
    prediction: Prediction
    maps: dict[str, Volume]
    grid: WorkingGrid
    map_path: Path
    validity_path: Path | None
    sd_path: Path | None
    manifest: dict[str, Any]
    quality: QualityReport
    source: DicomSource | None = None  # None for a series that was read from NIfTI


def refuse_other_file(output: Path) -> None:
    """Refuse an output whose name is that of a file of another kind, by ConfigError; what is left is map or folder."""
    if output.suffix.lower() in _OTHER_FILES and not output.is_dir() and not has_image_name(output):
        raise ConfigError(
            f"--output {output} is neither a NIfTI file nor a folder; give a name that ends in .nii or .nii.gz, or a "
            "folder"
        )


def map_path_for(input_path: Path, output: Path, quantity: str) -> Path:
    """`output` itself where it names a NIfTI file, else ``<output>/<case>_<quantity>.nii.gz``."""
    if has_image_name(output):
        return output
    return output / f"{image_stem(input_path)}_{quantity}.nii.gz"


def require_uncertainty(card: ModelCard) -> None:
    """Refuse to be asked for standard deviations that a model does not give, by ConfigError."""
    if card.outputs.uncertainty is None:
        raise ConfigError(
            f"model '{card.name}' gives no standard deviation; leave --uncertainty out, or choose a model whose card "
            "has an uncertainty"
        )


def predict_file(
    input_path: Path,
    output: Path,
    checkpoint: Checkpoint,
    config: PredictConfig,
    *,
    protocol: Protocol = AS_IN_FILE,
    mask_path: Path | None = None,
    write_validity: bool = False,
    write_uncertainty: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    threads: int = 1,
    request: Mapping[str, Any] | None = None,
    source: DicomSource | None = None,
    on_slice: Callable[[int, int], None] = lambda done, total: None,
) -> Done:
    """Predict the map of a NIfTI series and write it with its sidecar.

    The sidecar is the same whenever input, model, settings and version are; run times stand in the manifest
    that is returned.

    Parameters
    ----------
    input_path : Path
        4D NIfTI.
    output : Path
        A ``.nii`` or ``.nii.gz`` file, or a folder.
    checkpoint : Checkpoint
    config : PredictConfig
    protocol : Protocol
    mask_path : Path, optional
        Brain mask on the grid of the series.
    write_validity : bool
        Write ``<map>_validity.nii.gz`` beside the map.
    write_uncertainty : bool
        Write ``<map>_sd.nii.gz``, the standard deviation in the map's unit, beside the map.
    overwrite : bool
        Whether files may be replaced.
    strict : bool
        Refuse a case that fails the quality gate; else its map is written and the reasons stand beside it.
    threads : int
    request : mapping, optional
        `request_of` these inputs, where it is known already.
    source : DicomSource, optional
        Where a converted series came from.
    on_slice : callable
        Called with (slices done, slices in all).

    Raises
    ------
    InputError
        If an input is refused or an output cannot be written.
    ConfigError
        If an output exists and `overwrite` is False, or the model gives no standard deviation that is asked for.
    QualityError
        If the case fails the quality gate and `strict` is True; nothing is written.
    """
    began = time.monotonic()
    quantity = checkpoint.card.outputs.quantity
    if write_uncertainty:
        require_uncertainty(checkpoint.card)
    map_path = map_path_for(input_path, output, quantity)
    validity_path = map_path.with_name(f"{image_stem(map_path)}_validity.nii.gz") if write_validity else None
    sd_path = map_path.with_name(f"{image_stem(map_path)}_sd.nii.gz") if write_uncertainty else None
    inputs = [input_path, sidecar_path(input_path), *([mask_path] if mask_path else [])]
    for path in (map_path, sidecar_path(map_path), validity_path, sd_path):
        if path is not None:
            check_output(path, inputs=inputs, overwrite=overwrite)
    sweep_partial(map_path.parent)

    request = request or request_of(
        input_path, checkpoint.card, config, protocol=protocol, mask_path=mask_path
    )
    series = read_series(
        input_path,
        **asdict(protocol),
    )
    mask = None
    if mask_path is not None:
        mask = read_volume(mask_path, like=series).array.astype(np.float32) > 0
        if not mask.any():
            raise InputError(f"mask {mask_path} is empty; wanted voxels above 0 where the brain is")
    told = read_sidecar(input_path)
    refuse_changed(request, input_path, mask_path=mask_path)
    grid = as_acquired(told, series) if config.grid == "acquired" else working_grid(series, None)
    read = time.monotonic()
    prediction = predict(
        grid.series,
        checkpoint,
        config,
        mask=None if mask is None else grid.mask(mask, f"mask {mask_path}"),
        threads=threads,
        in_place=True,
        on_slice=on_slice,
    )
    if grid.note:
        prediction = replace(prediction, notes=(grid.note, *prediction.notes))
    quality = assess(prediction, checkpoint.card, acquisition=acquisition_of(told))
    if strict and quality.status is Status.FAIL:
        raise QualityError(
            f"{input_path} fails the quality gate: {'; '.join(quality.reasons)}; "
            "without --strict the map is written with this warning"
        )
    maps = _on_stored_grid(grid, prediction.maps, mask, np.nan if config.outside_is_nan else 0.0)
    predicted = time.monotonic()

    sidecar = map_sidecar(
        series,
        prediction,
        checkpoint.card,
        config,
        quality,
        grid,
        maps["validity"],
        input_sha256=request["input_sha256"],
        mask_sha256=request["mask_sha256"],
        source=source,
    )
    if overwrite and map_path.exists():  # what stands beside an earlier map is not this one's
        for kind, kept in (("validity", validity_path), ("sd", sd_path)):
            if kept is None:
                map_path.with_name(f"{image_stem(map_path)}_{kind}.nii.gz").unlink(missing_ok=True)
    if validity_path is not None:
        write_volume(maps["validity"], validity_path, grid=series.grid, dtype=np.uint8, overwrite=overwrite)
    if sd_path is not None:
        write_volume(maps[f"{quantity}_sd"], sd_path, grid=series.grid, overwrite=overwrite)
    write_json(sidecar, sidecar_path(map_path), overwrite=overwrite)
    # The map comes last: where it stands, everything else stands too.
    write_volume(maps[quantity], map_path, grid=series.grid, overwrite=overwrite)
    written = time.monotonic()
    manifest = {
        "warning": RESEARCH_ONLY,
        "map": map_path.name,
        "map_sha256": sha256_of(map_path),
        "sidecar": sidecar,
        "request": dict(request),
        # A converted file is gone after the run, and the names in an export may be those of a patient.
        "input": None if source else str(input_path.absolute()),
        "mask": str(mask_path.absolute()) if mask_path else None,
        "qc": quality.summary,
        "environment": environment(),
        "seconds": {
            "read": round(read - began, 3),
            "predict": round(predicted - read, 3),
            "write": round(written - predicted, 3),
            "total": round(written - began, 3),
        },
        "threads": threads,
        "device": config.device,
    }
    return Done(series, prediction, maps, grid, map_path, validity_path, sd_path, manifest, quality, source)


def _on_stored_grid(
    grid: WorkingGrid, maps: Mapping[str, Volume], mask: NDArray[np.bool_] | None, outside: float
) -> dict[str, Volume]:
    """Maps on the grid of the file, and in it nowhere outside of a mask that was given."""
    valid = np.asarray(maps["validity"].array == Validity.VALID)
    found = {}
    for name, volume in maps.items():
        on_file = grid.labels(volume) if name == "validity" else grid.values(volume, valid)
        if mask is not None and not grid.is_stored:
            nothing = Validity.OUTSIDE if name == "validity" else outside
            array = np.where(mask, on_file.array, nothing).astype(on_file.array.dtype)
            on_file = replace(on_file, array=array)
        found[name] = on_file
    return found
