"""No dead knobs: whatever the record of an acquisition says changes the series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from perfmap.phantom.case import CaseParameters, change_case, draw_case, simulate_case
from perfmap.phantom.drawing import DrawOptions, draw_subject
from perfmap.phantom.geometry import axial_geometry
from perfmap.phantom.protocol import AcquisitionParameters
from perfmap.phantom.subject import Subject, build_subject

# Name: (another value, what else must hold for it to matter).
CHANGES: dict[str, tuple[Any, Mapping[str, Any]]] = {
    "sequence": ("spin-echo", {}),
    "field_strength": (1.5, {}),
    "echo_time": (0.04, {}),
    "repetition_time": (1.7, {}),
    "pulses_per_volume": (2, {}),
    "flip_angle": (40.0, {}),
    "n_times": (47, {}),
    "n_dummies": (0, {}),
    "slice_order": ("simultaneous", {}),
    "multiband": (2, {}),
    "agent": ("gadoteridol", {}),
    "dose": (0.5, {}),
    "hematocrit": (0.35, {}),
    "hematocrit_factor": (1.0, {}),
    "residue_family": ("lorentzian", {}),
    "r2v_relative": (1.2, {}),
    "spin_echo_ratio": (0.35, {"sequence": "spin-echo"}),
    "kappa_ex": (0.2, {}),
    "r2e": (30.0, {}),
    "preload_plasma": (0.4, {}),
    "preload_minutes": (9.0, {"preload_plasma": 0.4}),
    "arterial_kappa": (9.0, {}),
    "b1_spread": (0.15, {}),
    "seed": (77, {}),
    "arterial.generator": ("parker", {"arterial.area": 1.0}),
    "arterial.arrival": (18.0, {}),
    "arterial.area": (70.0, {}),
    "arterial.alpha": (4.0, {}),
    "arterial.beta": (1.2, {}),
    "arterial.injection_duration": (6.0, {"arterial.generator": "cardiac-output"}),
    "arterial.transit_time": (10.0, {"arterial.generator": "cardiac-output"}),
    "arterial.n_chambers": (4.0, {"arterial.generator": "cardiac-output"}),
    "arterial.recirculation_fraction": (0.3, {}),
    "arterial.recirculation_delay": (18.0, {}),
    "arterial.recirculation_tau": (20.0, {}),
    "arterial.tail": (0.2, {}),
    "arterial.dispersion_kind": ("gamma", {"arterial.dispersion_time": 2.0}),
    "arterial.dispersion_time": (3.0, {"arterial.dispersion_kind": "exponential"}),
    "artefacts.bias": (0.3, {}),
    "artefacts.drift": ((0.02, -0.03), {}),
    "artefacts.physiology": ((0.01, 0.01), {}),
    "artefacts.physiology_frequency": ((0.3, 0.9), {"artefacts.physiology": (0.01, 0.01)}),
    "artefacts.dropout": (100.0, {}),
    "artefacts.dropout_radius": (8.0, {"artefacts.dropout": 100.0}),
    "artefacts.epi_shift": (3.0, {}),
    "artefacts.ghost": (0.05, {}),
    "artefacts.spikes": (((0.5, 0.2),), {}),
    "artefacts.dropped": (0.5, {}),
    "artefacts.snr": (25.0, {}),
    "artefacts.noise_fwhm": (1.2, {}),
    "artefacts.scale": (300.0, {}),
    "artefacts.int16": (True, {}),
    "artefacts.stripped": (True, {}),
    "motion.walk": (0.3, {}),
    "motion.jumps": (((0.5, 3.0),), {}),
    "motion.left": (0.2, {"motion.walk": 0.3}),
}


def names_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from names_of(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.fixture(scope="module")
def base() -> tuple[CaseParameters, Subject]:
    """A small head with a glioblastoma, at the base of the brain, where the large arteries and the sinuses are."""
    drawn = draw_case(3, regime="t1-leak", n_slices=1)
    geometry = axial_geometry((48, 56, 3), (4.0, 4.0, 6.0), centre=(0.0, -18.0, -14.0))
    options = DrawOptions(with_skull=True, n_lesions=1, lesion_kinds=("glioblastoma",), lesion_radius=20.0)
    subject = draw_subject(np.random.default_rng(5), options=options, field_strength=3.0, geometry=geometry)
    case = drawn.model_copy(update={"geometry": geometry, "subject": subject})
    changes = {"n_times": 45, "kappa_ex": 0.1, "arterial.generator": "gamma-variate", "arterial.area": 55.0}
    case = change_case(case, changes)
    return case, build_subject(case.subject, geometry)


def test_the_list_is_that_of_the_record() -> None:
    assert set(CHANGES) == set(names_of(AcquisitionParameters))


@pytest.mark.parametrize("name", CHANGES)
def test_another_value_gives_another_series(name: str, base: tuple[CaseParameters, Subject]) -> None:
    case, subject = base
    value, condition = CHANGES[name]
    before = change_case(case, condition)
    after = change_case(before, {name: value})
    assert after != before
    same_subject = subject if after.subject == case.subject else None
    one, other = simulate_case(before, subject).signal, simulate_case(after, same_subject).signal
    assert one.shape != other.shape or not np.array_equal(one, other)
