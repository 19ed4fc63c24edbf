"""Where DICOM objects may be sent: ``AET@HOST:PORT``, and only what stands in a list that somebody wrote by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from perfmap.errors import ConfigError

_FORM = re.compile(r"(?P<aet>[^@\\\s]{1,16})@(?P<host>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Destination:
    """An archive: application entity title, host and port."""

    aet: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.aet}@{self.host}:{self.port}"


def parse_destination(text: str) -> Destination:
    """Read ``AET@HOST:PORT``.

    Raises
    ------
    ConfigError
        If it is written otherwise.
    """
    found = _FORM.fullmatch(text.strip())
    if found is None or not 0 < int(found["port"]) < 65536:
        raise ConfigError(
            f"destination {text!r} is not AET@HOST:PORT (title of at most 16 characters, port 1 to 65535), "
            "as in ARCHIVE@10.0.0.5:104"
        )
    return Destination(found["aet"], found["host"].strip("[]"), int(found["port"]))


def require_allowed(destination: Destination, allow_list: Path) -> None:
    """Refuse a destination that the list does not hold.

    Parameters
    ----------
    destination : Destination
    allow_list : Path
        Text, one ``AET@HOST:PORT`` a line; ``#`` begins a comment.

    Raises
    ------
    ConfigError
        If the list cannot be read, a line of it is malformed, or the destination is not in it.
    """
    try:
        lines = allow_list.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"list of destinations {allow_list} cannot be read ({type(error).__name__}); patient data go only where a "
            "line AET@HOST:PORT in it says they may"
        ) from error
    entries = [line.partition("#")[0].strip() for line in lines]
    if destination not in [parse_destination(entry) for entry in entries if entry]:
        raise ConfigError(f"{destination} is not in {allow_list}; add it there if patient data may go to it")
