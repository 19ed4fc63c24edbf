"""Which cases an input holds: a file, a folder, a glob, a BIDS data set or a study list in CSV.

A case is a readable 4D file, or one that claims to be a series and cannot be read: that one is reported as
failed later on, so that nothing is lost in silence. Everything else is listed as left out, with the reason.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path, PurePath
from typing import Literal

from perfmap.engine.export import DicomCase
from perfmap.engine.export import find_cases as find_export_cases
from perfmap.engine.pairing import case_name, find_cases
from perfmap.errors import ConfigError, InputError
from perfmap.io.dicom_files import holds_dicom
from perfmap.io.nifti_header import opened_nifti, shape_of
from perfmap.io.sidecar import has_image_name, image_stem
from perfmap.io.study_list import PROTOCOL, read_study_list

_ENTITY = re.compile(r"(?:^|_)(sub|ses|task|acq|ce|rec|dir|run|echo)-([0-9A-Za-z]+)(?=_|$)")
_DERIVED = ("derivatives", "sourcedata", "code")


@dataclass(frozen=True)
class Protocol:
    """What the user says of a series' protocol (s, degrees, T); None: read from header and sidecar."""

    time_step: float | None = None
    repetition_time: float | None = None
    echo_time: float | None = None
    flip_angle: float | None = None
    field_strength: float | None = None

    def over(self, other: Protocol) -> Protocol:
        """These values, and those of `other` where this one says nothing."""
        return Protocol(
            *(
                mine if mine is not None else theirs
                for mine, theirs in zip(astuple(self), astuple(other), strict=True)
            )
        )


AS_IN_FILE = Protocol()


@dataclass(frozen=True)
class ExportOptions:
    """How a DICOM export is read; see `perfmap.engine.export.find_cases`."""

    prefer: Literal["original", "moco"] = "original"
    keep_phi: bool = False
    quiet_seconds: float = 0.0
    time_step: float | None = None


AS_EXPORTED = ExportOptions()


@dataclass(frozen=True)
class Case:
    """One series to make a map of.

    Attributes
    ----------
    name : str
        Named as `perfmap score` names it; unique in its input.
    path : Path
        4D NIfTI file.
    label : str
        Letters and digits that name the case in a BIDS file name.
    entities : tuple of (str, str)
        Further BIDS entities of the name, in order: session, acquisition, run.
    mask : Path, optional
        Brain mask of this case.
    protocol : Protocol
        What is known of this case's protocol alone.
    dicom : DicomCase, optional
        The case in an export, to be converted; `path` is the export then.
    problem : str
        Why a case that was seen cannot be read: known before it is tried.
    """

    name: str
    path: Path
    label: str
    entities: tuple[tuple[str, str], ...] = ()
    mask: Path | None = None
    protocol: Protocol = AS_IN_FILE
    dicom: DicomCase | None = None
    problem: str = ""

    @property
    def source(self) -> str:
        """Where the case comes from, for people; of an export no path is given, for that may name a patient."""
        return (
            f"export#{self.dicom.number if self.dicom else self.label}" if self.is_dicom else str(self.path)
        )

    @property
    def is_dicom(self) -> bool:
        """Whether it lies in an export."""
        return self.dicom is not None or bool(self.problem)


@dataclass(frozen=True)
class LeftOut:
    """A file that is no case, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Cases:
    """What an input holds.

    Attributes
    ----------
    cases : tuple of Case
        Sorted by name.
    left_out : tuple of LeftOut
    """

    cases: tuple[Case, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Hash of the names, by which shards know that they share one list."""
        return hashlib.sha256("\n".join(case.name for case in self.cases).encode()).hexdigest()

    def shard(self, index: int, n: int) -> Cases:
        """Every `n`-th case, beginning at the `index`-th; `index` counts from 1."""
        return Cases(self.cases[index - 1 :: n], self.left_out if index == 1 else ())


def is_single(source: Path, output: Path) -> bool:
    """Whether an input is one image, or one export for one map, to be treated alone; else it is a set of cases."""
    if has_image_name(source) and not source.is_dir():
        return source.exists() or not glob.has_magic(str(source))
    return has_image_name(output) and (source.is_dir() or holds_dicom(source))


