"""A series in, conventional maps and their sidecars out: the thin edge between `conventional` and the disk."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import perfmap
from perfmap.engine.acquired_matrix import as_acquired
from perfmap.engine.conventional import Conventional, conventional
from perfmap.engine.conventional_config import ConventionalConfig
from perfmap.engine.provenance import describe_grid
from perfmap.errors import ConfigError, InputError
from perfmap.io.curve import read_curve
from perfmap.io.files import check_output, sweep_partial
from perfmap.io.nifti import read_series, read_volume, write_volume
from perfmap.io.sidecar import has_image_name, read_sidecar, sha256_of, sidecar_path, write_json
from perfmap.preprocess.acquired_grid import WorkingGrid, working_grid
from perfmap.quantities import QUANTITIES, RESEARCH_ONLY
from perfmap.series import Series, Volume


@dataclass(frozen=True)
class ConventionalInputs:
    """Files and times that go in beside the series; None where there is none.

    Attributes
    ----------
    time_step, repetition_time, echo_time : float, optional
        Times in s that win over header and sidecar.
    mask, nawm, second_echo : Path, optional
        Brain, white matter, and the later echo, all on the grid of the series.
    aif : str, optional
        ``auto``, a NIfTI mask of artery voxels, or a text file with ΔR2* (1/s) of each volume.
    """

    time_step: float | None = None
    repetition_time: float | None = None
    echo_time: float | None = None
    mask: Path | None = None
    nawm: Path | None = None
    second_echo: Path | None = None
    aif: str | None = None

    def files(self) -> dict[str, Path]:
        """Files that are read, by what they are."""
        named = {"mask": self.mask, "nawm": self.nawm, "second_echo": self.second_echo}
        named["aif"] = Path(self.aif) if self.aif not in (None, "auto") else None
        return {name: path for name, path in named.items() if path is not None}


@dataclass(frozen=True)
class ConventionalDone:
    """What was made, and where it was written."""

    series: Series
    result: Conventional
    paths: dict[str, Path]
    manifest: dict[str, Any]


def conventional_file(
    input_path: Path,
    output: Path,
    config: ConventionalConfig,
    *,
    inputs: ConventionalInputs = ConventionalInputs(),
    overwrite: bool = False,
) -> ConventionalDone:
    """Compute conventional maps of a NIfTI series and write ``OUTPUT/<map>.nii.gz``, each with its sidecar.

    Parameters
    ----------
    input_path : Path
        4D NIfTI.
    output : Path
        Folder; made where it does not exist.
    config : ConventionalConfig
    inputs : ConventionalInputs
    overwrite : bool
        Whether files may be replaced.

    Returns
    -------
    ConventionalDone

    Raises
    ------
    InputError
        If an input is refused or an output cannot be written.
    ConfigError
        If an output exists and `overwrite` is False, or inputs and settings do not fit each other.
    """
    began = time.monotonic()
    paths = {name: output / f"{name}.nii.gz" for name in config.chosen_maps}
    read = [input_path, sidecar_path(input_path), *inputs.files().values()]
    if output.is_file() or (has_image_name(output) and not output.is_dir()):
        raise ConfigError(
            f"output {output} names a file, conventional writes a folder of maps; give a folder with -o"
        )
    for path in paths.values():
        for target in (path, sidecar_path(path)):
            check_output(target, inputs=read, overwrite=overwrite)
    sweep_partial(output)
    series = read_series(
        input_path,
        time_step=inputs.time_step,
        repetition_time=inputs.repetition_time,
        echo_time=inputs.echo_time,
    )
    second_echo = read_series(inputs.second_echo) if inputs.second_echo else None
    if config.grid == "acquired":
        grid = as_acquired(read_sidecar(input_path), series, second_echo)
    else:
        grid = working_grid(series, None, second_echo)
    mask = _mask(inputs.mask, series)
    nawm = _mask(inputs.nawm, series)
    result = conventional(
        grid.series,
        config,
        mask=None if mask is None else grid.mask(mask, f"mask {inputs.mask}"),
        aif=_arterial(inputs.aif, series, grid),
        nawm=None if nawm is None else grid.mask(nawm, f"white matter mask {inputs.nawm}"),
        second_echo=grid.second_echo,
    )
    result = replace(
        result,
        maps={name: _on_stored_grid(grid, volume, result, mask) for name, volume in result.maps.items()},
        notes=(*([grid.note] if grid.note else []), *result.notes),
    )
    computed = time.monotonic()
    record = describe(series, result, config, inputs, input_path, grid, mask)
    for name, path in paths.items():
        write_json({**_quantity(name), **record}, sidecar_path(path), overwrite=overwrite)
        write_volume(result.maps[name], path, grid=series.grid, overwrite=overwrite)
    manifest = {
        **record,
        "Maps": {name: {"file": path.name, "sha256": sha256_of(path)} for name, path in paths.items()},
        "Seconds": {"compute": computed - began, "total": time.monotonic() - began},
    }
    return ConventionalDone(series, result, paths, manifest)


def describe(
    series: Series,
    result: Conventional,
    config: ConventionalConfig,
    inputs: ConventionalInputs,
    input_path: Path,
    grid: WorkingGrid,
    mask: NDArray[np.bool_] | None,
) -> dict[str, Any]:
    """What all sidecars of a run share: the same for the same input, settings and version.

    Paths and file names are left out: they may name a patient.
    """
    bolus, motion = result.brain.bolus, result.motion
    brain = grid.labels(Volume(result.brain.mask, grid.series.affine)).array.astype(bool)
    if mask is not None:
        brain &= mask
    found: dict[str, Any] = {
        "unsteady_volumes": bolus.n_unsteady,
        "baseline_volumes": [bolus.baseline.start, bolus.baseline.stop - 1],
        "arrival_volume": bolus.arrival,
        "peak_volume": bolus.peak,
        "first_pass_volumes": [bolus.window.start, bolus.window.stop - 1],
        "brain_voxels": int(brain.sum()),
        "white_matter_level": result.white_matter_level,
        "arterial_input_delta_r2star_per_s": None if result.aif is None else result.aif.round(4),
        "motion": None
        if motion is None
        else {"max_displacement_mm": round(motion.max_displacement, 3), "corrected": motion.corrected},
    }
    if result.boluses:
        found["boluses"] = result.boluses
    if acquired := describe_grid(grid):
        found["acquired_grid"] = acquired
    return {
        "Warning": RESEARCH_ONLY,
        "GeneratedBy": {"Name": "perfmap", "Version": perfmap.__version__},
        "Method": config.method,
        "Settings": {**config.model_dump(), "window": config.chosen_window, "maps": config.chosen_maps},
        "Input": {
            "sha256": sha256_of(input_path),
            "shape": list(series.signal.shape),
            "time_step_s": series.time_step,
            "repetition_time_s": series.repetition_time,
            "echo_time_s": series.echo_time,
            "other_files_sha256": {name: sha256_of(path) for name, path in inputs.files().items()},
            "arterial_input": "auto" if inputs.aif == "auto" else "given" if inputs.aif else None,
        },
        "Found": found,
        "Notes": [*series.notes, *result.notes],
    }


def _quantity(name: str) -> dict[str, str]:
    quantity = QUANTITIES[name]
    return {"Quantity": name, "Description": quantity.label, "Units": quantity.unit or "1"}


def _mask(path: Path | None, series: Series) -> NDArray[np.bool_] | None:
    if path is None:
        return None
    mask = read_volume(path, like=series).array.astype(np.float32) > 0
    if not mask.any():
        raise InputError(f"mask {path} is empty, wanted voxels above 0")
    return np.asarray(mask)


def _arterial(aif: str | None, series: Series, grid: WorkingGrid) -> ArrayLike | None:
    if aif is None or aif == "auto":
        return aif
    path = Path(aif)
    if not has_image_name(path):
        return read_curve(path)
    mask = _mask(path, series)
    return None if mask is None else grid.mask(mask, f"mask {path}", share=0.0)  # an artery may be one voxel


def _on_stored_grid(
    grid: WorkingGrid, volume: Volume, result: Conventional, mask: NDArray[np.bool_] | None
) -> Volume:
    """A map on the grid of the file: 0 outside of the brain, but for those that know no brain (CaPTk's)."""
    if grid.is_stored:
        return volume
    finite = np.isfinite(np.asarray(volume.array, dtype=np.float64))
    everywhere = volume.quantity in ("ap_rcbv", "psr", "ph")
    on_file = grid.values(volume, finite if everywhere else finite & result.brain.mask)
    if mask is None or everywhere:
        return on_file
    return replace(on_file, array=np.where(mask, on_file.array, 0).astype(on_file.array.dtype))
