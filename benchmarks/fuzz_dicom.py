"""Hostile DICOM for `benchmarks/fuzz.py`: elements, lengths, VRs, transfer syntaxes, pixel data, folders, archives.

A small sound export (enhanced, mosaic or classic) is written once; every input is a copy of its bytes of which some
have been spoilt: by the byte, by the element, or by an attribute that says what cannot be.
"""

from __future__ import annotations

import functools
import io
import struct
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from pydicom import dcmread
from pydicom.uid import UID

from tests.dicom_factory import Scan, oblique_affine, write_classic, write_enhanced, write_mosaic
from tests.heads import head_series

SHAPE = (16, 14, 3)
VRS = [
    b"AE",
    b"AS",
    b"AT",
    b"CS",
    b"DA",
    b"DS",
    b"DT",
    b"FD",
    b"FL",
    b"IS",
    b"LO",
    b"LT",
    b"OB",
    b"OF",
    b"OW",
]
VRS += [b"PN", b"SH", b"SL", b"SQ", b"SS", b"ST", b"TM", b"UI", b"UL", b"UN", b"US", b"UT", b"\0\0", b"zz"]
LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT"}
LENGTHS = [0, 1, 2, 3, 7, 8, 255, 256, 65534, 65535, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]
SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"]
SYNTAXES += [
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
]
SYNTAXES += ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.3", "", "../../../x"]
KEYWORDS = [
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
]
KEYWORDS += [
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelSpacing",
    "SliceThickness",
    "InstanceNumber",
]
KEYWORDS += [
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "EchoTime",
    "RepetitionTime",
    "AcquisitionTime",
]
KEYWORDS += ["ContentTime", "AcquisitionDateTime", "TemporalPositionIdentifier", "NumberOfTemporalPositions"]
KEYWORDS += [
    "TriggerTime",
    "AcquisitionNumber",
    "EchoNumbers",
    "ImageType",
    "Modality",
    "SOPClassUID",
    "PatientAge",
]
KEYWORDS += [
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "PatientName",
]
KEYWORDS += [
    "SeriesNumber",
    "SeriesDescription",
    "Manufacturer",
    "RescaleSlope",
    "RescaleIntercept",
    "SpecificCharacterSet",
]
VALUES = [
    "",
    "0",
    "-1",
    "1",
    "65535",
    "99999999999",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "1e-320",
    "x",
    "../../../../tmp/x",
]
VALUES += [
    "/etc/passwd",
    "1\\2",
    "0\\0\\0",
    "1\\0\\0\\1\\0\\0",
    "nan\\nan\\nan",
    "\0\0",
    "\x1b$B",
    "9" * 300,
    "1.2.3",
]
VALUES += [
    "240000",
    "999999.999999",
    "20209999",
    "CON",
    "a" * 5000,
    "*",
    "-rf",
    "%s%n",
    "$(touch x)",
    "é",
    "\n\r",
]


@functools.lru_cache(maxsize=1)
def sound() -> dict[str, dict[str, bytes]]:
    """Files of a sound export, by its kind."""
    series, _ = head_series(shape=SHAPE, n_times=24, arrival=12.0)
    scan = Scan(series.signal, oblique_affine(SHAPE, angles=(8.0, -5.0, 3.0)))
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_enhanced(scan, place / "enhanced" / "E1")
        write_mosaic(scan, place / "mosaic")
        write_classic(scan, place / "classic")
        return {
            kind: {path.name: path.read_bytes() for path in sorted((place / kind).iterdir())}
            for kind in ("enhanced", "mosaic", "classic")
        }


