"""The command line: verbs, and the one place that turns an error into a line on stderr and an exit code."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Annotated, Any, TextIO

import typer

from perfmap import __version__
from perfmap.cli.common import EXIT_CODES, one_line, terminal_logging
from perfmap.errors import PerfmapError, PerfmapWarning, is_out_of_memory

VERBS = (
    *("predict", "inspect", "train", "score", "roi", "simulate", "models", "conventional", "send"),
    *("cases", "merge", "reproduce", "bids_app"),
)
_EPILOG = "\b\nExit codes:\n" + "\n".join(f"{code:>5}  {text}" for code, text in EXIT_CODES.items())
_logger = logging.getLogger("perfmap")

app = typer.Typer(
    name="perfmap",
    help="Brain DSC-MRI to CBV maps with neural networks, no arterial input function needed. "
    "Research use only. Not for diagnosis.",
    epilog=_EPILOG,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"perfmap {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave."),
    ] = False,
) -> None:
    """Take the options that stand before the verb."""


for _verb in VERBS:
    if importlib.util.find_spec(f"perfmap.cli.{_verb}"):
        app.command(_verb.replace("_", "-"), epilog=_EPILOG)(
            getattr(importlib.import_module(f"perfmap.cli.{_verb}"), _verb)
        )


def main() -> None:
    """Run perfmap on the arguments of the process and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; every failure becomes one line on stderr and the exit code returned.

    Parameters
    ----------
    arguments : sequence of str
        Everything behind ``perfmap``; an empty one asks for help.

    Returns
    -------
    int
        A key of `EXIT_CODES`, or 141 when the reader of stdout went away.
    """
    with terminal_logging(), _warnings_as_lines(), _terminable():
        try:
            code = _invoke(list(arguments) or ["--help"])
            sys.stdout.flush()
        except BaseException as error:
            code, line = _outcome(error)
            if line:
                _logger.error(line)
            _logger.debug("traceback of exit code %d", code, exc_info=error)
        if code == 141:
            _drop_stdout()
        return code


class _Terminated(BaseException):
    """SIGTERM, as an exception, so that open files are put away on the way out."""


def _invoke(arguments: list[str]) -> int:
    code: Any = typer.main.get_command(app).main(args=arguments, prog_name="perfmap", standalone_mode=False)
    if code == 130:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _outcome(error: BaseException) -> tuple[int, str]:
    """Exit code and message of what ended the run."""
    if isinstance(error, PerfmapError):
        return error.exit_code, str(error)
    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        return 141, ""
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return 130, "interrupted; finished outputs are whole, unfinished ones were taken away"
    if isinstance(error, _Terminated):
        return 143, "terminated; finished outputs are whole, unfinished ones were taken away"
    if hasattr(error, "format_message"):  # usage errors, whichever package typer takes them from
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "perfmap"
        return 2, f"{error.format_message().rstrip('.')}; see {command} --help"
    if is_out_of_memory(error):
        return (
            1,
            f"out of memory ({one_line(error) or 'no details'}); end other programs, or give --device cpu",
        )
    seen = f"{type(error).__name__}: {one_line(error)}"
    return 1, f"internal error, {seen}; run again with --verbose or --log-file FILE for the traceback"


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Show each PerfmapWarning as a line; warnings of other packages go to the log."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, PerfmapWarning):
            _logger.warning("%s", message)
        else:
            _logger.debug("%s: %s", category.__name__, message)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.simplefilter("always", PerfmapWarning)
        warnings.showwarning = show
        yield


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into exceptions while the block runs; a forked worker just ends at SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def stop(signum: int, frame: FrameType | None) -> None:
        if os.getpid() != owner and signum == signal.SIGTERM:
            os._exit(143)
        error: BaseException = _Terminated() if signum == signal.SIGTERM else KeyboardInterrupt()
        if _torch_is_loading():  # an exception in there would abort the process; no output is begun yet
            code, line = _outcome(error)
            _logger.error(line)
            os._exit(code)
        raise error

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, stop)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else a shell has it ignored
        before[signal.SIGINT] = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _torch_is_loading() -> bool:
    """Whether torch is being imported, by importlib's own mark; without that mark: never."""
    module = sys.modules.get("torch")
    return module is not None and bool(getattr(module.__spec__, "_initializing", False))


def _drop_stdout() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not stumble over it at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
