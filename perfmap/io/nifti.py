"""NIfTI in, NIfTI out: any orientation in the file, RAS+ inside, and back onto exactly the file's grid.

A file is read as one stream, volume by volume, each turned to RAS+ and scaled on its way into a single
float32 array, so that a series needs its own size in memory and one volume more. The content decides whether
a file is compressed, not its name.
"""

from __future__ import annotations

import gzip
import math
import warnings
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from perfmap.errors import InputError, PerfmapWarning
from perfmap.io.contrast_settings import FIELD_STRENGTH, FLIP_ANGLE, resolve_setting
from perfmap.io.files import atomic_output
from perfmap.io.nifti_header import (
    RAS,
    geometry_of,
    header_for,
    nib,
    opened_nifti,
    ras_grid,
    scaling_of,
    shape_of,
)
from perfmap.io.sidecar import has_image_name, read_sidecar
from perfmap.io.time_axis import resolve_timing
from perfmap.series import Grid, Series, Volume

MIN_VOLUMES = 20
AFFINE_TOLERANCE = 1e-3  # mm, between two grids that are called equal


def read_series(
    path: Path | str,
    *,
    time_step: float | None = None,
    repetition_time: float | None = None,
    echo_time: float | None = None,
    flip_angle: float | None = None,
    field_strength: float | None = None,
) -> Series:
    """Read a DSC series and turn it to RAS+, seconds and float32.

    Parameters
    ----------
    path : path
        A NIfTI file, ``.nii`` or ``.nii.gz``; a sidecar of the same stem is read with it.
    time_step, repetition_time, echo_time : float, optional
        Times in s that win over header and sidecar; the rules stand in `perfmap.io.time_axis`.
    flip_angle, field_strength : float, optional
        Degrees and T that win over the sidecar, see `perfmap.io.contrast_settings`.

    Returns
    -------
    Series
        Signal of shape (x, y, z, t), with the file's grid, and in `notes` every warning that was given. Volumes that
        are 0 throughout are left out at both ends, and repeat the one before them elsewhere.

    Raises
    ------
    InputError
        If the file is missing, damaged, not NIfTI, not exactly 4D, shorter than 20 volumes that hold an image,
        without a usable affine, or if its time axis cannot be known.

    Warns
    -----
    PerfmapWarning
        Once for each entry of `notes`.
    """
    path = Path(path)
    with opened_nifti(path) as (header, stream):
        shape = shape_of(header, path)
        if len(shape) != 4:
            raise InputError(
                f"{path} has shape {shape}, wanted exactly 4 axes (x, y, z, time); give one whole series"
            )
        if shape[3] < MIN_VOLUMES:
            raise InputError(
                f"{path} has {shape[3]} volumes, wanted at least {MIN_VOLUMES}; is it the DSC series?"
            )
        geometry = geometry_of(header, path)
        sidecar = read_sidecar(path)
        timing = resolve_timing(
            sidecar,
            header_step=float(header["pixdim"][4]),
            header_unit=header.get_xyzt_units()[1],
            time_step=time_step,
            repetition_time=repetition_time,
            echo_time=echo_time,
        )
        flip, flip_notes = resolve_setting(sidecar, FLIP_ANGLE, option=flip_angle)
        field, field_notes = resolve_setting(sidecar, FIELD_STRENGTH, option=field_strength)
        signal = _read_volumes(stream, header, path, orientation=geometry.grid.orientation, dtype=np.float32)
    signal, lost = _without_empty(signal, path)
    notes = (*geometry.notes, *timing.notes, *flip_notes, *field_notes, *lost)
    for note in notes:
        warnings.warn(f"{path.name}: {note}", PerfmapWarning, stacklevel=2)
    return Series(
        signal=cast("NDArray[np.float32]", signal),
        affine=geometry.affine,
        time_step=timing.time_step,
        repetition_time=timing.repetition_time,
        echo_time=timing.echo_time,
        flip_angle=flip,
        field_strength=field,
        grid=geometry.grid,
        notes=notes,
    )


