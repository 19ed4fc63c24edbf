"""Hostile input: thousands of spoilt series, each of which must end in a map or a documented exit code with one line.

Each input is a small sound series whose NIfTI header, voxels, gzip stream, sidecar or mask has been spoilt by a seeded
mutator (several times over, now and then), or a file name, or an option; every fifth is a DICOM export, spoilt by
`benchmarks/fuzz_dicom.py`. For each one is checked: the exit code is
documented and is not an internal error; exactly one error line and no traceback; an end within the time limit; no
memory beyond the limit (RLIMIT_AS); nothing written outside of OUT, nothing at all after a refusal; inputs unchanged;
a map that is written has the shape of the series and finite values; no name of the patient in anything said.

Inputs run in this process's workers through `perfmap.cli.run`, and every n-th one through the real command. What is
found is kept in --keep, and is made again by its number: --only N.

    python benchmarks/fuzz.py --n 10000 --workers 1 --command-every 200
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import io
import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import nibabel as nib
import numpy as np
import typer.main

from benchmarks.fuzz_dicom import make_export
from tests.dicom_factory import SECRETS

SHAPE, N_TIMES, STEP = (16, 16, 3), 30, 1.5
TIME_LIMIT = 180.0  # s, for one input; generous, as the machine may be busy
MEMORY_LIMIT = 1 << 30  # bytes above what the program holds before the first input
DOCUMENTED = {0, 2, 3, 4, 5, 6}
NUMBERS = [0, 1, -1, 2, 7, 127, 255, 32767, -32768, 2**31 - 1, -(2**31), 1e-45, 1e-30, 1e30, 3.4e38]
NUMBERS += [float("nan"), float("inf"), float("-inf"), 0.5, -0.0, 1e-3, 1000.0]


@dataclass
class Case:
    """Files to lay out, and the command line behind ``perfmap`` (``{in}`` and ``{out}`` are folders)."""

    files: dict[str, bytes]
    arguments: list[str]
    story: list[str] = field(default_factory=list)
    special: str = ""
    dicom: bool = False

    @property
    def many(self) -> bool:
        """Whether it is a batch, which writes a summary whatever becomes of its cases."""
        return self.arguments[0] == "predict" and self.dicom and "{out}" in self.arguments


def sound_signal() -> np.ndarray:
    """A tiny head with a bolus. Shape (x, y, z, t)."""
    x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE[:2]), indexing="ij")
    brain = (x / 0.8) ** 2 + (y / 0.9) ** 2 < 1
    late = np.clip(np.arange(N_TIMES) * STEP - 12.0, 0, None)
    height = 0.3 * (late / 6.0) ** 3 * np.exp(3 * (1 - late / 6.0))
    signal = np.where(brain, 800.0, 5.0)[..., None, None] * np.exp(
        -np.where(brain, 1.0, 0.0)[..., None, None] * height
    )
    signal = np.repeat(signal, SHAPE[2], axis=2)
    return signal + np.random.default_rng(0).normal(0, 4, signal.shape)


SOUND = sound_signal()
AFFINE = np.diag([-12.0, 12.0, 6.0, 1.0])


def nifti_bytes(signal: np.ndarray, *, big: bool = False, version: int = 1) -> bytes:
    """A single NIfTI file, uncompressed."""
    kind = {1: nib.Nifti1Image, 2: nib.Nifti2Image}[version]
    image = kind(signal, AFFINE, dtype=signal.dtype)
    image.header.set_xyzt_units("mm", "sec")
    if signal.ndim > 3:
        image.header["pixdim"][4] = STEP
    if big:
        image = kind(signal, AFFINE, image.header.as_byteswapped(">"))
    stream = io.BytesIO()
    image.to_file_map({"image": nib.FileHolder(fileobj=stream), "header": nib.FileHolder(fileobj=stream)})
    return stream.getvalue()


# ---------------------------------------------------------------------------------------------- mutators


def spoil_voxels(rng: np.random.Generator, signal: np.ndarray) -> tuple[np.ndarray, str]:
    """One change of the values or of the shape."""
    signal = signal.copy()
    choice = int(rng.integers(19))
    some = rng.random(signal.shape[:3]) < rng.choice([0.002, 0.05, 0.5, 1.0])
    when = rng.integers(signal.shape[3], size=int(rng.integers(1, 5)))
    value = NUMBERS[rng.integers(len(NUMBERS))]
    if choice == 0:
        signal[some] = value
    elif choice == 1:
        signal[..., when] = value
    elif choice == 2:
        for t in when:
            signal[..., t][some] = value
    elif choice == 3:
        signal *= value
    elif choice == 4:
        signal += value
    elif choice == 5:
        signal = rng.permutation(signal, axis=3)
    elif choice == 6:
        signal = signal[..., ::-1]
    elif choice == 7:
        signal = signal[..., : int(rng.integers(1, N_TIMES))]
    elif choice == 8:
        signal = signal[: int(rng.integers(1, 5)), : int(rng.integers(1, 5)), : int(rng.integers(1, 3))]
    elif choice == 9:
        signal = np.repeat(signal, int(rng.integers(2, 4)), axis=int(rng.integers(4)))
    elif choice == 10:
        signal = np.moveaxis(signal, 3, int(rng.integers(3)))
    elif choice == 11:
        signal = rng.normal(0, 100, signal.shape)
    elif choice == 12:
        signal = np.rint(signal / rng.choice([1, 50, 400, 2000]))
    elif choice == 13:
        signal = signal[:, :, :1]
    elif choice == 14:
        signal = signal[..., None] if rng.random() < 0.5 else signal[..., 0]
    elif choice == 15:
        signal = np.minimum(signal, np.quantile(signal, rng.random()))
    elif choice == 16:
        signal = -signal
    elif choice == 17:
        signal[..., 1:] = signal[..., :1]
    else:
        signal = np.where(some[..., None], rng.normal(500, 300, signal.shape), signal)
    return signal, f"voxels {choice} {value}"


KINDS = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16"]


def stored(rng: np.random.Generator, signal: np.ndarray) -> tuple[np.ndarray, str]:
    """The values in some type that a file can hold."""
    kind = "f4" if rng.random() < 0.6 else KINDS[rng.integers(len(KINDS))]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return signal.astype(kind), kind


def spoil_header(rng: np.random.Generator, data: bytes, big: bool) -> tuple[bytes, str]:
    """Set fields of a NIfTI header to what they should not be, or flip its bits."""
    size = 540 if data[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c") else 348
    if len(data) < size:
        return data, "short"
    dtype = nib.Nifti2Header.template_dtype if size == 540 else nib.Nifti1Header.template_dtype
    block = np.frombuffer(bytearray(data[:size]), dtype.newbyteorder(">" if big else "<")).copy()
    story = []
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.25:
            raw = block.view(np.uint8)
            where = rng.integers(size, size=int(rng.integers(1, 6)))
            raw[where] = rng.integers(256, size=where.size)
            story.append(f"bytes {where.tolist()}")
            continue
        name = str(rng.choice(dtype.names))
        cell = block[name]
        if cell.dtype.kind == "S":
            block[name] = rng.bytes(cell.dtype.itemsize)
            story.append(f"{name} random")
            continue
        value = NUMBERS[rng.integers(len(NUMBERS))]
        if rng.random() < 0.3:
            value = float(rng.integers(-10, 2000))
        flat = cell.reshape(-1)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if flat.dtype.kind in "iu":
                info = np.iinfo(flat.dtype)
                whole = (
                    0 if value != value else int(min(max(value, float(info.min)), float(info.max) * 0.999))
                )
                flat[rng.integers(flat.size)] = min(max(whole, int(info.min)), int(info.max))
            else:
                flat[rng.integers(flat.size)] = value
        block[name] = flat.reshape(cell.shape)
        story.append(f"{name} = {value}")
    return block.tobytes() + data[size:], "header " + ", ".join(story)


def spoil_stream(rng: np.random.Generator, data: bytes) -> tuple[bytes, str]:
    """Compress, and spoil what comes out of it."""
    choice = int(rng.integers(12))
    packed = bytearray(gzip.compress(data, compresslevel=1, mtime=0))
    if choice == 0:
        packed = packed[: int(rng.integers(len(packed)))]
    elif choice == 1:
        for _ in range(int(rng.integers(1, 4))):
            packed[rng.integers(len(packed))] ^= 1 << int(rng.integers(8))
    elif choice == 2:
        packed += rng.bytes(int(rng.integers(1, 2000)))
    elif choice == 3:
        packed += gzip.compress(rng.bytes(100))
    elif choice == 4:
        packed = bytearray(gzip.compress(bytes(packed)))
    elif choice == 5:
        packed = bytearray(gzip.compress(data + bytes(int(rng.choice([1, 10_000_000, 60_000_000])))))
    elif choice == 6:
        packed[int(rng.integers(2, 10))] = int(rng.integers(256))
    elif choice == 7:
        packed = packed[:-8] + rng.bytes(8)
    elif choice == 8:
        packed = bytearray(zlib.compress(data))
    elif choice == 9:
        half = len(data) // 2
        packed = bytearray(gzip.compress(data[:half]) + gzip.compress(data[half:]))
    elif choice == 10:
        cut = int(rng.integers(len(data)))
        packed = bytearray(gzip.compress(data[:cut]))
    else:
        start = int(rng.integers(len(packed)))
        packed[start : start + 40] = bytes(min(40, len(packed) - start))
    return bytes(packed), f"stream {choice}"


KEYS = ["RepetitionTime", "EchoTime", "RepetitionTimeExcitation", "MagneticFieldStrength", "PatientAge"]
KEYS += [
    "ScanningSequence",
    "PulseSequenceType",
    "ContrastBolusIngredient",
    "LossyImageCompression",
    "Perfmap",
    "",
]
RAW = ["1e999", "-1e999", "NaN", "Infinity", "1e-320", "9" * 400, "9" * 5000, "-0.0", "true", "null", '"1.5"']
RAW += [
    '"\\ud800"',
    "[]",
    "{}",
    "[1.5]",
    '{"a": 1}',
    "0",
    "-3",
    "30",
    "0.03",
    "1.5",
    '"\\u0000\\n"',
    "1" + "0" * 309,
]


def spoil_sidecar(rng: np.random.Generator) -> tuple[bytes, str]:
    """JSON that is none, or whose values make no sense."""
    choice = int(rng.integers(10))
    pairs = [
        f"{json.dumps(str(rng.choice(KEYS)))}: {RAW[rng.integers(len(RAW))]}"
        for _ in range(rng.integers(1, 5))
    ]
    text = ("{" + ", ".join(pairs) + "}").encode()
    if choice == 0:
        text = text[: int(rng.integers(len(text)))]
    elif choice == 1:
        depth = int(rng.choice([50, 2000, 200_000]))
        text = b'{"EchoTime": ' + b"[" * depth + b"]" * depth + b"}"
    elif choice == 2:
        text = rng.bytes(int(rng.integers(200)))
    elif choice == 3:
        text = text.decode().encode("utf-16")
    elif choice == 4:
        text = b"\xef\xbb\xbf" + text
    elif choice == 5:
        text = RAW[rng.integers(len(RAW))].encode()
    elif choice == 6:
        text = b'{"EchoTime": 0.03, "EchoTime": "x", "\xff": 1}'
    return text, f"sidecar {choice} {text[:100]!r}"


NAMES = [
    "dsc.nii.gz",
    "dsc.nii",
    "DSC.NII.GZ",
    "d s c.nii.gz",
    "dsc\nx.nii.gz",
    "-dsc.nii.gz",
    "dsc",
    "dsc.img",
    "ü.nii",
]
NAMES += [
    ".nii.gz",
    "a" * 240 + ".nii.gz",
    "dsc.nii.gz.nii.gz",
    "x%s{}$HOME.nii",
    b"\xff\xfe.nii.gz".decode("utf8", "surrogateescape"),
]
OPTIONS = ["--time-step", "--echo-time", "--repetition-time"]


def make_case(number: int, seed: int, *, dicom_every: int = 5) -> Case:
    """The input of a number: equal numbers and seeds give equal inputs."""
    rng = np.random.default_rng([seed, number])
    if dicom_every and number % dicom_every == dicom_every - 1:
        files, arguments, told = make_export(rng)
        return Case(files, arguments, told, dicom=True)
    story: list[str] = []
    signal = SOUND
    kinds = rng.random(7)
    while rng.random() < 0.25 or kinds[0] < 0.25:
        kinds[0] = 1
        signal, told = (
            spoil_voxels(rng, signal) if signal.ndim == 4 and signal.shape[3] > 1 else (signal, "-")
        )
        story.append(told)
    array, kind = stored(rng, signal)
    story.append(kind)
    big, version = bool(rng.random() < 0.1), int(rng.choice([1, 2], p=[0.85, 0.15]))
    data = nifti_bytes(array, big=big, version=version)
    if kinds[1] < 0.45:
        data, told = spoil_header(rng, data, big)
        story.append(told)
    name = NAMES[rng.integers(len(NAMES))] if kinds[2] < 0.08 else NAMES[int(rng.integers(2))]
    if kinds[3] < 0.2:
        data, told = spoil_stream(rng, data)
        story.append(told)
    elif name.lower().endswith(".gz") != (rng.random() < 0.05):
        data = gzip.compress(data, compresslevel=1, mtime=0)
    files = {name: data}
    if kinds[4] < 0.25:
        stem = (
            name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else name.rpartition(".")[0] or name
        )
        content, told = spoil_sidecar(rng)
        if len(os.fsencode(stem)) < 240 and stem:
            files[f"{stem}.json"] = content
        story.append(told)
    verb = "conventional" if rng.random() < 0.1 else "predict"
    arguments = [verb, "--", f"{{in}}/{name}"] if name.startswith("-") else [verb, f"{{in}}/{name}"]
    options = ["-o", "{out}/map.nii.gz" if verb == "predict" and rng.random() < 0.8 else "{out}"]
    if kinds[5] < 0.1:
        mask = np.ones(SHAPE, np.uint8)
        spoilt, told = spoil_header(rng, nifti_bytes(mask), False)
        files["mask.nii"] = spoilt
        options += ["--mask", "{in}/mask.nii"]
        story.append(f"mask {told}")
    if kinds[6] < 0.15:
        options += [f"{OPTIONS[rng.integers(len(OPTIONS))]}={NUMBERS[rng.integers(len(NUMBERS))]}"]
    if verb == "predict" and rng.random() < 0.1:
        options += ["--strict"]
    if verb == "predict" and rng.random() < 0.05:
        options += ["--validity", "--nan"]
    if verb == "predict" and rng.random() < 0.03:
        options += ["--report", "{out}/report.html"]
    special = str(rng.choice(["", "fifo", "loop", "folder", "gone"], p=[0.98, 0.005, 0.005, 0.005, 0.005]))
    return Case(files, [arguments[0], *options, *arguments[1:]], story, special)


# ---------------------------------------------------------------------------------------------- checks


def lay_out(case: Case, folder: Path) -> list[str]:
    """Write the files of a case; give its command line."""
    inside, out = folder / "in", folder / "out"
    inside.mkdir()
    first = next(iter(case.files))
    for name, content in case.files.items():
        path = inside / name
        if name == first and case.special:
            if case.special == "fifo":
                os.mkfifo(path)
            elif case.special == "loop":
                path.symlink_to(path)
            elif case.special == "folder":
                path.mkdir()
            continue
        path.write_bytes(content)
    return [text.replace("{in}", str(inside)).replace("{out}", str(out)) for text in case.arguments]


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        for path in sorted(folder.rglob("*"))
    }


class Hang(BaseException):
    """The time limit is over."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `Hang` in the main thread after some time."""

    def stop(signum: int, frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_here(arguments: list[str]) -> tuple[int | str, str, str]:
    """Exit code (or what happened instead), stdout and stderr of a call in this process."""
    from perfmap.cli import run

    out, err = io.StringIO(), io.StringIO()
    try:
        with time_limit(TIME_LIMIT), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code: int | str = run(arguments)
    except Hang:
        code = "hang"
    except BaseException as error:
        code = f"escaped {type(error).__name__}"
        err.write(traceback.format_exc())
    return code, out.getvalue(), err.getvalue()


def run_command(arguments: list[str]) -> tuple[int | str, str, str]:
    """The same through a process of its own, with a memory limit."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))

    program = [sys.executable, "-c", "from perfmap.cli import main; main()"]
    try:
        done = subprocess.run(
            [*program, *arguments], capture_output=True, timeout=5 * TIME_LIMIT, preexec_fn=limit
        )
    except subprocess.TimeoutExpired:
        return "hang", "", ""
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def faults_of(code: int | str, out: str, err: str, before: dict, after: dict, case: Case) -> list[str]:
    """What is wrong with an outcome; nothing, where it is as documented."""
    faults = []
    logging.getLogger("nibabel").setLevel(
        logging.CRITICAL
    )  # what it says of the maps that are read back here
    errors = [line for line in err.splitlines() if line.startswith("perfmap: error: ")]
    others = [
        line
        for line in err.splitlines()
        if line and not line.startswith(("perfmap: error: ", "perfmap: warning: "))
    ]
    out_of_memory = code == 1 and len(errors) == 1 and "out of memory" in errors[0]
    if "Hang" in err:
        faults.append("hang")
    if code not in DOCUMENTED and not out_of_memory:
        faults.append(f"exit code {code}")
    if "Traceback" in err or "Traceback" in out:
        faults.append("traceback")
    if len(errors) != (0 if code == 0 or (case.many and code in (4, 5)) else 1):
        faults.append(f"{len(errors)} error lines")
    if case.dicom and (named := [secret for secret in SECRETS if secret in out + err]):
        faults.append(f"says who the patient is: {named}")
    if others:
        faults.append(f"other lines on stderr: {others[:2]}")
    if {k: v for k, v in after.items() if not k.startswith("out")} != before:
        faults.append("inputs changed, or written outside of OUT")
    written = [name for name in after if name.startswith("out/")]
    if any(".perfmap-partial" in name or name.endswith(".part") for name in written):
        faults.append("partial file left")
    # A map that cannot go back to DICOM stays as NIfTI; a batch writes its summary in any case.
    if code != 0 and written and not case.many and "--dicom" not in case.arguments:
        faults.append(f"written although refused: {written[:3]}")
    if code == 0 or case.many:
        maps = [name for name in written if name.endswith(".nii.gz") and "validity" not in name]
        if not maps and code == 0 and case.arguments[0] != "inspect":
            faults.append("no map")
        for name in maps:
            image = nib.Nifti1Image.from_bytes(gzip.decompress(after[name]))
            if image.ndim != 3:
                faults.append(f"map of shape {image.shape}")
            elif "--nan" not in case.arguments and not np.isfinite(image.get_fdata()).all():
                faults.append("map not finite")
    return faults


def small_model(folder: Path) -> Path:
    """A small network with random weights: what it has learnt is not what is tried here."""
    import torch

    from perfmap.models import build_network
    from perfmap.models.card import InputContract
    from perfmap.models.checkpoint import save_checkpoint

    torch.manual_seed(0)
    arguments = {"n_times": 45, "widths": [4, 4, 8, 8, 8]}
    training = dict.fromkeys(
        ("seed", "n_train_slices", "n_validation_slices", "epochs", "best_epoch", "steps"), 0
    )
    fields = {
        "name": "small",
        "architecture": "unet-gru",
        "arguments": arguments,
        "inputs": InputContract(matrix=32),
        "scale_invariant": True,
        "parameters": 1,
        "multiply_adds": 1,
        "training": training
        | {"data": "simulated", "ended_by": "epochs", "config": {}, "perfmap_version": "0"}
        | {"seconds": 0.0, "slices_per_second": 0.0},
        "scores": {},
    }
    network = build_network("unet-gru", **arguments)
    save_checkpoint(folder / "small", network.state_dict(), fields, half=False)
    return folder / "small"


def try_one(
    number: int, seed: int, model: Path, home: Path, *, command: bool, dicom_every: int
) -> tuple[str, list[str], Case, str]:
    """Outcome, faults, the case, and what was said."""
    case = make_case(number, seed, dicom_every=dicom_every)
    folder = Path(tempfile.mkdtemp(dir=home))
    scratch = Path(tempfile.mkdtemp(dir=home))
    os.environ["TMPDIR"], tempfile.tempdir = str(scratch), None
    try:
        arguments = lay_out(case, folder)
        if arguments[0] == "predict":
            arguments[1:1] = ["--model", str(model), "--threads", "1", "--device", "cpu"]
        before = snapshot(folder)
        code, out, err = (run_command if command else run_here)(arguments)
        after = snapshot(folder)
        faults = faults_of(code, out, err, before, after, case)
        if left := [*scratch.iterdir(), *(p for name in case.files if (p := Path("/tmp", name)).exists())]:
            faults.append(f"left behind: {left}")
    finally:
        os.environ["TMPDIR"], tempfile.tempdir = str(home), None
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(scratch, ignore_errors=True)
    return str(code), faults, case, err[-600:]


def work(
    numbers: range, seed: int, model: Path, home: Path, keep: Path, results: object, dicom_every: int
) -> None:
    """Run inputs one after the other, with bounded memory."""
    typer.main.get_command = functools.cache(typer.main.get_command)  # half of the time of an input otherwise
    for name in ("predict_file", "conventional_file", "batch", "export", "inspect"):
        import_module(f"perfmap.engine.{name}")  # before any time limit: half an import is no import
    import_module("perfmap.report.dicom")
    import_module("torch._dynamo")
    for number in range(1 << 30, (1 << 30) + 12):
        try_one(number, seed, model, home, command=False, dicom_every=2)  # loads the rest
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY_LIMIT, held + MEMORY_LIMIT))
    for number in numbers:
        began = time.monotonic()
        code, faults, case, said = try_one(number, seed, model, home, command=False, dicom_every=dicom_every)
        if faults:
            _keep(keep, number, faults, case, said)
        results.put((number, "here", code, faults, case.story, said, time.monotonic() - began))  # type: ignore[attr-defined]


def _keep(keep: Path, number: int, faults: list[str], case: Case, said: str) -> None:
    folder = keep / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "said.txt").write_text(
        "\n".join([*faults, *case.story, " ".join(case.arguments), said]), errors="backslashreplace"
    )
    for n, content in enumerate(case.files.values()):
        if n < 10:
            (folder / f"{n}.bin").write_bytes(content)


def main() -> int:
    """Run the inputs and count the outcomes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--command-every", type=int, default=200, help="0: never through the real command")
    parser.add_argument("--dicom-every", type=int, default=5, help="1: DICOM alone; 0: none")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--only", type=int, default=None, help="run this one number and say everything")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="fuzz-"))
    os.environ["TMPDIR"] = str(home)
    model = small_model(home)
    if options.only is not None:
        code, faults, case, said = try_one(
            options.only, options.seed, model, home, command=False, dicom_every=options.dicom_every
        )
        print(code, faults, case.special, case.arguments, *case.story, said, sep="\n")
        shutil.rmtree(home)
        return 0
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    began, outcomes, bad, slowest = time.monotonic(), Counter(), [], 0.0
    last = options.first + options.n
    workers = []
    for k in range(options.workers):
        numbers = range(options.first + k, last, options.workers)
        worker = context.Process(
            target=work,
            args=(numbers, options.seed, model, home, options.keep, results, options.dicom_every),
            daemon=True,
        )
        worker.start()
        workers.append((worker, numbers))
    done = 0
    while done < options.n:
        try:
            number, _, code, faults, story, said, seconds = results.get(timeout=10)
        except Exception:
            if not any(worker.is_alive() for worker, _ in workers) and results.empty():
                bad.append("a worker died")
                break
            continue
        done += 1
        slowest = max(slowest, seconds)
        outcomes[code] += 1
        if faults:
            bad.append(f"{number}: {faults}")
            print(f"FAULT {number}: {faults}\n   {story}\n   {said}", flush=True)
        if done % 500 == 0:
            print(f"{done} inputs, {dict(outcomes)}, {time.monotonic() - began:.0f} s", flush=True)
    through_command: Counter[str] = Counter()
    if options.command_every:
        for number in range(options.first, last, options.command_every):
            code, faults, case, said = try_one(
                number, options.seed, model, home, command=True, dicom_every=options.dicom_every
            )
            through_command[code] += 1
            if faults:
                bad.append(f"command {number}: {faults}")
                print(f"FAULT command {number}: {faults}\n   {case.story}\n   {said}", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    print(f"\n{done} inputs in {time.monotonic() - began:.0f} s, slowest {slowest:.1f} s")
    print(f"exit codes in process: {dict(sorted(outcomes.items()))}")
    print(f"exit codes through the command: {dict(sorted(through_command.items()))}")
    print(f"faults: {len(bad)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
