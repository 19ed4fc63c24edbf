"""``perfmap send``: what is checked before anything leaves, and what an archive and an outage do."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage, ParametricMapStorage, SecondaryCaptureImageStorage

from perfmap.cli import run
from perfmap.errors import ConfigError, InputError
from perfmap.io.dicom_destination import Destination, parse_destination, require_allowed
from perfmap.io.dicom_out import write_objects
from perfmap.io.dicom_out_mr import mr_series
from perfmap.io.dicom_out_sc import sc_series
from perfmap.io.dicom_parcel import read_parcel
from perfmap.io.dicom_send import Delivery, Undelivered, send_with_retries
from perfmap.io.send_queue import enqueue, open_job, waiting_jobs
from tests.dicom_factory import PATIENT_ID, SECRETS
from tests.dicom_maps import SHAPE, map_of, scan_of, written_source

pynetdicom = pytest.importorskip("pynetdicom")
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
N_OBJECTS = 2 * 2 * SHAPE[2]  # two maps, two forms


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two forms of both maps, as predict writes them."""
    folder = tmp_path_factory.mktemp("maps")
    scan = scan_of("axial")
    source = written_source(scan, "classic", folder / "in")
    blank = np.zeros((SHAPE[2], SHAPE[1] + 2, SHAPE[0], 3), dtype=np.uint8)
    for method in ("conventional", "network"):
        made = map_of(scan, method=method)
        write_objects(mr_series(source, made), folder / "out" / "mr" / made.folder)
        write_objects(sc_series(source, made, blank, enlarged=1), folder / "out" / "sc" / made.folder)
    return folder / "out"


@pytest.fixture
def maps(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "maps")
    return tmp_path / "maps"


class Archive:
    """A small archive: keeps headers in the order of arrival, answers questions about one study."""

    def __init__(self, *, known: dict[str, str], kinds: tuple[str, ...], failing: int = 0) -> None:
        self.arrived: list[Dataset] = []
        self.known, self.failing = known, failing
        entity = pynetdicom.AE(ae_title="ARCHIVE")
        for kind in (*kinds, FIND):
            entity.add_supported_context(kind)
        handlers = [(pynetdicom.evt.EVT_C_STORE, self.store), (pynetdicom.evt.EVT_C_FIND, self.find)]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.port = self.server.server_address[1]

    def store(self, event: Any) -> int:
        if self.failing:
            self.failing -= 1
            return 0xA700  # out of resources
        self.arrived.append(event.dataset)
        return 0x0000

    def find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        study = event.identifier.StudyInstanceUID
        if study in self.known:
            answer = Dataset()
            answer.QueryRetrieveLevel, answer.StudyInstanceUID = "STUDY", study
            answer.PatientID = self.known[study]
            yield 0xFF00, answer


@pytest.fixture
def archive(maps: Path) -> Iterator[Callable[..., Archive]]:
    started = []

    def start(
        *,
        patient: str | None = PATIENT_ID,
        kinds: tuple[str, ...] = (MRImageStorage, SecondaryCaptureImageStorage, ParametricMapStorage),
        failing: int = 0,
    ) -> Archive:
        study = str(pydicom.dcmread(maps / "mr" / "nrcbv" / "0001.dcm").StudyInstanceUID)
        started.append(
            Archive(known={} if patient is None else {study: patient}, kinds=kinds, failing=failing)
        )
        return started[-1]

    yield start
    for one in started:
        one.server.shutdown()


