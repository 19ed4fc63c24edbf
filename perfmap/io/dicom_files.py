"""Every file of an export, wherever it lies: folders, nested folders, zip archives. Nothing is followed out of it.

Links that lead out of the export, devices, encrypted members and archives inside archives are counted and left. A
zip member is read from the archive as it is; nothing is unpacked under its own name.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from perfmap.errors import InputError

MAX_RATIO = 200
"""Times its packed size that a zip member above `SMALL_MEMBER` may have; images pack 2 to 20 times."""
SMALL_MEMBER = 16 << 20
MAX_UNPACKED = 256 << 30
MAX_FILES = 2_000_000
UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
"""What reading a damaged archive or disk raises."""


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file of an export: on disk, or a member of an archive.

    Attributes
    ----------
    path : Path
        The file, or the archive that holds it.
    member : str or None
        Name inside the archive.
    size : int
        Bytes, unpacked.
    modified : float
        Time of the last change, s since the epoch: of the archive for a member, because that is what arrives.
    """

    path: Path
    member: str | None
    size: int
    modified: float

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open for reading; a member is unpacked on the way.

        Raises
        ------
        InputError
            If it is no longer there; without its name, which may be a patient's.
        """
        try:
            stream: IO[bytes]
            if self.member is None:
                stream = self.path.open("rb")
            else:
                stream = _archive(self.path, self.modified).open(self.member)
        except (*UNREADABLE, KeyError):
            raise InputError(
                "a file of the export can no longer be read; wait until the export is whole, and run again"
            ) from None
        with stream:
            yield stream

    def place(self, target: Path) -> None:
        """Make the file readable at `target`: a link to the one on disk, a copy of the member."""
        if self.member is None:
            target.symlink_to(self.path.absolute())
            return
        with self.open() as source, target.open("xb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)


@lru_cache(maxsize=2)
def _archive(path: Path, modified: float) -> zipfile.ZipFile:
    """An archive kept open: reading its directory anew for each of its members would take longer than all of them."""
    return zipfile.ZipFile(path)


def export_files(root: Path, left: Counter[str]) -> Iterator[tuple[ExportFile, IO[bytes]]]:
    """Every regular file below `root` with a stream opened on it, in a fixed order.

    Parameters
    ----------
    root : Path
        A folder, a zip archive, or a single file.
    left : Counter
        Filled with the reasons for which files were left, and how many.

    Raises
    ------
    InputError
        If `root` does not exist or cannot be read, holds more than two million files, or an archive in it unpacks
        to far more than its size.
    """
    try:
        top = root.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise InputError("the export does not exist or cannot be reached; check its name") from error
    n_files = 0
    for path in _walk(top, left):
        n_files += 1
        if n_files > MAX_FILES:
            raise InputError(
                f"the export holds more than {MAX_FILES:,} files; give the folder of fewer studies"
            )
        try:
            about = path.stat()
            if not about.st_size:
                left["empty file"] += 1
                continue
            with path.open("rb") as stream:
                if stream.peek(4)[:4] == b"PK\x03\x04":
                    yield from _members(path, about.st_mtime, left)
                else:
                    yield ExportFile(path, None, about.st_size, about.st_mtime), stream
        except OSError:
            left["unreadable file"] += 1


def _walk(top: Path, left: Counter[str]) -> Iterator[Path]:
    """Regular files below `top`, folder by folder, by name. Links count only where they stay inside."""
    if not top.is_dir():
        if not stat.S_ISREG(top.stat().st_mode):
            raise InputError("the export is neither a folder nor a file")
        yield top
        return
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if folder == top:
                raise InputError(f"the export cannot be read ({error.strerror})") from error
            left["unreadable folder"] += 1
            continue
        waiting += [Path(entry.path) for entry in reversed(found) if entry.is_dir(follow_symlinks=False)]
        for entry in found:
            if entry.is_symlink():
                # What a link inside the export points to is met on the way anyway.
                inside = Path(os.path.realpath(entry.path)).is_relative_to(top)
                left["link" if inside else "link out of the export"] += 1
            elif entry.is_file(follow_symlinks=False):
                yield Path(entry.path)
            elif not entry.is_dir(follow_symlinks=False):
                left["not a regular file"] += 1


def _members(path: Path, modified: float, left: Counter[str]) -> Iterator[tuple[ExportFile, IO[bytes]]]:
    try:
        archive = zipfile.ZipFile(path)
    except UNREADABLE:
        left["damaged archive"] += 1
        return
    with archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        refuse_bomb(members)
        for info in sorted(members, key=lambda info: info.filename):
            if info.flag_bits & 0x1:
                left["encrypted archive member"] += 1
            elif stat.S_ISLNK(info.external_attr >> 16):
                left["link"] += 1
            elif not info.file_size:
                left["empty file"] += 1
            else:
                try:
                    with archive.open(info) as stream:
                        if info.filename.lower().endswith(".zip"):
                            left["archive inside an archive"] += 1
                            continue
                        yield ExportFile(path, info.filename, info.file_size, modified), stream
                except UNREADABLE:
                    left["damaged archive member"] += 1


def refuse_bomb(members: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive whose members unpack to far more than images do.

    Raises
    ------
    InputError
        Naming the sizes.
    """
    if len(members) > MAX_FILES:
        raise InputError(f"an archive holds {len(members):,} members, wanted at most {MAX_FILES:,}; split it")
    total, packed = sum(info.file_size for info in members), sum(info.compress_size for info in members)
    for size, small in [(info.file_size, info.compress_size) for info in members] + [(total, packed)]:
        if size > MAX_UNPACKED or (size > SMALL_MEMBER and size > MAX_RATIO * max(small, 1)):
            raise InputError(
                f"an archive would unpack {small:,} bytes to {size:,}: a decompression bomb; "
                "unpack it by hand if you trust it"
            )


def holds_dicom(path: Path) -> bool:
    """Whether an input is an archive, a DICOM file, or a folder that holds one; the first that is met decides."""
    try:
        if not path.is_dir():
            if not path.is_file():  # a pipe would be waited for without end
                return False
            with path.open("rb") as stream:
                return stream.peek(4)[:4] == b"PK\x03\x04" or _is_dicom(stream.read(132))
        for file in _walk(path.resolve(), Counter()):
            try:
                with file.open("rb") as stream:
                    start = stream.read(132)
            except OSError:
                continue
            if _is_dicom(start) or start[:4] == b"PK\x03\x04":
                return True
    except (OSError, InputError):
        pass
    return False


def _is_dicom(start: bytes) -> bool:
    """A preamble with its mark, or an element of group 0008 at the start, as old archives write them."""
    return start[128:] == b"DICM" or (start[:1] == b"\x08" and start[1:2] == b"\0" and start[3:4] == b"\0")


def minutes_since(modified: float, now: float | None = None) -> float:
    """Minutes since a file was changed; a date in the future counts as now."""
    return max(((now if now is not None else time.time()) - modified) / 60.0, 0.0)
