"""Sending a parcel of DICOM objects to an archive. Needs pynetdicom."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from perfmap.errors import ConfigError, InputError
from perfmap.io.dicom_destination import Destination
from perfmap.io.dicom_parcel import Parcel

CALLING_AET = "PERFMAP"
TIMEOUT = 30.0
"""Longest wait for an answer of the archive, s."""
_WARNINGS = (0xB000, 0xB006, 0xB007)  # stored all the same: an element coerced or left out


class Undelivered(Exception):
    """The archive could not be reached, or did not take all objects; trying later may help."""


@dataclass(frozen=True)
class Delivery:
    """What an archive took.

    Attributes
    ----------
    stored : int
        Objects.
    not_taken : tuple of str
        Kinds of objects that the archive does not know; their maps were left out.
    notes : tuple of str
    """

    stored: int
    not_taken: tuple[str, ...]
    notes: tuple[str, ...]


def send_parcel(
    parcel: Parcel,
    destination: Destination,
    *,
    calling_aet: str = CALLING_AET,
    timeout: float = TIMEOUT,
    on_object: Callable[[int, int], None] = lambda done, total: None,
) -> Delivery:
    """Send once. The archive is asked first whose study it is, where it answers such questions.

    Parameters
    ----------
    parcel : Parcel
    destination : Destination
        Checked by the caller, see `perfmap.io.dicom_destination.require_allowed`.
    calling_aet : str
        Own title.
    timeout : float
        s.
    on_object : callable
        Called with (objects stored, objects in all).

    Raises
    ------
    Undelivered
        If the archive cannot be reached, or refuses an object.
    InputError
        If the archive holds the study under another PatientID.
    ConfigError
        If pynetdicom is not installed.
    """
    if importlib.util.find_spec("pynetdicom") is None:
        raise ConfigError("perfmap send needs pynetdicom; pip install 'perfmap[dicom]'")
    from pynetdicom import AE
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FindStudies  # type: ignore[attr-defined]

    entity = AE(ae_title=calling_aet)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = timeout
    entity.add_requested_context(FindStudies)
    for sop_class in sorted({piece.sop_class for piece in parcel.pieces}):
        entity.add_requested_context(sop_class)
    association = entity.associate(destination.host, destination.port, ae_title=destination.aet)
    if not association.is_established:
        why = "it refused the association" if association.is_rejected else "no answer"
        raise Undelivered(f"{destination} cannot be reached: {why}")
    try:
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        notes = _ask_whose_study(association, parcel, FindStudies) if FindStudies in accepted else []
        to_send = [piece for piece in parcel.pieces if piece.sop_class in accepted]
        for done, piece in enumerate(to_send, start=1):
            status = association.send_c_store(pydicom.dcmread(piece.path))
            code = status.get("Status") if status else None
            if code in _WARNINGS:
                notes.append(f"the archive changed an object while storing it (status {code:#06x})")
            elif code != 0:
                said = "no answer" if code is None else f"status {code:#06x}"
                raise Undelivered(f"{destination} did not store object {done} of {len(to_send)}: {said}")
            on_object(done, len(to_send))
    except (RuntimeError, ValueError) as error:
        raise Undelivered(f"the connection to {destination} broke off: {type(error).__name__}") from error
    finally:
        if association.is_established:
            association.release()
    refused = {piece.sop_class.name for piece in parcel.pieces if piece.sop_class not in accepted}
    if not to_send:
        raise Undelivered(f"{destination} takes none of {', '.join(sorted(refused))}")
    return Delivery(len(to_send), tuple(sorted(refused)), tuple(dict.fromkeys(notes)))


def send_with_retries(
    send: Callable[[], Delivery],
    *,
    retries: int,
    wait: float,
    sleep: Callable[[float], None] = time.sleep,
) -> Delivery:
    """Call `send`, and again after `wait` s, twice that, and so on, `retries` times at most.

    Raises
    ------
    Undelivered
        If the last try failed too.
    """
    for attempt in range(retries):
        try:
            return send()
        except Undelivered:
            sleep(wait * 2**attempt)
    return send()


def _ask_whose_study(association: Any, parcel: Parcel, model: Any) -> list[str]:
    """Compare the archive's PatientID of the study with the parcel's; one note where it knows no such study."""
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = parcel.study_instance_uid
    query.PatientID = ""
    found = [
        answer
        for status, answer in association.send_c_find(query, model)
        if status and status.get("Status") in (0xFF00, 0xFF01) and answer is not None
    ]
    held_by = {str(answer.get("PatientID") or "").strip() for answer in found}
    if held_by - {parcel.patient_id.strip()}:
        raise InputError(
            "the archive holds this study under another PatientID than the maps have; nothing was sent: "
            "find out which of the two is right"
        )
    return [] if found else ["the archive does not hold the study of these maps"]
