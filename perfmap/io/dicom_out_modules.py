"""What is taken over from the source's header, module by module."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

_PATIENT = [
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "OtherPatientIDsSequence",
    "EthnicGroup",
    "PatientComments",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "PatientSpeciesDescription",
    "ResponsiblePerson",
]
_STUDY = [
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "StudyDescription",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "ReferencedStudySequence",
    "ProcedureCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "AdmissionID",
    "AdditionalPatientHistory",
    "PregnancyStatus",
    "LongitudinalTemporalInformationModified",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
]
_SERIES = [
    "SeriesDate",
    "SeriesTime",
    "ProtocolName",
    "BodyPartExamined",
    "PatientPosition",
    "Laterality",
    "RequestAttributesSequence",
    "PerformedProcedureStepID",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepDescription",
    "PositionReferenceIndicator",
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
]
_CONTRAST = [
    "ContrastBolusAgent",
    "ContrastBolusAgentSequence",
    "ContrastBolusRoute",
    "ContrastBolusVolume",
    "ContrastBolusStartTime",
    "ContrastBolusTotalDose",
    "ContrastFlowRate",
    "ContrastFlowDuration",
    "ContrastBolusIngredient",
    "ContrastBolusIngredientConcentration",
]
_EQUIPMENT = [
    "Manufacturer",
    "InstitutionName",
    "InstitutionAddress",
    "StationName",
    "InstitutionalDepartmentName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
]
_LOSSY = ["LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"]
# Without these (type 2) no image is valid; empty where the source has none.
_NEVER_MISSING = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "PositionReferenceIndicator",
]


def copy_context(origin: Dataset, target: Dataset) -> None:
    """Patient, study, circumstances of the series, compression with loss; what no image may lack, empty if need be."""
    copy_elements(origin, target, (*_PATIENT, *_STUDY, *_SERIES, *_LOSSY))
    for keyword in _NEVER_MISSING:
        if keyword not in target:
            setattr(target, keyword, "")


def copy_equipment(origin: Dataset, target: Dataset) -> None:
    """The scanner."""
    copy_elements(origin, target, _EQUIPMENT)


def copy_contrast(origin: Dataset, target: Dataset) -> None:
    """Copy what is known of the contrast agent."""
    copy_elements(origin, target, _CONTRAST)


def copy_elements(origin: Dataset, target: Dataset, keywords: Sequence[str]) -> None:
    """Copy the elements that the origin has."""
    for keyword in keywords:
        if keyword in origin:
            target.add(origin[keyword])
