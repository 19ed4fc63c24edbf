"""Participants of a BIDS data set: which of its cases a BIDS App is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from perfmap.engine.cases import Cases, discover
from perfmap.errors import InputError


def find_participants(
    source: Path, *, output: Path, participants: Sequence[str] = (), sessions: Sequence[str] = ()
) -> Cases:
    """Cases of some participants and sessions of a BIDS data set; of all, where none are named.

    Parameters
    ----------
    source : Path
        Data set: a folder with ``dataset_description.json`` and ``sub-*``.
    output : Path
        Folder of the results; what lies in it is no input.
    participants, sessions : sequence of str
        Labels, with or without ``sub-`` and ``ses-``.

    Raises
    ------
    InputError
        If the folder is no BIDS data set, or holds no series of a participant that is named.
    """
    if not (source / "dataset_description.json").is_file() or not any(source.glob("sub-*")):
        raise InputError(
            f"{source} is no BIDS data set: wanted dataset_description.json and folders sub-*; "
            "for any other folder there is 'perfmap predict'"
        )
    found = discover(source, output=output)
    subjects = {label.removeprefix("sub-") for label in participants}
    visits = {label.removeprefix("ses-") for label in sessions}
    for wanted, there, what in (
        (subjects, {_subject(case.path) for case in found.cases}, "participant"),
        (visits, {dict(case.entities).get("ses", "") for case in found.cases}, "session"),
    ):
        if missing := sorted(wanted - there):
            known = ", ".join(sorted(label for label in there if label)[:10]) or "none"
            raise InputError(f"no DSC series of {what} {', '.join(missing)} in {source}; it holds {known}")
    cases = tuple(
        case
        for case in found.cases
        if (not subjects or _subject(case.path) in subjects)
        and (not visits or dict(case.entities).get("ses", "") in visits)
    )
    if not cases:
        raise InputError(f"no DSC series in {source} is both of the participants and of the sessions named")
    return replace(found, cases=cases)


def part_name(participants: Sequence[str], sessions: Sequence[str]) -> str:
    """Name by which runs over different participants tell their locks and summaries apart; empty for all."""
    labels = sorted({f"sub-{label.removeprefix('sub-')}" for label in participants})
    labels += sorted({f"ses-{label.removeprefix('ses-')}" for label in sessions})
    if len(labels) < 2:
        return "".join(labels)
    return "labels-" + hashlib.sha256(" ".join(labels).encode()).hexdigest()[:12]


def _subject(path: Path) -> str:
    return path.name.partition("_")[0].removeprefix("sub-")
