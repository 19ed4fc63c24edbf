"""Study lists: a CSV file that names the series of a batch, one a line."""

from __future__ import annotations

import csv
import difflib
import io
import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

from perfmap.errors import InputError, PerfmapWarning
from perfmap.io.files import atomic_output

PROTOCOL = ("time_step", "repetition_time", "echo_time", "flip_angle", "field_strength")
"""Columns of numbers: s, degrees, T."""
COLUMNS = ("case", "series", "mask", *PROTOCOL)
_OTHER_NAMES = {"patient": "case", "name": "case", "input": "series", "path": "series"}
_NEAR = 0.8  # of difflib: a letter or two, or a short ending


def read_study_list(path: Path) -> list[dict[str, str]]:
    """Read a study list.

    Parameters
    ----------
    path : Path
        CSV with a header line. Column ``series`` (or ``input``, ``path``) is wanted; ``case`` (or ``patient``,
        ``name``), ``mask`` and the numbers of `PROTOCOL` may be there; other columns are passed over, with a warning
        where one is nearly the name of a known one. Paths are relative to the list's own folder.

    Returns
    -------
    list of dict
        One a line, keys of `COLUMNS`, paths made absolute where they were relative, missing values empty.

    Raises
    ------
    InputError
        If the list cannot be read, has no line or no such column, or one of the protocol's numbers is not positive.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a CSV file in UTF-8 ({error.reason}); save it as such") from error
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        lines = list(reader)
    except csv.Error as error:
        raise InputError(f"{path} is not valid CSV ({error}); save it again") from error
    _warn_of_slips(reader.fieldnames or (), path)
    entries = []
    for number, line in enumerate(lines, start=2):
        entry = _known_columns(line)
        if not entry["series"]:
            raise InputError(f"{path}, line {number}: no value in column 'series'; give a path a line")
        for name in PROTOCOL:
            _check_number(entry[name], f"{path}, line {number}: {name}")
        for name in ("series", "mask"):
            if entry[name]:
                entry[name] = str(path.parent / entry[name])
        entries.append(entry)
    if not entries:
        raise InputError(f"{path} holds no case; wanted a header line with 'series' and one line a case")
    return entries


def write_study_list(entries: Iterable[Mapping[str, str]], path: Path, *, overwrite: bool = False) -> None:
    """Write a study list, atomically; paths are written as they are given.

    Raises
    ------
    ConfigError
        If the file exists and `overwrite` is False.
    InputError
        If it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(entries)
    with atomic_output(path, overwrite=overwrite) as stream:
        stream.write(text.getvalue().encode("utf-8", "surrogateescape"))


def _known_columns(line: Mapping[str | None, str | None]) -> dict[str, str]:
    entry = dict.fromkeys(COLUMNS, "")
    for heading, value in line.items():
        if isinstance(heading, str) and isinstance(value, str):
            name = heading.strip().lower()
            name = _OTHER_NAMES.get(name, name)
            if name in entry:
                entry[name] = entry[name] or value.strip()
    return entry


def _warn_of_slips(headings: Iterable[str], path: Path) -> None:
    """Name each column that is passed over and looks like a slip of a known one."""
    known = {name: name for name in COLUMNS} | _OTHER_NAMES
    names = {heading: heading.strip().lower() for heading in headings}
    there = {known[name] for name in names.values() if name in known}
    for heading, name in names.items():
        near = [] if name in known else difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
        if near and known[near[0]] not in there:
            warnings.warn(
                f"{path}: column '{heading}' is passed over; rename it if '{near[0]}' was meant",
                PerfmapWarning,
                stacklevel=2,
            )


def _check_number(text: str, what: str) -> None:
    try:
        good = not text or (math.isfinite(float(text)) and float(text) > 0)
    except ValueError:
        good = False
    if not good:
        raise InputError(f"{what} is {text!r}, wanted a positive number")