def send(tmp_path: Path, port: int, *arguments: str, allowed: bool = True) -> int:
    (tmp_path / "allowed.txt").write_text(
        f"# where maps may go\nARCHIVE@127.0.0.1:{port}  # the test\n" if allowed else "OTHER@127.0.0.1:104\n"
    )
    options = ["--to", f"ARCHIVE@127.0.0.1:{port}", "--allow", str(tmp_path / "allowed.txt"), "--wait", "0"]
    return run(["send", *arguments, *options])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_everything_arrives_and_the_conventional_maps_first(
    maps: Path, tmp_path: Path, archive: Callable[..., Archive]
) -> None:
    there = archive()
    assert send(tmp_path, there.port, str(maps)) == 0
    assert len(there.arrived) == N_OBJECTS
    methods = [data.ManufacturerModelName.split()[0] for data in there.arrived]
    assert methods == ["conventional"] * (N_OBJECTS // 2) + ["network"] * (N_OBJECTS // 2)
    sent = {str(pydicom.dcmread(path).SOPInstanceUID) for path in maps.rglob("*.dcm")}
    assert {str(data.SOPInstanceUID) for data in there.arrived} == sent


def test_nothing_goes_where_the_list_does_not_say_so(
    maps: Path, tmp_path: Path, archive: Callable[..., Archive], capsys: pytest.CaptureFixture[str]
) -> None:
    there = archive()
    assert send(tmp_path, there.port, str(maps), allowed=False) == 2
    assert "is not in" in capsys.readouterr().err
    assert there.arrived == []


def test_study_that_the_archive_holds_for_another_patient_is_not_added_to(
    maps: Path, tmp_path: Path, archive: Callable[..., Archive], capsys: pytest.CaptureFixture[str]
) -> None:
    there = archive(patient="SOMEBODY_ELSE")
    assert send(tmp_path, there.port, str(maps)) == 3
    said = capsys.readouterr().err
    assert "another PatientID" in said
    assert not any(secret in said for secret in (*SECRETS, "SOMEBODY_ELSE"))
    assert there.arrived == []


def test_unknown_study_is_said(
    maps: Path, tmp_path: Path, archive: Callable[..., Archive], capsys: pytest.CaptureFixture[str]
) -> None:
    assert send(tmp_path, archive(patient=None).port, str(maps)) == 0
    assert "does not hold the study" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keyword", "value"), [("PatientID", "OTHER"), ("StudyInstanceUID", "1.2.3.4"), ("Manufacturer", "ACME")]
)
def test_object_that_was_changed_after_it_was_written_is_refused(
    maps: Path, keyword: str, value: str
) -> None:
    for path in maps.rglob("*.dcm"):
        data = pydicom.dcmread(path)
        setattr(data, keyword, value)
        data.save_as(path)
    with pytest.raises(InputError, match=r"not those that it was written with|not written by perfmap"):
        read_parcel(maps)


def test_objects_of_two_patients_are_refused(maps: Path, tmp_path: Path) -> None:
    scan = scan_of("axial", name="b", patient={"PatientID": "OTHER"})
    write_objects(
        mr_series(written_source(scan, "classic", tmp_path / "in"), map_of(scan)), maps / "mr" / "more"
    )
    with pytest.raises(InputError, match="2 studies and 2 patients"):
        read_parcel(maps)


@pytest.mark.parametrize("missing", ["all", "one"])
def test_network_map_is_never_sent_without_its_whole_companion(maps: Path, missing: str) -> None:
    if missing == "all":
        shutil.rmtree(maps / "sc" / "nrcbv-conventional")
    else:
        (maps / "sc" / "nrcbv-conventional" / "0002.dcm").unlink()
    with pytest.raises(InputError, match="never sent alone"):
        read_parcel(maps)
    with pytest.raises(InputError, match="never sent alone"):
        read_parcel(maps / "mr" / "nrcbv")
    assert len(read_parcel(maps / "mr").pieces) == 2 * SHAPE[2]


def test_outage_leaves_the_maps_in_the_queue_and_the_next_run_delivers_them(
    maps: Path, tmp_path: Path, archive: Callable[..., Archive], capsys: pytest.CaptureFixture[str]
) -> None:
    queue, nobody = tmp_path / "outbox", free_port()
    assert send(tmp_path, nobody, str(maps), "--queue", str(queue), "--retries", "1") == 4
    assert "the maps wait in" in capsys.readouterr().err
    assert send(tmp_path, nobody, str(maps), "--queue", str(queue), "--retries", "0") == 4
    (job,) = waiting_jobs(queue)  # the same maps once, not twice
    assert (queue.stat().st_mode & 0o077, job.folder.stat().st_mode & 0o077) == (0, 0)
    told = (job.folder / "job.json").read_text() + str(job.folder)
    assert not any(secret in told for secret in SECRETS)
    shutil.rmtree(maps)  # what was handed over no longer depends on where it came from

    there = archive_at(nobody)
    try:
        assert send(tmp_path, nobody, "--queue", str(queue)) == 0
    finally:
        there.server.shutdown()
    assert len(there.arrived) == N_OBJECTS
    assert waiting_jobs(queue) == []
    assert list(queue.iterdir()) == []