def discover(
    source: Path,
    *,
    output: Path | None = None,
    masks: Path | None = None,
    options: ExportOptions = AS_EXPORTED,
) -> Cases:
    """Find the cases of an input.

    Parameters
    ----------
    source : Path
        A NIfTI file; a folder, searched in all its depth for NIfTI and DICOM; a zip archive; a glob pattern; a BIDS
        data set (a folder with ``dataset_description.json`` and ``sub-*``: only ``perf/`` is taken); a CSV study
        list.
    output : Path, optional
        Folder of the results; what lies in it is no input.
    masks : Path, optional
        Folder of brain masks, paired by case name; a case without one has its brain found.

    options : ExportOptions
        How DICOM is treated.

    Returns
    -------
    Cases
        At least one case.

    Raises
    ------
    InputError
        If the input does not exist or holds no case, or no mask belongs to one.
    ConfigError
        If `masks` is a file and there are several cases.
    """
    found = _discovered(source, output, options)
    if masks is None:
        return found
    if not masks.is_dir():
        if len(found.cases) > 1:
            raise ConfigError(
                f"--mask {masks} for {len(found.cases)} cases; give a folder of masks named as they are"
            )
        return replace(found, cases=tuple(replace(case, mask=case.mask or masks) for case in found.cases))
    by_name = find_cases(masks, role="mask", kind="mask")
    cases = tuple(replace(case, mask=case.mask or by_name.get(case.name)) for case in found.cases)
    if not any(case.mask for case in cases):
        raise InputError(f"no mask in {masks} belongs to a case; name them as the series are named")
    return replace(found, cases=cases)


def _discovered(source: Path, output: Path | None, options: ExportOptions) -> Cases:
    if source.name.lower().endswith(".csv"):
        return _named_apart([_listed(entry) for entry in read_study_list(source)], ())
    root, files = _files_of(source)
    if output is not None:
        inside = output.resolve()
        files = [file for file in files if not file.resolve().is_relative_to(inside)]
    is_bids = (root / "dataset_description.json").is_file() and any(root.glob("sub-*"))
    cases: list[Case] = []
    left_out: list[LeftOut] = []
    for file in files:
        reason = _bids_reason(file.relative_to(root)) if is_bids else ""
        reason = reason or _shape_reason(file)
        if reason:
            left_out.append(LeftOut(str(file), reason))
        else:
            name = case_name(PurePath(file.relative_to(root)), kind="nrcbv") or root.resolve().name
            cases.append(_case(name, file))
    if holds_dicom(source):
        from_export, left = _export_cases(source, options)
        cases += from_export
        left_out += left
    if not cases:
        raise InputError(_nothing(source, left_out))
    return _named_apart(cases, left_out)


def _files_of(source: Path) -> tuple[Path, list[Path]]:
    """Root by which cases are named, and all images below it, sorted."""
    if source.is_dir():
        return source, _images(source)
    if source.is_file():
        return source.parent, [source] if has_image_name(source) else []
    if glob.has_magic(str(source)):
        fixed = tuple(itertools.takewhile(lambda part: not glob.has_magic(part), source.parts))
        root, pattern = Path(*fixed), str(Path(*source.parts[len(fixed) :]))
        files = [
            file for match in root.glob(pattern) for file in (_images(match) if match.is_dir() else [match])
        ]
        return root, sorted({file for file in files if has_image_name(file)})
    raise InputError(f"input {source} does not exist; check the path")


def _images(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if has_image_name(file)
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and not file.is_dir()
    )


