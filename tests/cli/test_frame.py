"""The frame around all verbs: quick help, one line for each failure, exit codes that mean the same everywhere."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import perfmap
from perfmap import __version__, cli
from perfmap.cli import run
from perfmap.cli.common import EXIT_CODES, emit_json, progress, start_logging
from perfmap.errors import ConfigError, InputError, ModelError, PerfmapError, PerfmapWarning
from tests.studies import write_study

ROOT = Path(__file__).parents[2]
PERFMAP = [sys.executable, "-c", "from perfmap.cli import main; main()"]
COMMANDS = typer.main.get_command(cli.app).commands
HEAVY = {"torch", "numpy", "scipy", "nibabel", "matplotlib", "SimpleITK", "skimage", "rich"}


@pytest.fixture
def run_body(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int | None]], int]:
    """Run a function as if it were a verb."""

    def run_as_verb(body: Callable[[], int | None]) -> int:
        monkeypatch.setattr(cli, "_invoke", lambda arguments: body() or 0)
        return run([])

    return run_as_verb


def raising(error: BaseException) -> Callable[[], int]:
    def body() -> int:
        raise error

    return body


def test_help_is_quick() -> None:
    """Under 0.3 s of processor time, the best of some runs: wall time would tell what else the machine does."""
    durations = []
    for _ in range(5):
        began = os.times()
        subprocess.run([*PERFMAP, "--help"], check=True, capture_output=True)
        ended = os.times()
        durations.append(
            ended.children_user + ended.children_system - began.children_user - began.children_system
        )
    assert min(durations) < 0.3


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([verb, "--help"] for verb in COMMANDS)], ids=str
)
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    code = f"import sys; from perfmap.cli import run; code = run({arguments}); print(code, *sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    code_and_modules = out.splitlines()[-1].split()
    assert code_and_modules[0] == "0"
    assert HEAVY.isdisjoint(code_and_modules[1:])


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"perfmap {__version__}\n"


def test_no_arguments_ask_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert capsys.readouterr().out.startswith("Usage: perfmap")


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in COMMANDS)], ids=str)
def test_help_states_the_exit_codes(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    for code, meaning in EXIT_CODES.items():
        assert [str(code), meaning] in lines


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_and_every_option_explains_itself(verb: str) -> None:
    command = COMMANDS[verb]
    assert command.help
    assert "Example: perfmap " + verb in command.help
    for parameter in command.params:
        assert parameter.help, f"{verb}: {parameter.opts} has no help"
        assert parameter.help.endswith("."), f"{verb}: help of {parameter.opts} is no sentence"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predikt"], "No such command 'predikt'"),
        (["predict", "--no-such-option"], "No such option"),
        (["predict"], "Missing"),
        (["--nonsense"], "No such option"),
        (["predict", "a.nii", "-o", "b.nii", "--time-step", "fast"], "--time-step"),
        (["predict", "a.nii", "-o", "b.nii", "--quiet", "--verbose"], "contradict"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("perfmap: error: ")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PerfmapError("a"), 1),
        (ConfigError("b"), 2),
        (InputError("c\n  on two lines"), 3),
        (ModelError("d"), 6),
        (ValueError("e"), 1),
        (MemoryError(), 1),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), 1),
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
    ],
    ids=repr,
)
def test_every_failure_is_one_line_and_an_exit_code(
    error: BaseException,
    code: int,
    run_body: Callable[[Callable[[], int]], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_body(raising(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("perfmap: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_lack_of_memory_is_called_so(
    run_body: Callable[[Callable[[], int]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        run_body(raising(error))
        assert "out of memory" in capsys.readouterr().err


def test_verb_may_end_with_a_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()

    @app.command()
    def partial() -> None:
        raise typer.Exit(4)

    monkeypatch.setattr(cli, "app", app)
    assert run(["--"]) == 4


def test_traceback_of_an_internal_error_is_kept_for_those_who_ask(
    tmp_path: Path, run_body: Callable[[Callable[[], int]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    log_file = tmp_path / "new" / "perfmap.log"

    def body(**options: object) -> int:
        start_logging(**options)  # type: ignore[arg-type]
        raise ZeroDivisionError("by hand")

    assert run_body(lambda: body(log_file=log_file)) == 1
    err = capsys.readouterr().err
    assert "--log-file" in err
    assert "Traceback" not in err
    log = log_file.read_text()
    assert "Traceback" in log
    assert "ZeroDivisionError: by hand" in log
    assert run_body(lambda: body(verbose=True)) == 1
    assert "Traceback" in capsys.readouterr().err


def test_unwritable_log_is_refused(
    run_body: Callable[[Callable[[], None]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_body(lambda: start_logging(log_file=Path("/dev/null/x/perfmap.log"))) == 3
    assert "cannot write /dev/null/x/perfmap.log" in capsys.readouterr().err


@pytest.mark.parametrize("quiet", [False, True])
def test_warnings_are_one_line_each_and_said_once(
    quiet: bool, run_body: Callable[[Callable[[], None]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> None:
        start_logging(quiet=quiet)
        for text in ("look\nhere", "look\nhere", "and there"):
            warnings.warn(text, PerfmapWarning, stacklevel=1)
        logging.getLogger("perfmap").warning("look here")
        warnings.warn("of another package", UserWarning, stacklevel=1)

    assert run_body(body) == 0
    said = "perfmap: warning: look here\nperfmap: warning: and there\n"
    assert capsys.readouterr().err == ("" if quiet else said)


def test_logging_of_a_program_that_uses_the_library_is_left_alone(
    run_body: Callable[[Callable[[], None]], int],
) -> None:
    logger = logging.getLogger("perfmap")
    before = (list(logger.handlers), logger.propagate, logger.level, warnings.showwarning)
    handler = signal.getsignal(signal.SIGTERM)
    run_body(lambda: start_logging(verbose=True))
    assert (list(logger.handlers), logger.propagate, logger.level, warnings.showwarning) == before
    assert signal.getsignal(signal.SIGTERM) is handler


INTERRUPTED = """
import sys, time
from pathlib import Path
from perfmap import cli
from perfmap.io.files import atomic_output

