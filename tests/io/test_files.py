"""Nothing is left half written, nothing is written over unasked, nothing of the living is swept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from perfmap.errors import ConfigError, InputError
from perfmap.io.files import PARTIAL_FOLDER, atomic_output, atomic_path, check_output, sweep_partial

HOLD = """
import sys, time
from pathlib import Path
from perfmap.io.files import atomic_output
with atomic_output(Path(sys.argv[1])) as stream:
    stream.write(b"half")
    stream.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


def hold_open(path: Path) -> subprocess.Popen[str]:
    """A process that stands in the middle of writing `path`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_file_appears_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    target = tmp_path / "new" / "map.nii.gz"
    with atomic_output(target) as stream:
        stream.write(b"whole")
        assert not target.exists()
        (partial,) = (target.parent / PARTIAL_FOLDER).iterdir()
        assert partial.suffix == ".part"
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


def test_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "map.nii"
    target.write_bytes(b"old")
    with suppress(ZeroDivisionError), atomic_output(target, overwrite=True) as stream:
        stream.write(b"half")
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    ordinary, atomic = tmp_path / "ordinary", tmp_path / "atomic"
    ordinary.touch()
    with atomic_output(atomic):
        pass
    assert atomic.stat().st_mode == ordinary.stat().st_mode


def test_existing_file_is_kept_unless_asked(tmp_path: Path) -> None:
    target = tmp_path / "map.nii"
    target.write_bytes(b"old")
    with pytest.raises(ConfigError, match="--overwrite"), atomic_output(target):
        pass
    with pytest.raises(ConfigError, match="--overwrite"):
        check_output(target)
    check_output(target, overwrite=True)
    assert target.read_bytes() == b"old"
    with atomic_output(target, overwrite=True) as stream:
        stream.write(b"new")
    assert target.read_bytes() == b"new"


def test_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "map.nii"
    with pytest.raises(ConfigError, match="--overwrite"), atomic_path(target):
        target.write_bytes(b"of another run")
    assert target.read_bytes() == b"of another run"


def test_link_is_written_through(tmp_path: Path) -> None:
    real, link = tmp_path / "real.nii", tmp_path / "link.nii"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with atomic_output(link, overwrite=True) as stream:
        stream.write(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


@pytest.mark.parametrize("disguise", ["same", "symlink", "hardlink", "dots"])
def test_output_that_is_an_input_is_refused_even_with_overwrite(tmp_path: Path, disguise: str) -> None:
    source = tmp_path / "dsc.nii"
    source.write_bytes(b"series")
    output = tmp_path / "out.nii"
    if disguise == "symlink":
        output.symlink_to(source)
    elif disguise == "hardlink":
        output.hardlink_to(source)
    else:
        output = source if disguise == "same" else tmp_path / "x" / ".." / "dsc.nii"
    with pytest.raises(InputError, match="also an input"):
        check_output(output, inputs=[source], overwrite=True)


@pytest.mark.parametrize("place", ["/proc/map.nii", "/dev/null/map.nii", "/proc/none/deep/map.nii"])
def test_unwritable_output_is_refused_before_work(place: str) -> None:
    with pytest.raises(InputError, match="cannot write"):
        check_output(Path(place))
    with pytest.raises(InputError, match="cannot write"), atomic_output(Path(place)):
        pytest.fail("the block ran")


def test_folder_as_output_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        check_output(tmp_path)


def test_check_creates_nothing(tmp_path: Path) -> None:
    check_output(tmp_path / "a" / "b" / "map.nii")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_process_are_swept_at_the_next_start(tmp_path: Path) -> None:
    process = hold_open(tmp_path / "first.nii")
    try:
        assert sweep_partial(tmp_path) == []  # the living keep theirs
    finally:
        kill(process)
    (left,) = (tmp_path / PARTIAL_FOLDER).iterdir()
    with atomic_output(tmp_path / "second.nii"):
        pass
    assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["second.nii"]


def test_leftover_whose_process_id_lives_again_is_swept(tmp_path: Path) -> None:
    """In a container every run can have the same process id: the start time tells them apart."""
    process = hold_open(tmp_path / "map.nii")
    kill(process)
    (left,) = (tmp_path / PARTIAL_FOLDER).iterdir()
    reborn = left.with_name(left.name.replace(f".{process.pid}.", f".{os.getpid()}."))
    left.rename(reborn)
    assert sweep_partial(tmp_path) == [reborn]


def test_strangers_files_are_not_swept(tmp_path: Path) -> None:
    partial = tmp_path / PARTIAL_FOLDER
    partial.mkdir()
    strangers = [partial / "notes.txt", partial / "map.nii.otherhost.1.1.aaaa.part"]
    for path in strangers:
        path.touch()
    assert sweep_partial(tmp_path) == []
    assert sorted(partial.iterdir()) == sorted(strangers)


def test_long_and_foreign_names_fit(tmp_path: Path) -> None:
    target = tmp_path / ("ü" * 120 + ".nii")
    with atomic_output(target) as stream:
        stream.write(b"x")
    assert target.read_bytes() == b"x"