def _export_cases(source: Path, options: ExportOptions) -> tuple[list[Case], list[LeftOut]]:
    """Cases of an export; a series that looked like DSC and was refused is a case too, with its problem."""
    export = find_export_cases(
        source,
        prefer=options.prefer,
        keep_phi=options.keep_phi,
        quiet_minutes=options.quiet_seconds / 60,
        time_step=options.time_step,
    )
    cases = [replace(_case(one.name, source), dicom=one) for one in export.cases]
    left_out = [LeftOut(f"export: {n} files", reason) for reason, n in export.left_files.items()]
    for line in export.series:
        where = f"study {line.study}, series {line.number}"
        if line.refused:
            name = f"study{line.study}-series{line.number}"
            cases.append(replace(_case(name, source), problem=f"{where}: {line.reason}"))
        elif not line.taken:
            left_out.append(LeftOut(f"export: {where}", line.reason))
    return cases, left_out


def _bids_reason(relative: PurePath) -> str:
    """Why a file of a BIDS data set is no DSC series; empty where it may be one."""
    if relative.parts[0] in _DERIVED:
        return f"in {relative.parts[0]}/, not raw data"
    if relative.parent.name != "perf":
        return f"in {relative.parent.name or '.'}/, wanted perf/"
    suffix = image_stem(Path(relative.name)).rpartition("_")[2]
    return f"suffix _{suffix}, which is not DSC" if suffix in ("asl", "m0scan", "aslcontext") else ""


def _shape_reason(file: Path) -> str:
    """Why a file is no series; empty for a 4D file and for one whose header cannot be read."""
    try:
        with opened_nifti(file) as (header, _):
            shape = shape_of(header, file)
    except InputError:
        return ""
    return "" if len(shape) == 4 else f"{len(shape)}D, wanted 4D"


def _case(name: str, path: Path, *, mask: Path | None = None, protocol: Protocol = AS_IN_FILE) -> Case:
    found = dict(_ENTITY.findall(image_stem(path))) if path.name.startswith("sub-") else {}
    label = found.pop("sub", "") or re.sub(r"[^0-9A-Za-z]", "", name)
    if not label or not label.isascii():
        label = "case" + _short_hash(name)
    return Case(name, path, label, tuple(found.items()), mask, protocol)


def _listed(entry: dict[str, str]) -> Case:
    path = Path(entry["series"])
    name = entry.get("case") or case_name(PurePath(path.name), kind="nrcbv") or path.resolve().parent.name
    told = {key: float(entry[key]) for key in PROTOCOL if entry.get(key)}
    return _case(
        name, path, mask=Path(entry["mask"]) if entry.get("mask") else None, protocol=Protocol(**told)
    )


def _named_apart(cases: Sequence[Case], left_out: Sequence[LeftOut]) -> Cases:
    """Sort by name; cases that would share a name, or the names of their outputs, get a hash behind it."""
    names = Counter(case.name for case in cases)
    cases = [
        replace(case, name=f"{case.name}~{_short_hash(str(case.path))}") if names[case.name] > 1 else case
        for case in cases
    ]
    keys = Counter(_output_key(case) for case in cases)
    cases = [
        replace(case, label=case.label + _short_hash(case.name)) if keys[_output_key(case)] > 1 else case
        for case in cases
    ]
    return Cases(tuple(sorted(cases, key=lambda case: case.name)), tuple(left_out))


def _output_key(case: Case) -> object:
    return case.label.lower(), tuple((key, value.lower()) for key, value in case.entities)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:6]


def _nothing(source: Path, left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        return f"{source} holds no .nii or .nii.gz; check the path"
    first = left_out[0]
    return (
        f"{source} holds no 4D series: {len(left_out)} files were left out, {Path(first.path).name} as {first.reason}; "
        "check the path"
    )


def as_study_list(cases: Cases) -> list[dict[str, str]]:
    """Cases as lines of a study list, with absolute paths: the frozen list that shards share.

    Raises
    ------
    ConfigError
        If a case lies in an export of DICOM, which a list cannot name.
    """
    if any(case.is_dicom for case in cases.cases):
        raise ConfigError(
            "a study list cannot name cases of a DICOM export; give the export itself to every shard"
        )
    return [
        {
            "case": case.name,
            "series": str(case.path.absolute()),
            "mask": str(case.mask.absolute()) if case.mask else "",
            **{key: "" if value is None else repr(value) for key, value in vars(case.protocol).items()},
        }
        for case in cases.cases
    ]