def elements(data: bytes) -> list[tuple[int, bytes, int, int]]:
    """Place, VR, place of the value and length of all elements at the top of an explicit little-endian file."""
    found, at = [], 132
    while at + 8 <= len(data):
        vr = data[at + 4 : at + 6]
        if vr in LONG:
            start, length = at + 12, int.from_bytes(data[at + 8 : at + 12], "little")
        else:
            start, length = at + 8, int.from_bytes(data[at + 6 : at + 8], "little")
        if length == 0xFFFFFFFF:  # a sequence without a length: its items are walked as elements
            length = 0
        found.append((at, vr, start, length))
        at = start + length
        if data[at : at + 4] in (b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"):
            at += 8
    return found


def spoil_bytes(rng: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """Bytes changed, cut, doubled or blanked, wherever they stand."""
    choice, raw = int(rng.integers(6)), bytearray(data)
    head = len(raw) if rng.random() < 0.3 else min(len(raw), 4000)
    at = int(rng.integers(head))
    if choice == 0:
        for _ in range(int(rng.integers(1, 9))):
            raw[rng.integers(head)] = int(rng.integers(256))
    elif choice == 1:
        del raw[at:]
    elif choice == 2:
        raw[at : at + 64] = bytes(64)
    elif choice == 3:
        raw[at:at] = rng.bytes(int(rng.integers(1, 100)))
    elif choice == 4:
        del raw[at : at + int(rng.integers(1, 200))]
    else:
        raw[at:at] = raw[max(at - 2000, 0) : at]
    return bytes(raw), f"bytes {choice} at {at}"


def spoil_element(rng: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """Another length, VR, tag or value for one element, the others as they were."""
    found = elements(data)
    at, vr, start, length = found[rng.integers(len(found))]
    choice, raw = int(rng.integers(5)), bytearray(data)
    if choice == 0:
        wanted = LENGTHS[rng.integers(len(LENGTHS))]
        if vr in LONG:
            raw[at + 8 : at + 12] = struct.pack("<I", wanted)
        else:
            raw[at + 6 : at + 8] = struct.pack("<H", min(wanted, 65535))
    elif choice == 1:
        raw[at + 4 : at + 6] = VRS[rng.integers(len(VRS))]
    elif choice == 2:
        raw[at : at + 4] = rng.bytes(4)
    elif choice == 3:
        raw[start : start + length] = rng.bytes(min(length, 4000)).ljust(length, b"\0")
    else:
        raw[start:start] = data[at : start + length] * int(rng.integers(1, 4))
    return bytes(raw), f"element {choice} {data[at : at + 4].hex()}"


def spoil_attribute(rng: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """Attributes that pydicom writes although they make no sense, or the pixel data of another size or coding."""
    dataset, story = dcmread(io.BytesIO(data), force=True), []
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.2:
            pixels = dataset.get("PixelData", b"")
            change = int(rng.integers(4))
            if change == 0 and "PixelData" in dataset:
                del dataset.PixelData
            elif pixels:
                dataset.PixelData = [pixels[: len(pixels) // 2], pixels * 2, b"\0\0"][change - 1]
            story.append(f"pixels {change}")
            continue
        keyword, value = str(rng.choice(KEYWORDS)), VALUES[rng.integers(len(VALUES))]
        if rng.random() < 0.1 and keyword in dataset:
            delattr(dataset, keyword)
            story.append(f"no {keyword}")
            continue
        try:
            numeric = keyword in KEYWORDS[:8] and keyword != "PhotometricInterpretation"
            setattr(dataset, keyword, int(rng.choice([0, 1, 2, 8, 12, 32, 255, 65535])) if numeric else value)
            story.append(f"{keyword}={value[:30]!r}")
        except Exception:
            story.append(f"{keyword} would not take {value[:30]!r}")
    if rng.random() < 0.15:
        dataset.file_meta.TransferSyntaxUID = UID(SYNTAXES[rng.integers(len(SYNTAXES))])
        story.append(f"syntax {dataset.file_meta.TransferSyntaxUID}")
    stream = io.BytesIO()
    try:
        dataset.save_as(stream, implicit_vr=False, little_endian=True)
    except Exception:
        return data, "not writable: " + ", ".join(story)
    return stream.getvalue(), "attributes " + ", ".join(story)


def spoil_syntax(rng: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """The transfer syntax in the file's own header is not the one that it is written in."""
    old = b"1.2.840.10008.1.2.1\0"
    new = SYNTAXES[rng.integers(len(SYNTAXES))].encode()[: len(old)].ljust(len(old), b"\0")
    return data.replace(old, new, 1), f"syntax {new!r}"


SPOILERS = (spoil_bytes, spoil_element, spoil_attribute, spoil_syntax)


def spoil_folder(rng: np.random.Generator, files: dict[str, bytes]) -> tuple[dict[str, bytes], str]:
    """Files lost, doubled, strange, or put into an archive that may lie about its members."""
    choice, files, names = int(rng.integers(8)), dict(files), list(files)
    if choice == 0:
        for name in names[: int(rng.integers(len(names)))]:
            del files[name]
    elif choice == 1:
        files |= {f"copy-{name}": content for name, content in files.items()}
    elif choice == 2:
        files["DICOMDIR"] = rng.bytes(500)
    elif choice == 3:
        files["report.pdf"], files["x.dcm"] = b"%PDF-1.4", bytes(132)
    elif choice == 4:
        files["more.zip"] = b"PK\x03\x04" + rng.bytes(300)
    else:
        return {"export.zip": packed(rng, files, choice)}, f"archive {choice}"
    return files, f"folder {choice}"


def packed(rng: np.random.Generator, files: dict[str, bytes], choice: int) -> bytes:
    """A zip: plain, with members that want to leave or to burst, or damaged."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # doubled names are meant
        for name, content in files.items():
            outside = str(rng.choice(["", "../../", "/tmp/", "C:\\", "a/../../"])) if choice == 6 else ""
            archive.writestr(outside + name, content)
        if choice == 7:
            archive.writestr("bomb.dcm", bytes(60_000_000))
            archive.writestr(next(iter(files)), b"again")
    content = bytearray(stream.getvalue())
    if rng.random() < 0.3:
        content[rng.integers(len(content))] ^= 255
    if rng.random() < 0.15:
        del content[int(rng.integers(len(content))) :]
    return bytes(content)


def make_export(rng: np.random.Generator) -> tuple[dict[str, bytes], list[str], list[str]]:
    """Files of an input, the command line behind ``perfmap``, and what was done to it."""
    kind = str(rng.choice(["enhanced", "mosaic", "classic"], p=[0.6, 0.25, 0.15]))
    files, story = dict(sound()[kind]), [kind]
    names = list(files)
    several = rng.random() < 0.4
    chosen = (
        [str(name) for name in rng.choice(names, size=int(rng.integers(1, len(names) + 1)))]
        if several
        else [names[0]]
    )
    for _ in range(int(rng.integers(1, 4))):
        spoil, seed = SPOILERS[rng.integers(len(SPOILERS))], int(rng.integers(1 << 31))
        for name in dict.fromkeys(chosen):  # the same change for all, or it would be many
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    files[name], told = spoil(np.random.default_rng(seed), files[name])
                except Exception as error:
                    told = f"{spoil.__name__} could not: {type(error).__name__}"
        story.append(told)
    if rng.random() < 0.3:
        files, told = spoil_folder(rng, files)
        story.append(told)
    whole = "{in}/export.zip" if "export.zip" in files and rng.random() < 0.5 else "{in}"
    way = rng.random()
    if way < 0.15:
        return files, ["inspect", whole], story
    if way < 0.35:
        return files, ["predict", "-o", "{out}", whole], story
    options = ["-o", "{out}/map.nii.gz"]
    if rng.random() < 0.2:
        options += ["--dicom", "{out}/dicom"]
    return files, ["predict", *options, whole], story
