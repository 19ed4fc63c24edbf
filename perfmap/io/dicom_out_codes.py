"""Codes of quantities, units and methods as DICOM items."""

from __future__ import annotations

from pydicom.dataset import Dataset

from perfmap.errors import ConfigError
from perfmap.quantities import DICOM_MEANINGS, DSC_METHOD_CODE, QUANTITIES


def code_item(value: str, *, scheme: str = "DCM", meaning: str | None = None) -> Dataset:
    """Item of a code sequence; the meaning of DCM codes is known here."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning if meaning is not None else DICOM_MEANINGS[value]
    return item


def quantity_items(quantity: str) -> list[Dataset]:
    """What the numbers are, as QuantityDefinitionSequence: the quantity, and how it was measured."""
    items = []
    for concept, meaning, value in (
        ("246205007", "Quantity", QUANTITIES[quantity].dicom_code),
        ("370129005", "Measurement Method", DSC_METHOD_CODE),
    ):
        item = Dataset()
        item.ValueType = "CODE"
        item.ConceptNameCodeSequence = [code_item(concept, scheme="SCT", meaning=meaning)]
        item.ConceptCodeSequence = [code_item(value)]
        items.append(item)
    return items


def unit_item(quantity: str) -> Dataset:
    """UCUM unit of a quantity."""
    ucum = QUANTITIES[quantity].ucum
    return code_item(ucum, scheme="UCUM", meaning="ratio" if ucum == "{ratio}" else ucum)


def window_of(quantity: str) -> tuple[float, float]:
    """The fixed window of a quantity, the same for every patient.

    Raises
    ------
    ConfigError
        If it has none, or no DICOM code: then it is not written as DICOM.
    """
    known = QUANTITIES[quantity]
    if known.window == (0.0, 0.0) or not known.dicom_code:
        raise ConfigError(f"quantity {quantity} has no DICOM form; nrcbv has one")
    return known.window
