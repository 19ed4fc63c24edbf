"""A simulated cohort with the counts of the paper: 519 patients, 7 slices each, one protocol with its spread."""

from __future__ import annotations

import numpy as np

from perfmap.phantom.acquisition import draw_acquisition
from perfmap.phantom.case import CaseParameters
from perfmap.phantom.drawing import draw_subject
from perfmap.phantom.geometry import Geometry, upenn_geometry
from perfmap.phantom.regimes import find_regime, subject_options

PAPER_PATIENTS = 519
PAPER_PARTS = {"train": 353, "validation": 63, "test": 103}
PAPER_SLICES = tuple(range(25, 130, 15))
"""Axial slices of a 240 × 240 × 155 series at 1 mm (Diumin & Alkhimova 2026, doi 10.15587/1729-4061.2026.360606)."""
PAPER_MATRIX = 128
REGIME = "paper-cohort"


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
    acquisition = draw_acquisition(acquisition_rng, fixed=find_regime(REGIME).acquisition)
    subject_seed = int(subject_rng.integers(2**31))
    geometry = paper_geometry()
    subject = draw_subject(
        np.random.default_rng(subject_seed),
        options=subject_options(REGIME),
        field_strength=acquisition.field_strength,
        geometry=geometry,
    )
    return CaseParameters(
        regime=REGIME, geometry=geometry, subject=subject, acquisition=acquisition, subject_seed=subject_seed
    )
