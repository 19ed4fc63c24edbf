"""The maps perfmap knows: identifier, names and codes of the field, unit, display window.

OSIPI names follow the CAPLEX lexicon (doi 10.1002/mrm.30101). CAPLEX has no entry for relative CBV nor for
Tmax; the fields are empty there. DICOM codes are from PS3.16 (DCM); units are UCUM.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """What a map measures.

    Attributes
    ----------
    identifier : str
        Name in files and in code.
    label : str
        Words for people.
    osipi_name : str
        CAPLEX name, empty where CAPLEX has none.
    unit : str
        Unit for people; ``""`` for a pure ratio.
    ucum : str
        UCUM code of the unit.
    dicom_code : str
        Code value in the DCM scheme, empty where none fits.
    window : tuple of float
        Fixed display window (low, high) in `unit`, the same for every patient; (0, 0): scaled per map.
    """

    identifier: str
    label: str
    osipi_name: str
    unit: str
    ucum: str
    dicom_code: str
    window: tuple[float, float]


_ALL = (
    Quantity(
        "nrcbv", "CBV relative to normal-appearing white matter", "", "", "{ratio}", "126398", (0.0, 5.0)
    ),
    Quantity(
        "rcbv",
        "Relative CBV, arbitrary scale (integral of ΔR2*)",
        "",
        "a.u.",
        "{ratio}",
        "126398",
        (0.0, 0.0),
    ),
    Quantity(
        "ap_rcbv", "Relative CBV on CaPTk's scale of 0-255", "", "a.u.", "{ratio}", "126398", (0.0, 255.0)
    ),
    Quantity(
        "cbv", "Cerebral blood volume", "Blood volume", "ml/100 ml", "ml/(100.ml)", "126391", (0.0, 10.0)
    ),
    Quantity(
        "cbf", "Cerebral blood flow", "Blood flow", "ml/100 ml/min", "ml/(100.ml)/min", "126390", (0.0, 100.0)
    ),
    Quantity("mtt", "Mean transit time", "Mean transit time", "s", "s", "113052", (0.0, 15.0)),
    Quantity("tmax", "Time to maximum of the residue function", "", "s", "s", "113084", (0.0, 10.0)),
    Quantity("ttp", "Time to peak, from bolus arrival", "Time to peak", "s", "s", "113069", (0.0, 20.0)),
    Quantity("bat", "Bolus arrival time", "Bolus arrival time", "s", "s", "", (0.0, 0.0)),
    Quantity(
        "psr", "Percentage signal recovery on CaPTk's scale (255 is full)", "", "a.u.", "1", "", (0.0, 255.0)
    ),
    Quantity("ph", "Peak height of the signal drop", "", "a.u.", "1", "", (0.0, 0.0)),
    Quantity("k2", "Leakage coefficient K2", "", "1/s", "/s", "", (-0.05, 0.05)),
    Quantity("delay", "Arterial delay", "Bolus arrival time delay", "s", "s", "", (-2.0, 10.0)),
    Quantity(
        "ktrans",
        "Volume transfer constant",
        "Volume transfer constant",
        "1/min",
        "/min",
        "126312",
        (0.0, 0.4),
    ),
)

DICOM_MEANINGS = {
    "126398": "Relative Regional Blood Volume",
    "126391": "Absolute Regional Blood Volume",
    "126390": "Absolute Regional Blood Flow",
    "113052": "Mean Transit Time",
    "113069": "Time To Peak",
    "113084": "Tmax",
    "126312": "Ktrans",
    "126303": "Perfusion analysis by Susceptibility MR technique",
    "129104": "Perfusion image analysis",
    "109101": "Acquisition Equipment",
    "121322": "Source image for image processing operation",
}
"""Words of the DCM codes used (PS3.16)."""
DSC_METHOD_CODE = "126303"
PERFUSION_ANALYSIS_CODE = "129104"

QUANTITIES: dict[str, Quantity] = {quantity.identifier: quantity for quantity in _ALL}
RESEARCH_ONLY = "Research use only. Not for diagnosis. Trained on simulated data; not clinically validated."
