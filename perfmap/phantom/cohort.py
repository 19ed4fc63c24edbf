"""A simulated cohort with the counts of the paper: 519 patients, 7 slices each, one protocol with its spread."""

from __future__ import annotations

from typing import Any

import numpy as np

from perfmap.phantom.acquisition import draw_acquisition
from perfmap.phantom.case import CaseParameters
from perfmap.phantom.drawing import draw_subject, options_of
from perfmap.phantom.geometry import Geometry, upenn_geometry
from perfmap.phantom.regimes import REGIMES

PAPER_PATIENTS = 519
PAPER_PARTS = {"train": 353, "validation": 63, "test": 103}
PAPER_SLICES = tuple(range(25, 130, 15))
"""Axial slices of a 240 × 240 × 155 series at 1 mm (Diumin & Alkhimova 2026, doi 10.15587/1729-4061.2026.360606)."""
PAPER_MATRIX = 128
REGIME = "upenn-like"

_PROTOCOL: dict[str, Any] = {
    **REGIMES[REGIME].acquisition,
    "echo_time": 0.030,
    "repetition_time": 1.8,
    "dose": 1.0,
    "arterial.arrival": (17.0, 25.0),
    "r2v_relative": (0.85, 1.15),
    "kappa_ex": (0.06, 0.13),
    "r2e": (5.0, 25.0),
    "preload_plasma": (0.0, 0.4),
    "b1_spread": (0.0, 0.10),
    "artefacts.snr": (50.0, 120.0),
    "artefacts.scale": (300.0, 1500.0),
    "artefacts.bias": (0.05, 0.20),
    "artefacts.physiology": (0.004, 0.006),
    "motion.walk": (0.0, 0.05),
}


def paper_geometry() -> Geometry:
    """The seven slices of the paper on the 1 mm grid. Shape (240, 240, 7), 15 mm apart, 1 mm thick."""
    whole = upenn_geometry()
    matrix = whole.matrix.copy()
    matrix[:3, 3] += PAPER_SLICES[0] * matrix[:3, 2]
    matrix[:3, 2] *= PAPER_SLICES[1] - PAPER_SLICES[0]
    affine = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in matrix)
    shape = (whole.shape[0], whole.shape[1], len(PAPER_SLICES))
    return Geometry(shape=shape, affine=affine, slice_thickness=whole.thickness)


def draw_patient(seed: int, number: int) -> CaseParameters:
    """Patient `number` of the cohort of a seed.

    One scanner and one protocol (3 T gradient echo, TE 30 ms, TR 1.8 s, 60°, 45 volumes); bolus, relaxivity, leakage,
    preload, gain, noise and field imperfections differ from patient to patient. Every patient has a glioblastoma.

    Parameters
    ----------
    seed : int
        Seed of the cohort.
    number : int
        Number of the patient, from 0.

    Returns
    -------
    CaseParameters
    """
    generator = np.random.default_rng([seed, 519, number])
    acquisition_rng, subject_rng = generator.spawn(2)
    acquisition = draw_acquisition(acquisition_rng, fixed=_PROTOCOL)
    subject_seed = int(subject_rng.integers(2**31))
    geometry = paper_geometry()
    subject = draw_subject(
        np.random.default_rng(subject_seed),
        options=options_of(REGIME),
        field_strength=acquisition.field_strength,
        geometry=geometry,
    )
    return CaseParameters(
        regime=REGIME, geometry=geometry, subject=subject, acquisition=acquisition, subject_seed=subject_seed
    )
