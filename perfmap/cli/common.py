"""What every verb shares: options, logging, progress, JSON, and the meaning of exit codes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from perfmap.errors import ConfigError, InputError

EXIT_CODES = {
    0: "all done",
    1: "internal error",
    2: "usage: options wrong, or an output exists",
    3: "input refused, for the reason named",
    4: "partial: some cases of a batch failed, the rest are written",
    5: "quality gate failed",
    6: "model or checkpoint unusable",
    130: "interrupted",
    143: "terminated",
}

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show errors only, no warnings, no progress.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show every step, and tracebacks.")]
LogFile = Annotated[
    Path | None, typer.Option("--log-file", metavar="FILE", help="Append every step, with its time, to FILE.")
]
JsonTarget = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE|-", help="Write the result as JSON to FILE; - is stdout."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]

_logger = logging.getLogger("perfmap")


def start_logging(*, quiet: bool = False, verbose: bool = False, log_file: Path | None = None) -> None:
    """Set what the terminal shows, and open the log file; a verb calls this first.

    Raises
    ------
    ConfigError
        If both `quiet` and `verbose` are asked for, or the log file is named like an image or its sidecar.
    InputError
        If the log file cannot be opened.
    """
    if quiet and verbose:
        raise ConfigError("--quiet and --verbose contradict each other; give one of them")
    level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING
    for handler in _logger.handlers:
        handler.setLevel(level)
    if log_file is None:
        return
    from perfmap.io.sidecar import refuse_place_of_image

    refuse_place_of_image(log_file)
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        to_file = logging.FileHandler(log_file, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {log_file}: {error.strerror}; choose another place") from error
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    _logger.addHandler(to_file)


@contextmanager
def terminal_logging() -> Iterator[None]:
    """Send perfmap's log records to stderr as lines ``perfmap: level: message`` while the block runs."""
    before, propagate, level = list(_logger.handlers), _logger.propagate, _logger.level
    handler = _StderrHandler()
    handler.setFormatter(_OneLine())
    handler.setLevel(logging.WARNING)
    _logger.handlers[:] = [handler]
    _logger.propagate = False
    _logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        for opened in _logger.handlers:
            opened.close()
        _logger.handlers[:] = before
        _logger.propagate = propagate
        _logger.setLevel(level)


@contextmanager
def progress(description: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr while the block runs; give the function that takes (done, total).

    The bar is drawn on a terminal only, and not when `quiet`. The log gets a line at each tenth.
    """
    logged = 0

    def record(done: int, total: int) -> None:
        nonlocal logged
        tenths = 10 * done // max(total, 1)
        if tenths > logged:
            _logger.info("%s: %d of %d", description, done, total)
        logged = tenths

    if quiet or not sys.stderr.isatty():
        yield record
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None)

        def update(done: int, total: int) -> None:
            record(done, total)
            bar.update(task, completed=done, total=total)

        yield update


def check_json(target: str | None, *, images: Sequence[Path] = (), overwrite: bool = False) -> None:
    """Refuse the file named by ``--json`` before any work is done; see `perfmap.io.sidecar.check_side_outputs`."""
    if target not in (None, "-"):
        from perfmap.io.sidecar import check_side_outputs

        check_side_outputs([Path(str(target))], images=images, overwrite=overwrite)


def emit_json(content: Mapping[str, Any], target: str | None, *, overwrite: bool = False) -> None:
    """Write a result as JSON to the file named by ``--json``, or to stdout for ``-``; None writes nothing.

    Raises
    ------
    ConfigError
        If the file exists and `overwrite` is False, or is named like an image or its sidecar.
    InputError
        If it cannot be written.
    """
    if target is None:
        return

    from perfmap.io.sidecar import json_text, refuse_place_of_image, write_json

    if target == "-":
        sys.stdout.write(json_text(content))
    else:
        refuse_place_of_image(Path(target))
        write_json(content, Path(target), overwrite=overwrite)


def one_line(text: object) -> str:
    """Text with every run of blanks and line breaks made one blank."""
    return " ".join(str(text).split())


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever ``sys.stderr`` is now, so that a progress bar can move out of the way.

    A warning is said once, however often it comes.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self._warnings: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        text = one_line(record.getMessage())
        new = text not in self._warnings
        self._warnings.add(text)
        return new

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"perfmap: {record.levelname.lower()}: {one_line(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def wide_console() -> Any:
    """A rich console for tables; in a file or pipe it is wide enough that no name is cut off."""
    from rich.console import Console

    return Console(soft_wrap=True, width=None if sys.stdout.isatty() else 240)
