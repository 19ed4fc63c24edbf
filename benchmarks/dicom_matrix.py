"""Maps in DICOM, for every kind of source, orientation and form: what holds, and which outside tool says so.

    python benchmarks/dicom_matrix.py

Prints the table of docs/pacs.md. A letter stands where the check passed, a small one with ! where it failed, and
nothing where it was not asked: V dciodvfy, P positions and values by pydicom, S SimpleITK, N dcm2niix, O Orthanc. Needs
dciodvfy and Orthanc (Debian: dicom3tools, orthanc).
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

sys.path.insert(0, str(Path(__file__).parents[1]))

from perfmap.report.dicom import form_objects
from tests.dicom_checks import check_dcm2niix, check_mr, check_pm, check_sc, check_simpleitk, check_valid
from tests.dicom_maps import CASES, map_of, scan_of, written_source
from tests.orthanc import Orthanc, running_orthanc


def check_orthanc(archive: Orthanc, images: Sequence[Dataset], form: str) -> None:
    """Each object is stored; its picture is ours: to 2 of 255 grey levels (mr), to the bit (sc), unseen (pm)."""
    for image in images:
        stream = io.BytesIO()
        image.save_as(stream, enforce_file_format=True)
        post = urllib.request.Request(
            f"http://127.0.0.1:{archive.http_port}/instances", stream.getvalue(), method="POST"
        )
        with urllib.request.urlopen(post, timeout=30) as answer:
            said = json.loads(answer.read())
        assert said["Status"] == "Success"
        place = f"/instances/{said['ID']}"
        assert archive.json(f"{place}/study")["MainDicomTags"]["StudyInstanceUID"] == image.StudyInstanceUID
        if form == "mr":
            shown = Image.open(io.BytesIO(archive.get(f"{place}/rendered"))).convert("L")
            ours = 255 * np.clip(image.pixel_array * float(image.RescaleSlope) / 5.0, 0, 1)
            assert np.abs(np.asarray(shown, dtype=float) - ours).max() <= 2
        elif form == "sc":
            shown = Image.open(io.BytesIO(archive.get(f"{place}/preview"))).convert("RGB")
            assert (np.asarray(shown) == image.pixel_array).all()


def letters(checks: dict[str, Callable[[], None]]) -> str:
    """The letters of the checks that passed; of one that failed what went wrong goes to stderr."""
    passed = []
    for letter, check in checks.items():
        try:
            check()
            passed.append(letter)
        except AssertionError as error:
            passed.append(f"{letter.lower()}!")
            print(f"{letter}: {str(error)[:300]}", file=sys.stderr)
    return " ".join(passed)


def row(kind: str, way: str, folder: Path, archive: Orthanc) -> str:
    """One line of the table."""
    scan = scan_of(way, name=f"{kind} {way}")  # a study of its own: equal UIDs would be known to the archive
    source, made = written_source(scan, kind, folder / "in"), map_of(scan)  # type: ignore[arg-type]
    images = {form: list(form_objects(source, made, form)) for form in ("mr", "sc", "pm")}

    def valid(form: str) -> Callable[[], None]:
        return lambda: check_valid(images[form], source.slices[0].path, folder / f"valid-{form}")

    def shown(form: str) -> Callable[[], None]:
        return lambda: check_orthanc(archive, images[form], form)

    outside: dict[str, Callable[[], None]] = {}
    if way != "tilted":  # neither ITK's nor NIfTI's images hold a sheared stack
        outside["S"] = lambda: check_simpleitk(images["mr"], made, folder / "mr")
        outside["N"] = lambda: check_dcm2niix(folder / "mr", made, folder / "back")
    mr = {"V": valid("mr"), "P": lambda: check_mr(images["mr"], made), **outside, "O": shown("mr")}
    sc = {"V": valid("sc"), "P": lambda: check_sc(images["sc"], images["mr"]), "O": shown("sc")}
    pm = {"V": valid("pm"), "P": lambda: check_pm(images["pm"][0], made), "O*": shown("pm")}
    return f"| {kind} | {way} | {letters(mr)} | {letters(sc)} | {letters(pm)} |"


def main() -> None:
    """Ask everything of everything."""
    print("| source | orientation | `mr` | `sc` | `pm` |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary, running_orthanc(Path(temporary) / "orthanc") as archive:
        for kind, way in CASES:
            print(row(kind, way, Path(temporary) / f"{kind}-{way}", archive), flush=True)


if __name__ == "__main__":
    main()
