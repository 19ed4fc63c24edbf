"""NIfTI headers: opening a file safely, its place in space, and the header that puts a map back there."""

from __future__ import annotations

import gzip
import itertools
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel
import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.series import Grid

nib: Any = nibabel  # typed in part only
GZIP_MAX_RATIO = 1032  # deflate cannot compress better than this
RAS = nib.orientations.axcodes2ornt(("R", "A", "S"))
_HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}


@dataclass(frozen=True)
class Geometry:
    """A file's place in space: its own grid, the RAS+ affine of the turned array, and what is doubtful."""

    grid: Grid
    affine: NDArray[np.float64]
    notes: tuple[str, ...]


@contextmanager
def opened_nifti(path: Path) -> Iterator[tuple[Any, BinaryIO]]:
    """Header of a NIfTI file, and its stream just behind the header; every failure is an `InputError`."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder, wanted a NIfTI file")
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            raise InputError(f"{path} is not a regular file, wanted a NIfTI file")
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if compressed else raw
            with _interpreting(path):
                header = _read_header(stream, path)
                _check_size(header, path, compressed=compressed)
            yield header, stream
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is truncated or damaged ({error}); copy or export it again") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def _interpreting(path: Path) -> Iterator[None]:
    """Name the file when nibabel cannot make sense of a header field."""
    try:
        yield
    except (nib.spatialimages.HeaderDataError, KeyError, ValueError, OverflowError) as error:
        raise InputError(f"{path} has an unusable NIfTI header ({error}); export it again") from error


def _read_header(stream: BinaryIO, path: Path) -> Any:
    block = stream.read(348)
    if not block:
        raise InputError(f"{path} is empty; export or copy it again")
    sizes = {int.from_bytes(block[:4], order) for order in ("little", "big")} & set(_HEADERS)
    if len(block) < 348 or not sizes:
        raise InputError(f"{path} is not a NIfTI file; give a .nii or .nii.gz")
    size = sizes.pop()
    block += stream.read(size - 348)
    magic = block[344:348] if size == 348 else block[4:8]
    if magic[:3] in (b"ni1", b"ni2"):
        raise InputError(f"{path} is one half of an .hdr/.img pair; convert it to one .nii file")
    if magic[:3] not in (b"n+1", b"n+2") or len(block) < size:
        raise InputError(f"{path} is not a NIfTI file; give a .nii or .nii.gz")
    header = _HEADERS[size](block, check=False)
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1  # the standard's meaning of any other value
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise InputError(f"{path} holds {header.get_value_label('datatype')} values, wanted real numbers")
    return header


def _check_size(header: Any, path: Path, *, compressed: bool) -> None:
    shape = shape_of(header, path)
    wanted = int(header.get_data_offset()) + math.prod(shape) * header.get_data_dtype().itemsize
    on_disk = path.stat().st_size
    if wanted > on_disk * (GZIP_MAX_RATIO if compressed else 1):
        raise InputError(
            f"{path} is truncated: {on_disk} bytes, its header speaks of {wanted}; copy it again"
        )


def shape_of(header: Any, path: Path) -> tuple[int, ...]:
    """Lengths of all axes, each at least 1."""
    shape = tuple(int(length) for length in header.get_data_shape())
    if not shape or min(shape) < 1:
        raise InputError(f"{path} has shape {shape}, so it holds no voxel; export it again")
    return shape


def scaling_of(header: Any, path: Path) -> tuple[float, float]:
    """Slope and intercept from stored to real values; (1, 0) where the header scales nothing."""
    with _interpreting(path):
        slope, intercept = header.get_slope_inter()
    return (1.0, 0.0) if slope is None else (float(slope), float(intercept))


def geometry_of(header: Any, path: Path) -> Geometry:
    """Where the file lies in space, checked.

    Raises
    ------
    InputError
        If the affine in use is singular or not finite, or a header field makes no sense.
    """
    with _interpreting(path), np.errstate(all="ignore"):  # what overflows is refused below
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        qform, qform_code = header.get_qform(coded=True)
        sform, sform_code = header.get_sform(coded=True)
        space_unit, time_unit = header.get_xyzt_units()
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(f"{path} has an affine that is singular or not finite; mend its qform and sform")
    orientation = nib.orientations.io_orientation(affine)
    if not np.isfinite(orientation).all():
        raise InputError(f"{path} has an affine whose axes cannot be told apart; mend its qform and sform")
    shape = shape_of(header, path)[:3]
    grid = Grid(
        shape=(shape[0], shape[1], shape[2]),
        orientation=orientation,
        zooms=tuple(float(zoom) for zoom in header["pixdim"][1:4]),  # type: ignore[arg-type]
        qform=qform,
        sform=sform,
        qform_code=_code(qform_code),
        sform_code=_code(sform_code),
        space_unit=space_unit,
        time_unit=time_unit,
    )
    return Geometry(
        grid, affine @ nib.orientations.inv_ornt_aff(orientation, shape), tuple(_geometry_notes(grid))
    )


def _code(code: int) -> int:
    """A code as NIfTI-1 can hold it: one of NIfTI-2 beyond that range means as little as any unknown one."""
    return int(code) if abs(int(code)) <= np.iinfo(np.int16).max else 1


def _geometry_notes(grid: Grid) -> Iterator[str]:
    if grid.qform is None and grid.sform is None:
        yield "the header has neither qform nor sform: orientation is a guess, left and right may be swapped"
    if grid.qform is not None and grid.sform is not None:
        apart = _largest_shift(grid.qform, grid.sform, grid.shape)
        if apart > 0.1:
            yield f"qform and sform differ by up to {apart:.3g} mm; the sform is used, both are kept"


def _largest_shift(one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, n - 1) for n in shape[:3]))])
    return float(np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max())


def ras_grid(shape: tuple[int, ...], affine: NDArray[np.float64]) -> Grid:
    """Grid of an array that comes from no file: axes as they are, both affines in scanner space."""
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    return Grid(
        shape=(shape[0], shape[1], shape[2]),
        orientation=RAS,
        zooms=(float(zooms[0]), float(zooms[1]), float(zooms[2])),
        qform=affine,
        sform=affine,
        qform_code=1,
        sform_code=1,
        space_unit="mm",
        time_unit="sec",
    )


def header_for(grid: Grid, *, n_volumes: int, dtype: np.dtype[Any], time_step: float | None) -> Any:
    """NIfTI-1 header of a single file on `grid`: 3D, or 4D where a time step (s) is given."""
    header = nib.Nifti1Header()
    header.set_data_shape(grid.shape if time_step is None else (*grid.shape, n_volumes))
    header.set_data_dtype(dtype)
    # The codes are put in directly: a file may hold one that the standard does not know, and it is kept.
    header.set_qform(grid.qform, 0 if grid.qform is None else 1)
    header.set_sform(grid.sform, 0 if grid.sform is None else 1)
    header["qform_code"], header["sform_code"] = grid.qform_code, grid.sform_code
    header["pixdim"][1:4] = grid.zooms
    header.set_xyzt_units(grid.space_unit, grid.time_unit)
    if time_step is not None:
        header["pixdim"][4] = time_step
        header.set_xyzt_units(grid.space_unit, "sec")
    header["magic"] = b"n+1"
    header.set_data_offset(352)
    header.set_slope_inter(1, 0)
    return header
