"""Headers of the source's slices, flat: a frame of an enhanced object reads like a classic image."""

from __future__ import annotations

from pydicom.dataset import Dataset

from perfmap.io.dicom_source import DicomSource

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_ECHO = {"GRADIENT": ["GR"], "SPIN": ["SE"], "BOTH": ["SE", "GR"]}


def source_headers(source: DicomSource) -> list[Dataset]:
    """One header a slice of the source, each file read once.

    Raises
    ------
    InputError
        If a file is gone.
    """
    objects: dict[str, Dataset] = {}
    headers = []
    for k, piece in enumerate(source.slices):
        if piece.sop_instance_uid not in objects:
            objects[piece.sop_instance_uid] = source.header(k)
        header = objects[piece.sop_instance_uid]
        headers.append(header if piece.frame is None else flat_frame(header, piece.frame))
    return headers


def flat_frame(header: Dataset, frame: int) -> Dataset:
    """Header of one frame: what its functional groups say at the top level, under the names of classic images.

    Parameters
    ----------
    header : Dataset
        Of an enhanced multi-frame object.
    frame : int
        From 1.
    """
    flat = Dataset()
    for element in header:
        if element.keyword not in _GROUPS:
            flat.add(element)
    per_frame = header.get(_GROUPS[1]) or []
    for group in [*(header.get(_GROUPS[0]) or []), *per_frame[frame - 1 : frame]]:
        for macro in group:
            if macro.VR == "SQ" and macro.value:
                for element in macro.value[0]:
                    flat.add(element)
    if "EchoTime" not in flat and flat.get("EffectiveEchoTime") is not None:
        flat.EchoTime = flat.EffectiveEchoTime
    if "EchoTrainLength" not in flat and flat.get("RFEchoTrainLength") is not None:
        flat.EchoTrainLength = flat.RFEchoTrainLength
    if "ScanningSequence" not in flat and flat.get("EchoPulseSequence") in _ECHO:
        planar = ["EP"] if flat.get("EchoPlanarPulseSequence") == "YES" else []
        flat.ScanningSequence = [*planar, *_ECHO[flat.EchoPulseSequence]]
    moment = str(flat.get("FrameAcquisitionDateTime") or flat.get("AcquisitionDateTime") or "")
    if len(moment) >= 14:
        flat.AcquisitionDate = moment[:8]
        flat.AcquisitionTime = moment[8:].replace("-", "+").split("+")[0]
    return flat
