"""Writing files so that an interrupted run leaves no half file.

A file is written into ``.perfmap-partial/`` beside its place, under a name that ends in ``.part``, brought to
disk, and renamed. The name carries host, process id and start time of the process, so that the leftovers of
a killed run are told from the work of a living one and swept at the next start.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from perfmap.errors import ConfigError, InputError

PARTIAL_FOLDER = ".perfmap-partial"
_PART_NAME = re.compile(r"\.(?P<host>[A-Za-z0-9-]+)\.(?P<pid>\d+)\.(?P<start>\d+)\.[0-9a-f]+\.part$")


def check_output(path: Path, *, inputs: Sequence[Path] = (), overwrite: bool = False) -> None:
    """Refuse an output file before any work is done; nothing is created.

    Parameters
    ----------
    path : Path
        File to be written later.
    inputs : sequence of Path
        Files that are read by the same run and must not be written over.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InputError
        If the output is one of the inputs, is a folder, or cannot be written.
    ConfigError
        If it exists and `overwrite` is False.
    """
    for source in inputs:
        if _same_file(path, source):
            raise InputError(f"output {path} is also an input; choose another name")
    try:
        if path.is_dir():
            raise InputError(f"output {path} is a folder, wanted a file name; add one")
        _refuse_existing(path, overwrite=overwrite)
        folder = path.absolute().parent
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            raise InputError(f"cannot write {path}: {folder} is not a folder; choose another place")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(path, error) from error


@contextmanager
def atomic_path(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to, and rename it to `path` when the block ends well.

    When the block fails, the temporary file is taken away and `path` is as it was. Missing folders are made.

    Raises
    ------
    ConfigError
        If `path` exists and `overwrite` is False.
    InputError
        If it cannot be written.
    """
    target = Path(os.path.realpath(path))
    _refuse_existing(target, overwrite=overwrite)
    partial = target.parent / PARTIAL_FOLDER / _part_name(target)
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        sweep_partial(target.parent)
        partial.parent.mkdir(exist_ok=True)
        partial.touch(exist_ok=False)
        yield partial
        _bring_to_disk(partial)
        _refuse_existing(target, overwrite=overwrite)
        partial.replace(target)
        _bring_to_disk(target.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        with suppress(OSError):
            partial.parent.rmdir()


@contextmanager
def atomic_output(path: Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open `path` for writing bytes; it appears, whole, when the block ends well. See `atomic_path`."""
    with atomic_path(path, overwrite=overwrite) as partial, partial.open("wb") as stream:
        yield stream


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give an empty temporary folder to write into, and rename it to `path` when the block ends well.

    A folder that is replaced stands until the new one is whole.

    Raises
    ------
    ConfigError
        If `path` exists and `overwrite` is False.
    InputError
        If it cannot be written.
    """
    target = Path(os.path.realpath(path))
    _refuse_existing(target, overwrite=overwrite)
    partial = target.parent / PARTIAL_FOLDER / _part_name(target)
    old = partial.with_name(_part_name(target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep_partial(target.parent)
        partial.mkdir(parents=True)
        yield partial
        for written in partial.rglob("*"):
            _bring_to_disk(written)
        _refuse_existing(target, overwrite=overwrite)
        if target.exists():
            target.rename(old)
        partial.rename(target)
        _bring_to_disk(target.parent)
    except OSError as error:
        if old.exists() and not target.exists():
            old.rename(target)
        raise _unwritable(path, error) from error
    finally:
        for left_over in (partial, old):
            shutil.rmtree(left_over, ignore_errors=True)
        with suppress(OSError):
            partial.parent.rmdir()


def sweep_partial(folder: Path) -> list[Path]:
    """Remove what dead processes of this host left in the partial folder of `folder`; list what was removed.

    Files of living processes, of other hosts, and files that perfmap has not named stay.
    """
    partial = folder / PARTIAL_FOLDER
    removed: list[Path] = []
    with suppress(OSError):
        for path in sorted(partial.iterdir()):
            match = _PART_NAME.search(path.name)
            if match is None or match["host"] != _host():
                continue
            if _start_time(int(match["pid"])) != match["start"]:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
                removed.append(path)
        partial.rmdir()
    return removed


def _part_name(target: Path) -> str:
    pid = os.getpid()
    stem = target.name[:40]
    return f"{stem}.{_host()}.{pid}.{_start_time(pid)}.{secrets.token_hex(4)}.part"


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", platform.node()) or "host"


def _start_time(pid: int) -> str:
    """Start of a process in ticks since boot; ``"0"`` where a living one hides it, ``""`` for a dead one."""
    try:
        # The name of the program, in parentheses, may hold blanks; the start time is the 20th field after it.
        return Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return ""
    except OSError:
        return "0"
    return "0"


def _bring_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return os.path.realpath(path) == os.path.realpath(other)


def _refuse_existing(path: Path, *, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise ConfigError(f"output {path} exists; give --overwrite to replace it")


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot write {path}: {error.strerror or error}; choose another place")
