"""The table of priors: ranges, known values, and draws that stay inside."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.errors import ConfigError
from perfmap.phantom.priors import (
    ANATOMY,
    FIELD_STRENGTHS,
    LABELS,
    LESION_NRCBV,
    RELATIVE_SPREAD,
    TISSUE,
    Prior,
    draw,
)


@pytest.mark.parametrize(
    "prior",
    [
        Prior(1.0, 3.0, "s", "M"),
        Prior(0.3, 12.0, "", "D", "log_uniform"),
        Prior(1.0, 3.0, "", "M", "normal", 2.0, 2.0),
        Prior(0.02, 0.35, "1/min", "M", "log_normal", 0.08, 0.7),
    ],
    ids=lambda prior: prior.shape,
)
def test_draws_fill_the_range_and_never_leave_it(prior: Prior) -> None:
    rng = np.random.default_rng(0)
    values = np.array([draw(prior, rng) for _ in range(2000)])
    assert values.min() >= prior.low
    assert values.max() <= prior.high
    middle = {
        "uniform": 2.0,
        "log_uniform": np.sqrt(0.3 * 12.0),
        "normal": 2.0,
        "log_normal": 0.08,
    }[prior.shape]
    assert np.median(values) == pytest.approx(middle, rel=0.1)


def test_lesion_cbv_is_as_often_below_as_above_any_ratio() -> None:
    """Log-uniform: each octave of nrCBV is drawn equally often."""
    rng = np.random.default_rng(1)
    values = np.array([draw(LESION_NRCBV, rng) for _ in range(8000)])
    octaves = [np.mean((values >= low) & (values < 2 * low)) for low in (0.3, 0.6, 1.2, 2.4, 4.8)]
    np.testing.assert_allclose(octaves, np.log(2) / np.log(12 / 0.3), atol=0.02)


@pytest.mark.parametrize(("low", "high", "shape"), [(2.0, 1.0, "uniform"), (0.0, 1.0, "log_uniform")])
def test_a_senseless_range_is_refused(low: float, high: float, shape: str) -> None:
    with pytest.raises(ConfigError, match="prior has range"):
        Prior(low, high, "", "M", shape)  # type: ignore[arg-type]


def test_every_class_has_a_row_in_the_tissue_table() -> None:
    assert set(TISSUE) == set(LABELS) - {"background"}
    assert len(set(LABELS.values())) == len(LABELS)


@pytest.mark.parametrize(
    ("name", "t1_15", "t1_30"), [("gm", 1.12, 1.82), ("wm", 0.88, 1.08), ("csf", 4.2, 4.2)]
)
def test_published_t1(name: str, t1_15: float, t1_30: float) -> None:
    prior = TISSUE[name].t1
    assert (prior[1.5].mean, prior[3.0].mean) == (t1_15, t1_30)
    assert prior[3.0].source == "V"


@pytest.mark.parametrize("name", ["gm", "wm", "deep_gm", "vessel_artery", "vessel_vein"])
def test_t2star_shortens_with_the_field_and_is_below_t2(name: str) -> None:
    prior = TISSUE[name]
    assert prior.t2star[3.0].mean < prior.t2star[1.5].mean
    for field in FIELD_STRENGTHS:
        assert prior.t2star[field].mean < prior.t2[field].mean < prior.t1[field].mean


def test_times_are_seconds() -> None:
    for prior in TISSUE.values():
        for table in (prior.t1, prior.t2star, prior.t2):
            assert set(table) == set(FIELD_STRENGTHS)
            assert all(p.unit == "s" and p.low > 0.01 and p.high < 6.0 for p in table.values())


def test_blood_is_blood_and_healthy_brain_keeps_its_barrier() -> None:
    for name in ("vessel_artery", "vessel_vein"):
        assert TISSUE[name].cbv.low == TISSUE[name].cbv.high == 100.0
    for name in ("gm", "wm", "deep_gm", "csf", "infarct_core", "penumbra", "low_grade"):
        assert TISSUE[name].ktrans.high == 0.0
    assert TISSUE["enhancing"].ktrans.low > 0.0


def test_every_number_has_a_source() -> None:
    assert all(prior.source in {"V", "D", "M"} for prior in ANATOMY.values())
    assert all(0 < spread < 0.5 for spread in RELATIVE_SPREAD.values())
