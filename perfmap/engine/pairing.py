"""Which prediction belongs to which reference: by the name of the case, never by order.

A case is named by the file's path inside its folder without suffix, after removing what does not name the
patient: ``sub-``, ``_desc-…``, ``truth_``, the quantity, and ``dsc``. So these all are case ``0042``::

    0042.nii.gz   0042/dsc.nii.gz   0042/nrcbv.nii.gz   0042/truth_nrcbv.nii.gz   0042_nrcbv.nii
    sub-0042/perf/sub-0042_desc-unetgru_nrcbv.nii.gz
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from perfmap.errors import ConfigError, InputError
from perfmap.io.nifti_header import opened_nifti, shape_of
from perfmap.io.sidecar import has_image_name, image_stem
from perfmap.quantities import QUANTITIES

Role = Literal["prediction", "reference", "mask", "labels"]

_ALIASES = {
    "mask": "mask",
    "labels": "labels",
    "dseg": "labels",
    "nawm": "nawm",
    "validity": "validity",
    "sd": "sd",
}
_KINDS = {**{name: name for name in QUANTITIES}, **_ALIASES}
_BY_LENGTH = sorted(_KINDS, key=len, reverse=True)  # ap_rcbv before rcbv
_SHOWN = 5


@dataclass(frozen=True)
class Pair:
    """One case with its two maps.

    Attributes
    ----------
    key : str
        Name by which files were matched; may be empty, see `find_cases`.
    case : str
        Name for people.
    prediction, reference : Path
    """

    key: str
    case: str
    prediction: Path
    reference: Path


@dataclass(frozen=True)
class Pairing:
    """All cases that pair, sorted by name, and the files that found no partner."""

    pairs: tuple[Pair, ...]
    unpaired_predictions: tuple[Path, ...]
    unpaired_references: tuple[Path, ...]


def pair_maps(prediction: Path, reference: Path, *, quantity: str) -> Pairing:
    """Pair the maps of two files or folders by case name; two files pair whatever their names.

    Parameters
    ----------
    prediction, reference : Path
        A NIfTI file, or a folder searched in all its depth; 4D series in it are passed over. A file beside a folder
        pairs by its name.
    quantity : str
        Identifier from `perfmap.quantities`: files that name another quantity are passed over. Of several
        files of one case, one that names the quantity wins over one that names none.

    Returns
    -------
    Pairing
        At least one pair.

    Raises
    ------
    ConfigError
        If the quantity is unknown.
    InputError
        If a path does not exist, a folder holds no such map or two for one case, or nothing pairs.
    """
    if quantity not in QUANTITIES:
        raise ConfigError(f"quantity {quantity!r} is unknown, wanted one of {', '.join(QUANTITIES)}")
    predictions = find_cases(prediction, role="prediction", kind=quantity)
    references = find_cases(reference, role="reference", kind=quantity)
    if prediction.is_file() and reference.is_file():
        (name,) = references
        return Pairing((Pair(name, name, prediction, reference),), (), ())
    predictions = _by_name_of_reference(predictions, references)
    common = sorted(predictions.keys() & references.keys())
    if not common:
        raise InputError(
            f"no prediction pairs with a reference: {_listing(predictions)} against {_listing(references)}; "
            "name the files after their case"
        )
    return Pairing(
        pairs=tuple(
            Pair(name, name or reference.resolve().name, predictions[name], references[name])
            for name in common
        ),
        unpaired_predictions=tuple(predictions[name] for name in sorted(predictions.keys() - set(common))),
        unpaired_references=tuple(references[name] for name in sorted(references.keys() - set(common))),
    )


def _by_name_of_reference(predictions: dict[str, Path], references: dict[str, Path]) -> dict[str, Path]:
    """Predictions that differ from a reference only in signs that BIDS does not allow in a name get its name."""
    bare = [_bare(name) for name in references]
    names = {_bare(name): name for name in references if bare.count(_bare(name)) == 1}
    return {
        name if name in references else names.get(_bare(name), name): path
        for name, path in predictions.items()
    }


def _bare(name: str) -> str:
    return "".join(sign for sign in name if sign.isalnum())


def find_cases(path: Path, *, role: Role, kind: str) -> dict[str, Path]:
    """Map case names to the NIfTI files of one kind at a path.

    Parameters
    ----------
    path : Path
        A file, taken as it is, or a folder searched in all its depth (hidden folders left out).
    role : {"prediction", "reference", "mask", "labels"}
        What the files serve as. In a folder that holds both, a reference is rather a ``truth_`` file, and a
        prediction rather another one.
    kind : str
        Quantity, ``"mask"`` or ``"labels"``.

    Returns
    -------
    dict of str to Path
        The name is empty for a map that lies in the folder itself and is named by nothing but its kind.

    Raises
    ------
    InputError
        If the path does not exist, or the folder holds no file of the kind, or two of equal right for a case.
    """
    if path.is_file():
        return {
            case_name(PurePath(path.name), kind=quantity_of_name(path) or kind)
            or path.resolve().parent.name: path
        }
    if not path.is_dir():
        raise InputError(f"{role} {path} does not exist; check the path")
    chosen: dict[str, tuple[int, Path]] = {}
    others: set[str] = set()
    for file in _images(path):
        named = quantity_of_name(file)
        if named not in (kind, None):
            others.add(str(named))
            continue
        if named is None and _is_series(file):
            others.add("4D series")
            # A series under its own name is meant to lie there.
            if image_stem(file).rpartition("_")[2] != "dsc":
                logging.getLogger("perfmap").warning("%s is a 4D series, not a map, and passed over", file)
            continue
        name = case_name(file.relative_to(path), kind=kind)
        rank = _rank(file, role=role, named=named is not None)
        known = chosen.get(name)
        if known is not None and known[0] == rank:
            raise InputError(
                f"two {role} files for case {name!r}: {known[1]} and {file}; leave one in the folder"
            )
        if known is None or rank < known[0]:
            chosen[name] = (rank, file)
    if not chosen:
        seen = f"there are files of {', '.join(sorted(others))}" if others else "there is no .nii or .nii.gz"
        mend = "choose with --quantity" if others - {"4D series"} else "check the path"
        raise InputError(f"no {role} of {kind} in {path}: {seen}; {mend}")
    return {name: file for name, (_, file) in chosen.items()}


def case_name(path: PurePath, *, kind: str) -> str:
    """Name of the case that a file belongs to.

    Parameters
    ----------
    path : PurePath
        Path of the file inside its folder.
    kind : str
        Quantity, ``"mask"`` or ``"labels"``, removed from the end of the name.

    Returns
    -------
    str
        Folders and name joined by ``/``. A name that starts with ``sub-`` holds all its folders say (BIDS)
        and stands alone. Empty where nothing names a case.
    """
    stem = image_stem(Path(path))
    name = _without_decoration(stem)
    for alias in (kind, *(alias for alias, meant in _KINDS.items() if meant == kind), "dsc"):
        if name == alias or name.endswith(f"_{alias}"):
            name = name[: -len(alias)].rstrip("_")
            break
    folders = () if stem.startswith("sub-") else path.parent.parts
    return "/".join(part.removeprefix("sub-") for part in (*folders, name) if part)


def _without_decoration(stem: str) -> str:
    tokens = stem.removeprefix("truth_").split("_")
    return "_".join(token for token in tokens if not token.startswith("desc-"))


def quantity_of_name(path: Path) -> str | None:
    """Quantity, ``"mask"`` or ``"labels"`` that the name of a file ends in; None where it says nothing."""
    name = _without_decoration(image_stem(path))
    for alias in _BY_LENGTH:
        if name == alias or name.endswith(f"_{alias}"):
            return _KINDS[alias]
    return None


def _is_series(path: Path) -> bool:
    """Whether a file holds volumes over time; one that cannot be read is left to whoever reads it."""
    try:
        with opened_nifti(path) as (header, _):
            shape = shape_of(header, path)
    except (InputError, OSError):
        return False
    return len(shape) > 3 and shape[3] > 1


def _rank(path: Path, *, role: Role, named: bool) -> int:
    if not named:
        return 2
    is_truth = path.name.startswith("truth_")
    return int(is_truth == (role == "prediction"))


def _images(folder: Path) -> Iterable[Path]:
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        if has_image_name(file) and not any(part.startswith(".") for part in parts):
            yield file


def _listing(cases: dict[str, Path]) -> str:
    names = sorted(cases)
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
