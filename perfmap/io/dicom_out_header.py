"""What all DICOM forms of a map share: whose it is, where it comes from, what made it, what it measures."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

import perfmap
from perfmap.io.dicom_out_codes import code_item
from perfmap.io.dicom_out_modules import copy_context, copy_elements, copy_equipment
from perfmap.io.dicom_source import DicomSource
from perfmap.quantities import (
    PERFUSION_ANALYSIS_CODE,
    RESEARCH_ONLY,
)
from perfmap.series import Volume

MANUFACTURER = "perfmap"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "perfmap.dicom")

_SLANT = 0.26  # sine of 15 degrees: from there on a direction has a second letter


@dataclass(frozen=True)
class DerivedMap:
    """A map ready to be written as DICOM.

    Attributes
    ----------
    volume : Volume
        Values, RAS+, with the quantity's identifier.
    valid : ndarray of bool, shape (x, y, z)
        Voxels with a reading.
    brain : ndarray of bool, shape (x, y, z)
        Voxels of the brain, those without a reading too.
    folder : str
        Name of its folder: ``nrcbv`` or ``nrcbv-conventional``.
    method : {"network", "conventional"}
    algorithm : str
        What made it: the model's name, or the conventional method's.
    derivation : str
        How, in a sentence or two.
    identity : str
        Everything the values depend on beside the source (model hash, settings): goes into the UIDs.
    caution : str
        What a reader must see first, as ``quality FAIL``; ``""`` if nothing.
    """

    volume: Volume
    valid: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    folder: str
    method: str
    algorithm: str
    derivation: str
    identity: str
    caution: str = ""

    @property
    def valid_volume(self) -> Volume:
        """`valid` on the map's grid."""
        return Volume(self.valid, self.volume.affine)


def deterministic_uid(*parts: object) -> str:
    """UID below 2.25 that is the same for the same parts, whatever machine or day.

    Parameters
    ----------
    *parts : object
        Anything that JSON can hold.
    """
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"2.25.{uuid.uuid5(_NAMESPACE, digest).int}"


def series_uid(source: DicomSource, made: DerivedMap, form: str) -> str:
    """SeriesInstanceUID of one form of a map: same source, model, settings and version give the same."""
    return deterministic_uid(
        list(source.sop_instance_uids),
        made.folder,
        made.method,
        made.algorithm,
        made.identity,
        perfmap.__version__,
        form,
    )


def object_uid(image: Dataset, k: int) -> str:
    """SOPInstanceUID of slice `k`. Study and patient are part of it, so that a later change of either shows."""
    return deterministic_uid(
        str(image.SeriesInstanceUID),
        k,
        str(image.get("StudyInstanceUID", "")),
        str(image.get("PatientID", "")),
    )


def base_header(
    source: DicomSource, header: Dataset, made: DerivedMap, form: str, *, k: int, number: int
) -> Dataset:
    """Header of one object of a form, without anything that depends on the form's pixels.

    Parameters
    ----------
    source : DicomSource
    header : Dataset
        Flat header of the source slice, see `perfmap.io.dicom_out_flat`.
    made : DerivedMap
    form : str
        ``mr``, ``sc`` or ``pm``.
    k : int
        Slice, from 0.
    number : int
        SeriesNumber.
    """
    image = Dataset()
    copy_context(header, image)
    image.Modality = "MR"
    image.FrameOfReferenceUID = source.frame_of_reference_uid or deterministic_uid(
        "frame", series_uid(source, made, "")
    )
    image.SeriesInstanceUID = series_uid(source, made, form)
    image.SOPInstanceUID = object_uid(image, k)
    image.SeriesNumber = number
    image.SeriesDescription = series_description(made, form)
    image.InstanceNumber = k + 1
    for keyword, fallback in (("ContentDate", "AcquisitionDate"), ("ContentTime", "AcquisitionTime")):
        image.add_new(
            keyword,
            "DA" if keyword.endswith("Date") else "TM",
            header.get(keyword) or header.get(fallback) or "",
        )
    copy_elements(header, image, ("AcquisitionDate", "AcquisitionTime", "AcquisitionNumber"))
    describe_equipment(image, header, made)
    image.ImageComments = RESEARCH_ONLY
    image.BurnedInAnnotation = "NO"
    image.ContentQualification = "RESEARCH"
    image.DerivationDescription = made.derivation[:1024]
    image.DerivationCodeSequence = [code_item(PERFUSION_ANALYSIS_CODE)]
    image.SourceImageSequence = [source_reference(source, k)]
    image.ReferencedSeriesSequence = [referenced_series(header, source, [k])]
    if source.lossy:
        image.LossyImageCompression = "01"
    image.LossyImageCompression = image.get("LossyImageCompression") or "00"
    return image