def _without_empty(signal: NDArray[Any], path: Path) -> tuple[NDArray[Any], list[str]]:
    """The series without volumes that are 0 throughout, and what was done to it; one that is 0 altogether as it is.

    Those at its ends are left out. One amid the others is a lost image: it keeps its place in time and repeats the one
    before it, as exports do, so that what looks for repeated volumes counts it.
    """
    n = signal.shape[3]
    filled = [bool(signal[..., t].any()) for t in range(n)]
    if not any(filled) or all(filled):
        return signal, []
    if sum(filled) < MIN_VOLUMES:
        raise InputError(
            f"{path}: {n - sum(filled)} of {n} volumes are 0 throughout, wanted at least {MIN_VOLUMES} that hold an "
            "image; export the series again"
        )
    first, length = filled.index(True), n - filled[::-1].index(True)
    notes = [
        f"the {where} {cut} of {n} volumes are 0 throughout and are left out"
        for where, cut in (("first", first), ("last", n - length))
        if cut
    ]
    lost = [t for t in range(first, length) if not filled[t]]
    for t in lost:
        signal[..., t] = signal[..., t - 1]
    if lost:
        listed = ", ".join(map(str, lost[:8])) + (", …" if len(lost) > 8 else "")
        notes.append(
            f"volumes {listed} (counted from 0; {len(lost)} of {n}) are 0 throughout and repeat the one before them"
        )
    return signal[..., first:length], notes


def read_volume(path: Path | str, *, like: Series | Volume | None = None, quantity: str = "") -> Volume:
    """Read a mask, a label map or a map and turn it to RAS+.

    Parameters
    ----------
    path : path
        A 3D NIfTI file; further axes of length 1 are dropped.
    like : Series or Volume, optional
        What the file must share its grid with, whatever the order of the axes in either file.
    quantity : str
        Identifier from `perfmap.quantities`, kept in the volume.

    Returns
    -------
    Volume
        Integers as stored where the header scales nothing, else float32.

    Raises
    ------
    InputError
        If the file cannot be read as one volume, or its grid differs from that of `like` (shape, or affine
        by more than 1e-3 mm).
    """
    path = Path(path)
    with opened_nifti(path) as (header, stream):
        shape = shape_of(header, path)
        if len(shape) < 3 or any(length != 1 for length in shape[3:]):
            raise InputError(f"{path} has shape {shape}, wanted one volume of 3 axes; pick one volume of it")
        geometry = geometry_of(header, path)
        dtype = header.get_data_dtype()
        plain_integers = dtype.kind in "iu" and scaling_of(header, path) == (1.0, 0.0)
        array = _read_volumes(
            stream,
            header,
            path,
            orientation=geometry.grid.orientation,
            dtype=dtype.newbyteorder("=") if plain_integers else np.float32,
        )[..., 0]
    volume = Volume(array, geometry.affine, quantity)
    if like is not None:
        _check_same_grid(volume, like, path)
    return volume


def write_volume(
    volume: Volume,
    path: Path | str,
    *,
    grid: Grid | None,
    dtype: DTypeLike = np.float32,
    overwrite: bool = False,
) -> None:
    """Write a volume onto exactly the grid of the file that the series came from.

    Shape, axes, qform and sform with their codes and the units are those of `grid`. Equal volumes give equal
    bytes: a compressed file carries neither time nor name.

    Parameters
    ----------
    volume : Volume
        In RAS+, on the grid of the series.
    path : path
        Ends in ``.nii`` or ``.nii.gz``.
    grid : Grid or None
        ``series.grid``; None writes the RAS+ axes as they are, in the scanner's space.
    dtype : dtype
        Type in the file, unscaled.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If the volume does not lie on `grid`, the name has another suffix, or the file cannot be written.
    ConfigError
        If the file exists and `overwrite` is False.
    """
    grid = grid or ras_grid(volume.shape, volume.affine)
    _write(
        volume.array[..., np.newaxis], volume.affine, Path(path), grid=grid, dtype=dtype, overwrite=overwrite
    )


def write_series(
    series: Series, path: Path | str, *, dtype: DTypeLike = np.float32, overwrite: bool = False
) -> None:
    """Write a series as 4D NIfTI on its own grid (RAS+ where it has none), time step in seconds.

    Raises as `write_volume` does.
    """
    grid = series.grid or ras_grid(series.signal.shape[:3], series.affine)
    _write(
        series.signal,
        series.affine,
        Path(path),
        grid=grid,
        dtype=dtype,
        overwrite=overwrite,
        time_step=series.time_step,
    )


