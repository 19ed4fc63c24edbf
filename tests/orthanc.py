"""A real archive for tests: Orthanc on 127.0.0.1 with free ports, its files in a temporary folder."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AET = "ORTHANC"


@dataclass(frozen=True)
class Orthanc:
    """A running archive."""

    http_port: int
    dicom_port: int

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def wait_for_change(self, kind: str) -> None:
        """Until the archive has noted such a change."""
        give_up = time.monotonic() + 60
        while not any(change["ChangeType"] == kind for change in self.json("/changes?limit=1000")["Changes"]):
            if time.monotonic() > give_up:
                raise RuntimeError(f"Orthanc noted no {kind} within a minute")
            time.sleep(0.2)


def missing_tools() -> list[str]:
    return [tool for tool in ("Orthanc", "storescu") if shutil.which(tool) is None]


@contextmanager
def running_orthanc(folder: Path, *, stable_age: int = 60) -> Iterator[Orthanc]:
    """Start the archive; it ends with the block. A study is called stable after so many seconds of rest."""
    http_port, dicom_port = free_ports(2)
    settings = {
        "Name": "perfmap test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "DicomAet": AET,
        "RemoteAccessAllowed": False,  # HTTP from this machine only
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "StableAge": stable_age,
        "Plugins": [],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
    archive = Orthanc(http_port, dicom_port)
    try:
        _wait_for(archive, process, folder / "log.txt")
        yield archive
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_for(archive: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        if process.poll() is not None:
            break
        try:
            archive.get("/system")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"Orthanc did not start: {log.read_text(errors='replace')[-2000:]}")
