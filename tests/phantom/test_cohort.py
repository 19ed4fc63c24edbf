"""The cohort: the paper's counts and slices, one protocol, nothing held out."""

from __future__ import annotations

import numpy as np

from perfmap.phantom.cohort import PAPER_PARTS, PAPER_PATIENTS, PAPER_SLICES, draw_patient, paper_geometry
from perfmap.phantom.geometry import upenn_geometry
from perfmap.phantom.priors.acquisition import HELD_OUT


def test_counts_of_the_paper() -> None:
    assert sum(PAPER_PARTS.values()) == PAPER_PATIENTS == 519
    assert PAPER_SLICES == (25, 40, 55, 70, 85, 100, 115)
    slices = {part: len(PAPER_SLICES) * n for part, n in PAPER_PARTS.items()}
    assert slices == {"train": 2471, "validation": 441, "test": 721}


def test_slices_lie_where_they_lie_in_the_whole_series() -> None:
    part, whole = paper_geometry(), upenn_geometry()
    assert part.shape == (240, 240, 7)
    assert part.thickness == 1.0
    for k, index in enumerate(PAPER_SLICES):
        np.testing.assert_allclose(part.matrix @ [3, 5, k, 1], whole.matrix @ [3, 5, index, 1])


def test_one_protocol_with_a_spread_and_nothing_held_out() -> None:
    patients = [draw_patient(0, number) for number in range(30)]
    records = [patient.acquisition for patient in patients]
    fixed = {
        (r.sequence, r.field_strength, r.echo_time, r.repetition_time, r.flip_angle, r.n_times)
        for r in records
    }
    assert fixed == {("gradient-echo", 3.0, 0.030, 1.8, 60.0, 45)}
    for record in records:
        assert not HELD_OUT["kappa_ex"].low <= record.kappa_ex <= HELD_OUT["kappa_ex"].high
        assert not HELD_OUT["snr"].low <= record.artefacts.snr <= HELD_OUT["snr"].high
        assert record.residue_family == "gamma"
        assert record.artefacts.int16
    assert len({record.artefacts.snr for record in records}) == 30
    assert all(len(patient.subject.lesions) == 1 and patient.subject.head is None for patient in patients)


def test_a_patient_depends_on_seed_and_number_alone() -> None:
    assert draw_patient(1, 5) == draw_patient(1, 5)
    assert draw_patient(1, 5) != draw_patient(1, 6)
    assert draw_patient(1, 5) != draw_patient(2, 5)
