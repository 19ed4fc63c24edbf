"""One process a folder: a lock that the system takes back when its owner ends, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import IO

from perfmap.errors import ConfigError, InputError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows has no such lock: there, nothing keeps two runs apart
    fcntl = None

LOCK_FILE = ".perfmap.lock"


@contextmanager
def locked_folder(folder: Path, *, part: str = "") -> Iterator[None]:
    """Keep other runs out of a folder while the block runs.

    Parameters
    ----------
    folder : Path
        Made where it is missing. The lock's file stays there: taking it away would race with the next owner.
    part : str
        Runs with different parts may work in the folder together; one without a part wants it alone.

    Raises
    ------
    ConfigError
        If another process works there.
    InputError
        If nothing can be written there.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            whole = stack.enter_context((folder / LOCK_FILE).open("a+"))
            own = stack.enter_context((folder / f"{LOCK_FILE}-{part}").open("a+")) if part else None
        except OSError as error:
            raise InputError(
                f"cannot write into {folder}: {error.strerror or error}; choose another place"
            ) from error
        _take(whole, folder, shared=bool(part))
        if own is not None:
            _take(own, folder, shared=False)
        yield


def _take(stream: IO[str], folder: Path, *, shared: bool) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.seek(0)
        owner = stream.read(40).strip()
        who = f"process {owner}" if owner.isdigit() else "another process"
        raise ConfigError(f"{who} works in {folder}; wait for it, or choose another folder") from error
    except OSError:  # a file system without locks
        return
    if not shared:
        stream.seek(0)
        stream.truncate()
        stream.write(str(os.getpid()))
        stream.flush()