def _read_volumes(
    stream: BinaryIO, header: Any, path: Path, *, orientation: NDArray[np.float64], dtype: DTypeLike
) -> NDArray[Any]:
    """All volumes in one array (x, y, z, t), RAS+ and scaled; reads to the end, which proves checksums."""
    shape = shape_of(header, path)
    spatial, n_volumes = shape[:3], math.prod(shape[3:])
    _skip(stream, int(header.get_data_offset()) - header.sizeof_hdr, path)
    slope, intercept = scaling_of(header, path)
    scaled = (slope, intercept) != (1.0, 0.0)
    buffer = np.empty(math.prod(spatial), dtype=header.get_data_dtype())
    stored = buffer.reshape(spatial, order="F")
    turned = nib.orientations.apply_orientation(stored, orientation).shape
    array = np.empty((n_volumes, *reversed(turned)), dtype=dtype).T
    for index in range(n_volumes):
        _fill(stream, buffer, path)
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # what float32 cannot hold is infinite from here on
            values = stored.astype(np.float64) * slope + intercept if scaled else stored
            array[..., index] = nib.orientations.apply_orientation(values, orientation)
    while stream.read(1 << 20):
        pass
    return array


def _skip(stream: BinaryIO, n_bytes: int, path: Path) -> None:
    if n_bytes < 0:
        raise InputError(f"{path} has a data offset inside its header; export it again")
    while n_bytes:
        piece = stream.read(min(n_bytes, 1 << 20))
        if not piece:
            raise EOFError("the file ends before its data")
        n_bytes -= len(piece)


def _fill(stream: BinaryIO, buffer: NDArray[Any], path: Path) -> None:
    view = memoryview(cast(Any, buffer.view(np.uint8)))
    done = 0
    while done < len(view):
        n_read = cast(Any, stream).readinto(view[done:])
        if not n_read:
            raise EOFError("the file ends before its last volume")
        done += n_read


def _check_same_grid(volume: Volume, like: Series | Volume, path: Path) -> None:
    wanted = like.signal.shape[:3] if isinstance(like, Series) else like.shape
    if volume.shape != wanted:
        raise InputError(
            f"{path} has shape {volume.shape} in RAS+, the image it belongs to {wanted}; resample it"
        )
    apart = float(np.abs(volume.affine - like.affine).max())
    if apart > AFFINE_TOLERANCE:
        raise InputError(
            f"{path} has an affine that differs by {apart:.3g} mm from the image it belongs to; resample it"
        )


def _write(
    array: NDArray[Any],
    affine: NDArray[np.float64],
    path: Path,
    *,
    grid: Grid,
    dtype: DTypeLike,
    overwrite: bool,
    time_step: float | None = None,
) -> None:
    if not has_image_name(path):
        raise InputError(f"output {path} ends in {path.suffix!r}, wanted .nii or .nii.gz")
    to_file = nib.orientations.ornt_transform(RAS, grid.orientation)
    if nib.orientations.apply_orientation(array[..., 0], to_file).shape != grid.shape:
        raise InputError(
            f"array of shape {array.shape[:3]} in RAS+ does not fit the file's grid {grid.shape}"
        )
    dtype = np.dtype(dtype)
    header = header_for(grid, n_volumes=array.shape[3], dtype=dtype, time_step=time_step)
    turned_affine = header.get_best_affine() @ nib.orientations.inv_ornt_aff(grid.orientation, grid.shape)
    apart = float(np.abs(turned_affine - affine).max())
    if apart > AFFINE_TOLERANCE:
        raise InputError(f"affine of the array differs by {apart:.3g} mm from that of the file's grid")
    with atomic_output(path, overwrite=overwrite) as raw:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as stream:
                _write_volumes(cast(BinaryIO, stream), header, array, to_file, dtype)
        else:
            _write_volumes(raw, header, array, to_file, dtype)


def _write_volumes(
    stream: BinaryIO, header: Any, array: NDArray[Any], to_file: NDArray[np.float64], dtype: np.dtype[Any]
) -> None:
    stream.write(header.binaryblock + bytes(4))
    for index in range(array.shape[3]):
        stream.write(
            nib.orientations.apply_orientation(array[..., index], to_file).astype(dtype).tobytes(order="F")
        )