def body(arguments):
    with atomic_output(Path(sys.argv[1])) as stream:
        stream.write(b"half")
        print("writing", flush=True)
        time.sleep(60)

cli._invoke = body
cli.main()
"""


@pytest.mark.parametrize(
    ("signum", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_stopped_run_says_so_and_leaves_no_half_file(
    tmp_path: Path, signum: signal.Signals, code: int, word: str
) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "map.nii")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signum)
        _, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert err.startswith(f"perfmap: error: {word}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_that_a_shell_has_ignored_stays_ignored(tmp_path: Path) -> None:
    """As `nohup` and background jobs of a script have it: only SIGTERM ends them."""
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + INTERRUPTED
    command = [sys.executable, "-c", ignoring, str(tmp_path / "map.nii")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 143


TORCH = """
import os, time
print("loading", flush=True)
try:
    time.sleep(60)
except BaseException:
    os.abort()  # what the import of the real one does with an exception
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_while_torch_is_loading_it_ends_as_ever(
    tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(TORCH)
    call = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import runpy; "
    call += "runpy.run_module('perfmap', run_name='__main__')"
    command = [sys.executable, "-c", call, "predict", "series.nii", "-o", "map.nii"]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signum)
        _, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert err.count("\n") == 1


def test_reader_that_goes_away_is_no_drama() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(
            [*PERFMAP, "--help"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(write)
    assert ended.returncode == 141
    assert ended.stderr == ""


def test_json_goes_to_stdout_or_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"b": 1, "a": float("nan")}, None)
    assert capsys.readouterr().out == ""
    emit_json({"b": 1, "a": float("nan")}, "-")
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": 1}
    path = tmp_path / "result.json"
    emit_json({"b": 1}, str(path))
    with pytest.raises(ConfigError, match="--overwrite"):
        emit_json({"b": 2}, str(path))
    assert json.loads(path.read_text()) == {"b": 1}


def count(n: int, *, quiet: bool) -> None:
    with progress("slices", quiet=quiet) as update:
        for done in range(1, n + 1):
            update(done, n)


def test_progress_is_drawn_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    count(30, quiet=False)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    count(30, quiet=True)
    assert capsys.readouterr().err == ""
    count(30, quiet=False)
    assert "slices" in capsys.readouterr().err


def test_progress_is_a_line_a_tenth_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "perfmap"):
        count(200, quiet=True)
    assert [record.getMessage() for record in caplog.records] == [
        f"slices: {done} of 200" for done in range(20, 201, 20)
    ]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["models"], ["models", "--json", "-"], ["cases", "{folder}"]]
)
def test_a_reader_that_has_gone_away_is_no_error(arguments: list[str], tmp_path: Path) -> None:
    """``perfmap ... | head -1``: no traceback and no message, whichever moment the reader leaves at."""
    write_study(tmp_path / "p.nii.gz", seed=0)
    command = [sys.executable, "-m", "perfmap", *(text.format(folder=tmp_path) for text in arguments)]
    read_end, write_end = os.pipe()
    os.close(read_end)
    environment = {**os.environ, "PYTHONPATH": str(Path(perfmap.__file__).parents[1])}
    try:
        done = subprocess.run(
            command, stdout=write_end, stderr=subprocess.PIPE, env=environment, text=True, check=False
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    "options",
    [
        ["--learning-rate", "-1"],
        ["--minutes", "nan"],
        ["--lesion-weight", "-3"],
        ["--name", "a/b"],
        ["--arch", "nonsense"],
        ["--widths", "0,1"],
        ["--widths", "8,8"],
        ["--slices", "paper"],
        ["--replay-from", "elsewhere"],
        ["--replay-from", "elsewhere", "--replayed-subjects", "3"],
        ["cohort/", "--replayed-subjects", "3"],
        ["cohort/", "--replay-from", "elsewhere", "--replayed-subjects", "3"],
    ],
)
def test_nonsense_for_training_is_a_matter_of_usage(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "-o", str(tmp_path / "run"), *options]) == 2
    assert "internal" not in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
