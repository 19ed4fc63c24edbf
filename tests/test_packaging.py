"""The wheel by itself: installed into a separate environment, it predicts without the source tree and without network.

To be affordable in every run, that environment has only the wheel installed and borrows the heavy dependencies (torch,
nibabel, ...) of the one that runs the tests. `.ci/run` does the same with nothing borrowed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import perfmap
from tests.heads import GREY, WHITE, head_series

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.wheel

# Loaded by the separate environment at start: whoever asks for a connection is refused.
NO_NETWORK = """
import socket
def refuse(*_args, **_kwargs):
    raise OSError("this test has no network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command with an environment that knows neither the source tree nor the home folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    surroundings = {**kept, "HOME": str(cwd), "MPLCONFIGDIR": str(cwd / "matplotlib")}
    return subprocess.run(
        [str(c) for c in command], cwd=cwd, env=surroundings, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder
    )
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment that holds the wheel, borrowed dependencies and no network."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel]
    done = run(*pip, cwd=home)
    assert done.returncode == 0, done.stderr
    own = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (own / "borrowed.pth").write_text("\n".join(sorted(borrowed)) + "\n")
    (own / "no_network.py").write_text(NO_NETWORK)
    (own / "no_network.pth").write_text("import no_network\n")
    return home / "bin"


def test_wheel_carries_code_licence_and_every_checkpoint_with_its_card(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        cards = sorted(
            name for name in names if name.startswith("perfmap/_weights/") and name.endswith("card.json")
        )
        assert cards, "the wheel holds no checkpoint"
        for name in cards:
            card: dict[str, Any] = json.loads(archive.read(name))
            weights = archive.read(name.replace("card.json", "model.safetensors"))
            assert hashlib.sha256(weights).hexdigest() == card["sha256"]
    assert {name.split("/")[0] for name in names} == {"perfmap", f"perfmap-{perfmap.__version__}.dist-info"}
    assert f"perfmap-{perfmap.__version__}.dist-info/licenses/LICENSE" in names
    assert "perfmap/py.typed" in names


def test_installed_package_is_the_wheels_and_has_no_network(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import perfmap; print(perfmap.__file__)", cwd=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(installed.parent), where.stderr
    refused = run(
        installed / "python", "-c", "import socket; socket.create_connection(('::1', 9))", cwd=tmp_path
    )
    assert "this test has no network" in refused.stderr
    version = run(installed / "perfmap", "--version", cwd=tmp_path)
    assert perfmap.__version__ in version.stdout


def test_wheel_predicts_from_any_folder(installed: Path, tmp_path: Path) -> None:
    series, truth = head_series(shape=(96, 96, 6))
    image = nib.Nifti1Image(series.signal, series.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = series.time_step
    nib.save(image, tmp_path / "dsc.nii.gz")
    done = run(installed / "perfmap", "predict", "dsc.nii.gz", "-o", "nrcbv.nii.gz", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = nib.load(tmp_path / "nrcbv.nii.gz")
    assert written.shape == image.shape[:3]
    np.testing.assert_array_equal(written.affine, image.affine)
    nrcbv = np.asanyarray(written.dataobj)
    assert np.isfinite(nrcbv).all()
    assert nrcbv.min() >= 0.0
    # Grey matter has 2.2 times the blood volume: a trained network reads that, whatever its errors.
    assert np.median(nrcbv[truth == GREY]) > 1.2 * np.median(nrcbv[truth == WHITE]) > 0.0
    assert perfmap.__version__ in (tmp_path / "nrcbv.json").read_text("utf-8")


# What `--read-only --tmpfs /tmp --network none` and a user without rights amount to, without an engine.
LIKE_A_CONTAINER = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount -t tmpfs tmpfs "$2"
mount -o remount,bind,ro /
shift 2
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


def container_file() -> dict[str, list[str]]:
    """Arguments of the instructions of the Containerfile."""
    text = (ROOT / "Containerfile").read_text("utf-8").replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for word, rest in re.findall(r"^([A-Z]+) (.+)$", text, re.MULTILINE):
        found.setdefault(word, []).append(rest)
    return found


def test_container_installs_as_the_wheel_is_tried_without_rights_and_network() -> None:
    steps = container_file()
    assert steps["USER"] == ["1000:1000"]
    (install,) = (shlex.split(step) for step in steps["RUN"])
    tried = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "pip install --quiet -c constraints.txt" in tried
    assert install[:4] == ["python", "-m", "pip", "install"]
    assert install[-3:] == ["-c", "/opt/perfmap/constraints.txt", "/opt/perfmap/*.whl"]


def test_container_entry_point_works_offline_on_a_read_only_root(installed: Path, tmp_path: Path) -> None:
    steps = container_file()
    (entry,) = (json.loads(step) for step in steps["ENTRYPOINT"])
    variables = dict(item.split("=", 1) for item in shlex.split(steps["ENV"][0]))
    series, _ = head_series(shape=(96, 96, 4))
    image = nib.Nifti1Image(series.signal, series.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = series.time_step
    place = tmp_path / "data" / "sub-01" / "perf"
    place.mkdir(parents=True)
    nib.save(image, place / "sub-01_dsc.nii.gz")
    (tmp_path / "data" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    output, scratch = tmp_path / "out", tmp_path / "scratch"
    output.mkdir()
    scratch.mkdir()
    variables = {name: value.replace("/tmp", str(scratch)) for name, value in variables.items()}
    command = [installed / entry[0], *entry[1:], tmp_path / "data", output, "participant"]
    command += ["--participant-label", "01", "--quiet"]
    shut_in = ["unshare", "--mount", "--net", "sh", "-c", LIKE_A_CONTAINER, "sh", output, scratch]
    if not all(map(shutil.which, ("unshare", "setpriv"))) or run(*shut_in, "true", cwd=scratch).returncode:
        pytest.skip("no name spaces here: neither a read-only root nor a network without interfaces")
    refused = run(*shut_in, "touch", tmp_path / "data" / "new", cwd=scratch)
    assert "Read-only file system" in refused.stderr
    environment = [f"{name}={value}" for name, value in {**variables, "TMPDIR": str(scratch)}.items()]
    done = run(*shut_in, "env", *environment, *command, cwd=scratch)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(output.rglob("*_nrcbv.nii.gz"))
