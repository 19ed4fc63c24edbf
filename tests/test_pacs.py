"""The way through a real archive and back, with the scripts that docs/pacs.md shows."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage

from perfmap.models import build_network
from perfmap.models.card import InputContract
from perfmap.models.checkpoint import save_checkpoint
from tests.dicom_factory import SECRETS, Scan, oblique_affine, write_classic
from tests.heads import head_series
from tests.models.test_checkpoint import card_fields
from tests.orthanc import AET, free_ports, missing_tools, running_orthanc

pytest.importorskip("highdicom")
pytest.importorskip("pynetdicom")
EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
SHAPE = (32, 32, 3)
N_TIMES = 30


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DSC series of a head as a scanner stores it, in an export folder with the patient's name."""
    folder = tmp_path_factory.mktemp("exports") / "Lovelace_Ada"
    head = head_series(shape=SHAPE, n_times=N_TIMES)[0].signal.round()
    write_classic(Scan(head, oblique_affine(SHAPE, angles=(11.0, 4.0, -5.0))), folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights: this is about the way, not about the map."""
    torch.manual_seed(0)
    arguments = {"n_times": 45, "widths": [4, 4, 8, 8, 8]}
    fields = {**card_fields(), "arguments": arguments, "inputs": InputContract(matrix=32)}
    folder = tmp_path_factory.mktemp("model") / "small"
    save_checkpoint(folder, build_network("unet-gru", **arguments).state_dict(), fields, half=False)
    return folder


@pytest.mark.pacs
def test_study_goes_to_the_archive_and_its_maps_come_back_into_it(
    study: Path, model: Path, tmp_path: Path
) -> None:
    if missing_tools():
        pytest.skip(f"not installed: {', '.join(missing_tools())}")
    with running_orthanc(tmp_path / "orthanc", stable_age=1) as archive:
        store = ["storescu", "-aec", AET, "+sd", "127.0.0.1", str(archive.dicom_port), str(study)]
        subprocess.run(store, check=True, capture_output=True)
        (number,) = archive.json("/studies")
        archive.wait_for_change("StableStudy")
        destination = f"{AET}@127.0.0.1:{archive.dicom_port}"
        (tmp_path / "allowed.txt").write_text(destination + "\n")
        command = [
            *(sys.executable, str(EXAMPLES / "orthanc_route.py"), "--once", "--model", str(model)),
            *("--orthanc", f"http://127.0.0.1:{archive.http_port}", "--to", destination),
            *("--allow", str(tmp_path / "allowed.txt"), "--work", str(tmp_path / "work")),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)

        assert archive.json("/studies") == [number]  # no second study
        series = archive.json(f"/studies/{number}/series")
        made = [one for one in series if one["MainDicomTags"].get("Manufacturer") == "perfmap"]
        assert len(made) == 6, done.stderr
        assert sorted(len(one["Instances"]) for one in made) == [1, 1, 3, 3, 3, 3]
        shown = 0
        for identifier in (name for one in made for name in one["Instances"]):
            image = pydicom.dcmread(io.BytesIO(archive.get(f"/instances/{identifier}/file")))
            assert image.PatientID == SECRETS[2]
            if image.SOPClassUID == MRImageStorage:
                preview = Image.open(io.BytesIO(archive.get(f"/instances/{identifier}/rendered")))
                values = image.pixel_array * float(image.RescaleSlope)
                ours = 255 * np.clip(values / 5.0, 0, 1)
                assert np.abs(np.asarray(preview.convert("L"), dtype=float) - ours).max() <= 2
                shown += 1
            elif image.SOPClassUID == SecondaryCaptureImageStorage:
                preview = Image.open(io.BytesIO(archive.get(f"/instances/{identifier}/preview")))
                assert (np.asarray(preview.convert("RGB")) == image.pixel_array).all()
                shown += 1
        assert shown == 4 * SHAPE[2]
        left = [path.name for path in (tmp_path / "work").iterdir()]
        assert sorted(left) == ["last-change.txt", "outbox"]
        assert not any(secret in done.stderr for secret in SECRETS)

        again = subprocess.run(command, capture_output=True, text=True, check=True)  # goes on where it was
        assert "ended with" not in again.stderr
        assert len(archive.json(f"/studies/{number}/series")) == len(series)


def test_nightly_script_predicts_once_and_keeps_what_the_archive_could_not_take(
    study: Path, model: Path, tmp_path: Path
) -> None:
    if shutil.which("flock") is None:
        pytest.skip("flock is not installed")
    exports, out = tmp_path / "exports", tmp_path / "out"
    shutil.copytree(study, exports / study.name)
    (exports / "Somebody_Else").mkdir()
    (exports / "Somebody_Else" / "report.txt").write_text("no images")
    (exports / "arriving").mkdir()
    (exports / "arriving" / "0001.dcm").write_bytes(b"half")
    for path in (*exports.glob("*_*/*"), exports):
        os.utime(path, (1.6e9, 1.6e9))
    destination = f"NOBODY@127.0.0.1:{free_ports(1)[0]}"
    (tmp_path / "allowed.txt").write_text(destination + "\n")
    log = tmp_path / "calls.txt"
    wrapper = tmp_path / "perfmap"
    wrapper.write_text(
        f'#!/bin/sh\necho "$1" >> {log}\nverb=$1; shift\n'
        f'[ $verb = predict ] && set -- "$@" --model {model}\n'
        f'[ $verb = send ] && set -- "$@" --retries 0\n'
        f'exec {sys.executable} -m perfmap $verb "$@"\n'
    )
    wrapper.chmod(0o700)
    command = [
        "sh",
        str(EXAMPLES / "nightly.sh"),
        str(exports),
        str(out),
        destination,
        str(tmp_path / "allowed.txt"),
    ]
    environment = {**os.environ, "PERFMAP": str(wrapper)}
    first = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert first.returncode == 4, first.stderr  # the archive is not there
    assert log.read_text().split() == ["predict", "send", "predict", "send"]
    assert len(list((out / "outbox").glob("*/job.json"))) == 1
    assert len(list(out.glob("*/done"))) == 2  # the one without a DSC series is not tried every night
    named = "\n".join([first.stderr, (out / "nightly.log").read_text(), *map(str, out.rglob("*"))])
    for secret in (*SECRETS, "Somebody"):
        assert secret not in named.replace(str(exports), "")
    second = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert second.returncode == 4
    assert log.read_text().split()[4:] == ["send"]  # nothing is predicted twice; the queue is tried again
    (job,) = (out / "outbox").glob("*/job.json")
    assert json.loads(job.read_text())["destination"] == destination