def archive_at(port: int) -> Archive:
    there = Archive(known={}, kinds=(MRImageStorage, SecondaryCaptureImageStorage))
    there.server.shutdown()
    entity = pynetdicom.AE(ae_title="ARCHIVE")
    for kind in (MRImageStorage, SecondaryCaptureImageStorage):
        entity.add_supported_context(kind)
    there.server = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(pynetdicom.evt.EVT_C_STORE, there.store)]
    )
    return there


def test_queued_parcel_that_was_touched_is_not_sent(maps: Path, tmp_path: Path) -> None:
    job = enqueue(read_parcel(maps), Destination("ARCHIVE", "127.0.0.1", 104), tmp_path / "outbox")
    assert len(open_job(job).pieces) == N_OBJECTS
    victim = next(job.folder.glob("*.dcm"))
    data = pydicom.dcmread(victim)
    data.ImageComments = "for diagnosis"
    data.save_as(victim)
    with pytest.raises(InputError, match="not what was put there"):
        open_job(job)


def test_archive_that_fails_once_gets_them_at_the_second_try(
    maps: Path, tmp_path: Path, archive: Callable[..., Archive]
) -> None:
    there = archive(failing=1)
    assert send(tmp_path, there.port, str(maps), "--retries", "1") == 0
    assert len(there.arrived) == N_OBJECTS
    there = archive(failing=1)
    assert send(tmp_path, there.port, str(maps), "--retries", "0") == 4
    assert there.arrived == []  # a conventional object was refused: no network map went after it


def test_archive_that_does_not_know_a_form_gets_the_others(
    maps: Path, tmp_path: Path, archive: Callable[..., Archive], capsys: pytest.CaptureFixture[str]
) -> None:
    there = archive(kinds=(MRImageStorage,))
    assert send(tmp_path, there.port, str(maps), "--json", str(tmp_path / "said.json")) == 4
    assert {data.SOPClassUID for data in there.arrived} == {MRImageStorage}
    assert "does not take: Secondary Capture" in capsys.readouterr().err
    said = json.loads((tmp_path / "said.json").read_text())
    assert (said["objects"], said["not_taken"]) == (N_OBJECTS // 2, ["Secondary Capture Image Storage"])


def test_pauses_double() -> None:
    pauses: list[float] = []
    tries = iter([Undelivered("a"), Undelivered("b"), Delivery(1, (), ())])

    def once() -> Delivery:
        came = next(tries)
        if isinstance(came, Undelivered):
            raise came
        return came

    assert send_with_retries(once, retries=3, wait=2.0, sleep=pauses.append).stored == 1
    assert pauses == [2.0, 4.0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ARCHIVE",
        "A@h",
        "A@h:0",
        "A@h:70000",
        "LONGER_THAN_SIXTEEN@h:1",
        "A@h:1:2",
        "A b@h:104",
        "A@h/x:1",
    ],
)
def test_malformed_destination_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="AET@HOST:PORT"):
        parse_destination(text)


def test_list_of_destinations_must_be_there_and_readable(tmp_path: Path) -> None:
    destination = parse_destination("A@[::1]:104")
    assert destination.host == "::1"
    with pytest.raises(ConfigError, match="cannot be read"):
        require_allowed(destination, tmp_path / "none.txt")
    (tmp_path / "list.txt").write_text("A@::1:104 or so\n")
    with pytest.raises(ConfigError, match="is not AET@HOST:PORT"):
        require_allowed(destination, tmp_path / "list.txt")


def test_nothing_to_send_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert send(tmp_path, 104) == 2
    assert send(tmp_path, 104, str(tmp_path / "none")) == 3
    assert send(tmp_path, 104, str(tmp_path)) == 3
    said = capsys.readouterr().err
    assert "give DIR, or --queue" in said
    assert "holds no .dcm file" in said
