#!/usr/bin/env python3
"""Follow an Orthanc archive: predict the map of every study that has come to rest, and store it back.

A process of its own beside Orthanc, not a plugin: if it dies, the archive does not notice. Needs only perfmap and
Python. It remembers in a state file how far it has read, so that a restart goes on from there. Research use only.

    python orthanc_route.py --orthanc http://127.0.0.1:8042 --to ORTHANC@127.0.0.1:4242 \\
        --allow allowed.txt --work /srv/route
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

log = logging.getLogger("route")


def main() -> int:
    """Read the arguments, follow the archive."""
    parser = argparse.ArgumentParser(
        description="Predict maps of the studies of an Orthanc, store them back."
    )
    parser.add_argument("--orthanc", required=True, help="URL of its REST interface")
    parser.add_argument("--to", required=True, metavar="AET@HOST:PORT", help="its DICOM side")
    parser.add_argument("--allow", required=True, type=Path, help="list of destinations allowed")
    parser.add_argument("--work", required=True, type=Path, help="folder for state, queue and passing files")
    parser.add_argument("--model", default=None, help="as for perfmap predict")
    parser.add_argument("--pause", type=float, default=10.0, help="between two questions, s")
    parser.add_argument("--once", action="store_true", help="end when there is nothing new")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.work.mkdir(parents=True, exist_ok=True, mode=0o700)
    state = options.work / "last-change.txt"
    last = int(state.read_text()) if state.exists() else 0
    while True:
        try:
            changes = json.loads(get(options.orthanc, f"/changes?since={last}&limit=100"))
            for change in changes["Changes"]:
                if change["ChangeType"] == "StableStudy":
                    route(options, change["ID"])
                last = change["Seq"]
                remember(state, last)
        except (urllib.error.URLError, OSError) as error:
            log.warning("no answer from Orthanc (%s); asking again", type(error).__name__)
            changes = {"Done": True}
        if changes["Done"]:
            if options.once:
                return 0
            time.sleep(options.pause)


def route(options: argparse.Namespace, study: str) -> None:
    """Predict one study and send its maps back. `study` is Orthanc's own identifier, which names nobody."""
    series = json.loads(get(options.orthanc, f"/studies/{study}/series"))
    if any(one["MainDicomTags"].get("Manufacturer") == "perfmap" for one in series):
        return  # the study came to rest again because maps were stored into it
    if not any(one["MainDicomTags"].get("Modality") == "MR" for one in series):
        return
    place = options.work / study
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    try:
        (place / "study.zip").write_bytes(get(options.orthanc, f"/studies/{study}/archive"))
        model = ["--model", options.model] if options.model else []
        maps = place / "dicom"
        code = run("predict", place / "study.zip", "-o", place / "nrcbv.nii.gz", "--dicom", maps, *model)
        if code == 0:
            code = run(
                "send", maps, "--to", options.to, "--allow", options.allow, "--queue", options.work / "outbox"
            )
        log.info("study %s: perfmap ended with %d", study[:8], code)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def run(verb: str, *arguments: object) -> int:
    """One perfmap command; its lines go to stderr, its exit code comes back."""
    command = [sys.executable, "-m", "perfmap", verb, *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode


def get(url: str, path: str) -> bytes:
    """What Orthanc answers."""
    with urllib.request.urlopen(url.rstrip("/") + path, timeout=300) as answer:
        content: Any = answer.read()
        return bytes(content)


def remember(state: Path, last: int) -> None:
    """Write the number of the last change that was dealt with, whole or not at all."""
    part = state.with_suffix(".part")
    part.write_text(str(last))
    part.replace(state)


if __name__ == "__main__":
    sys.exit(main())