def place_slice(image: Dataset, source: DicomSource, k: int) -> None:
    """Write where slice `k` lies, in the source's own geometry."""
    image.ImagePositionPatient = decimal_strings(source.slices[k].position)
    image.ImageOrientationPatient = decimal_strings(source.orientation)
    image.PixelSpacing = decimal_strings(source.pixel_spacing)
    image.Rows, image.Columns = source.rows, source.columns


def patient_orientation(source: DicomSource) -> tuple[str, str]:
    """Where rows and columns of the source run to, in DICOM's letters (L, P, H …), the main direction first."""
    names = (("L", "R"), ("P", "A"), ("H", "F"))
    words = []
    for direction in np.reshape(source.orientation, (2, 3)):
        axes = [axis for axis in np.argsort(-np.abs(direction)) if abs(direction[axis]) > _SLANT]
        words.append("".join(names[axis][int(direction[axis] < 0)] for axis in axes))
    return words[0], words[1]


def decimal_strings(values: Iterable[float]) -> list[DSfloat]:
    """Numbers as DICOM's decimal strings, with as many digits as fit into their 16 characters."""
    return [DSfloat(float(value), auto_format=True) for value in values]


def series_description(made: DerivedMap, form: str) -> str:
    """At most 64 characters, research use first."""
    forms = {"mr": "", "sc": " colour", "pm": " parametric map"}
    label = "nrCBV" if made.volume.quantity == "nrcbv" else made.volume.quantity
    caution = f"{made.caution}: " if made.caution else ""
    return f"RUO {caution}{label} {made.method} {made.algorithm}{forms[form]}, not for diagnosis"[:64]


def series_number(header: Dataset, form: str, made: DerivedMap) -> int:
    """Number behind the source's own: 100 × it, and one to six for form and method."""
    place = ("mr", "sc", "pm").index(form) * 2 + (1 if made.method == "network" else 2)
    number = int(header.get("SeriesNumber") or 0)
    return number * 100 + place if 0 <= number < 20_000_000 else 9000 + place


def describe_equipment(image: Dataset, header: Dataset, made: DerivedMap) -> None:
    """perfmap as the equipment that made the object, the scanner as the one that contributed."""
    image.Manufacturer = MANUFACTURER
    image.ManufacturerModelName = f"{made.method} {made.algorithm}"[:64]
    image.DeviceSerialNumber = hashlib.sha256(made.identity.encode()).hexdigest()[:16]
    image.SoftwareVersions = perfmap.__version__
    scanner = Dataset()
    copy_equipment(header, scanner)
    scanner.Manufacturer = scanner.get("Manufacturer") or "unknown"
    scanner.PurposeOfReferenceCodeSequence = [code_item("109101")]
    image.ContributingEquipmentSequence = [scanner]


def source_reference(source: DicomSource, k: int, *, purpose: bool = True) -> Dataset:
    """Reference to the image, or the frame, that shows slice `k` before the bolus."""
    piece = source.slices[k]
    item = Dataset()
    item.ReferencedSOPClassUID = source.sop_class_uid
    item.ReferencedSOPInstanceUID = piece.sop_instance_uid
    if piece.frame is not None:
        item.ReferencedFrameNumber = piece.frame
    if purpose:
        item.PurposeOfReferenceCodeSequence = [code_item("121322")]
    return item


def referenced_series(header: Dataset, source: DicomSource, slices: Iterable[int]) -> Dataset:
    """Item of ReferencedSeriesSequence: the source's series, and each object in it that shows the slices, once."""
    references = {
        source.slices[k].sop_instance_uid: source_reference(source, k, purpose=False) for k in slices
    }
    for reference in references.values():
        if "ReferencedFrameNumber" in reference:
            del reference.ReferencedFrameNumber
    item = Dataset()
    item.SeriesInstanceUID = header.SeriesInstanceUID
    item.ReferencedInstanceSequence = list(references.values())
    return item


def make_file_ready(image: Dataset) -> Dataset:
    """Add the file meta information; Explicit VR Little Endian."""
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.ImplementationClassUID = UID(deterministic_uid("implementation"))
    image.file_meta.ImplementationVersionName = f"PERFMAP_{perfmap.__version__}"[:16]
    return image
