"""JSON beside an image: reading a sidecar, writing JSON that is equal for equal content, checksums."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perfmap.errors import ConfigError, InputError
from perfmap.io.files import atomic_output, check_output


def has_image_name(path: Path) -> bool:
    """Whether a path is named like a NIfTI image: ``.nii`` or ``.nii.gz``, in letters of either size."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def image_stem(path: Path) -> str:
    """Name of an image file without ``.nii`` or ``.nii.gz``."""
    name = path.name
    for suffix in (".nii.gz", ".nii"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of an image lies: the same stem with ``.json``, in the same folder."""
    return path.with_name(image_stem(path) + ".json")


def refuse_place_of_image(path: Path, *, images: Sequence[Path] = ()) -> None:
    """Refuse to write a report, figure, table, JSON or log where an image or its sidecar lies or will lie.

    Parameters
    ----------
    path : Path
    images : sequence of Path
        Images that the run reads or writes; those that lie beside `path` are found.

    Raises
    ------
    ConfigError
        If `path` is named like an image, or is an image's sidecar.
    """
    if has_image_name(path):
        raise ConfigError(
            f"{path} is named like an image, and what goes there is none; choose another ending"
        )
    beside = [path.with_suffix(suffix) for suffix in (".nii.gz", ".nii")]
    for image in (*filter(has_image_name, images), *(image for image in beside if image.is_file())):
        if sidecar_path(image).absolute() == path.absolute():
            raise ConfigError(f"{path} is the place of the sidecar of {image.name}; choose another name")


def check_side_outputs(
    paths: Sequence[Path], *, images: Sequence[Path] = (), overwrite: bool = False
) -> None:
    """`check_output` for files that are no images, all of one run; each has a place of its own.

    Parameters
    ----------
    paths, images
        As in `refuse_place_of_image`.
    overwrite : bool

    Raises
    ------
    ConfigError, InputError
        As `refuse_place_of_image` and `check_output`; and if two of them are the same.
    """
    for n, path in enumerate(paths):
        refuse_place_of_image(path, images=images)
        check_output(path, inputs=images, overwrite=overwrite)
        if path.absolute() in [other.absolute() for other in paths[:n]]:
            raise ConfigError(f"{path} is named for two outputs; choose another name for one of them")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    InputError
        If the file cannot be read, is not JSON in UTF-8, or holds something else than an object.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); mend it or take it away") from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a JSON {type(content).__name__}, wanted an object; mend it or take it away"
        )
    return content


def read_sidecar(image: Path) -> dict[str, Any]:
    """Read the sidecar of an image; an image without one gives an empty dict.

    Raises
    ------
    InputError
        If the sidecar exists and cannot be read as a JSON object.
    """
    path = sidecar_path(image)
    return read_json(path) if path.is_file() else {}


def json_text(content: Mapping[str, Any]) -> str:
    """Turn a mapping into JSON text: sorted keys, two spaces, UTF-8 letters as they are, newline at the end.

    JSON has no NaN and no infinity: both become ``null``. Numpy scalars and arrays, paths and tuples become
    plain numbers, lists and strings.
    """
    return json.dumps(_plain(content), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(content: Mapping[str, Any], path: Path, *, overwrite: bool = False) -> None:
    """Write a mapping as JSON, atomically; equal content gives equal bytes.

    Raises
    ------
    ConfigError
        If the file exists and `overwrite` is False.
    InputError
        If it cannot be written.
    """
    with atomic_output(path, overwrite=overwrite) as stream:
        stream.write(json_text(content).encode("utf-8"))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes in hexadecimal, read piece by piece.

    Raises
    ------
    InputError
        If the file cannot be read, or is a pipe or a device, which would be waited for without end.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file, wanted one that can be read again")
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path") from error
    except IsADirectoryError as error:
        raise InputError(
            f"{path} is a folder, wanted a file; for many cases give a folder as output too"
        ) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
