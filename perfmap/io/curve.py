"""Curves in text files: one number for each volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError


def read_curve(path: Path) -> NDArray[np.float64]:
    """Read a curve: one number a line, or the last column of a table.

    Columns are parted by commas, semicolons or blanks; lines that begin with ``#``, empty lines and one line of
    column names at the top are passed over.

    Parameters
    ----------
    path : Path
        Text file in UTF-8.

    Returns
    -------
    ndarray, shape (t,)

    Raises
    ------
    InputError
        If the file cannot be read, holds no number, or a line does not end in one.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the curve {path}: {error}; wanted a text file") from error
    values: list[float] = []
    for number, line in enumerate(lines, start=1):
        cells = line.replace(",", " ").replace(";", " ").split()
        if not cells or cells[0].startswith("#"):
            continue
        try:
            values.append(float(cells[-1]))
        except ValueError:
            if values or number > 1:
                raise InputError(f"line {number} of {path} ends in {cells[-1]!r}, wanted a number") from None
    if not values or not np.isfinite(values).all():
        raise InputError(f"{path} holds {len(values)} numbers, wanted one finite number for each volume")
    return np.array(values)
