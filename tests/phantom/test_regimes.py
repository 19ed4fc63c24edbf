"""The table of regimes: what each fixes, and what training must not see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perfmap.errors import ConfigError
from perfmap.phantom.acquisition import draw_acquisition
from perfmap.phantom.injection import arterial_concentration
from perfmap.phantom.priors.acquisition import HELD_OUT
from perfmap.phantom.protocol import AcquisitionParameters
from perfmap.phantom.regimes import REGIMES, describe_fixed, find_regime, require_trainable, subject_options

WANTED = (
    "training plain noisy t1-leak t2s-leak fast-long slow-short early-bolus late-bolus with-skull moving upenn-like "
    "stroke weak-dose field15 spin-echo treatment-effect no-lesion linearity ood-te ood-fa ood-residue ood-kex ood-snr"
)


def draws(name: str, n: int = 25) -> list[AcquisitionParameters]:
    return [
        draw_acquisition(np.random.default_rng(seed), fixed=REGIMES[name].acquisition) for seed in range(n)
    ]


def test_all_regimes_are_there_and_only_training_trains() -> None:
    assert list(REGIMES) == WANTED.split()
    require_trainable("training")
    for name in WANTED.split()[1:]:
        with pytest.raises(ConfigError, match="refused as training data"):
            require_trainable(name)
    with pytest.raises(ConfigError, match="unknown regime 'nonsense'"):
        find_regime("nonsense")


@pytest.mark.parametrize("name", WANTED.split())
def test_every_regime_can_be_drawn_with_room_for_its_bolus(name: str) -> None:
    for record in draws(name):
        times = np.arange(record.n_times) * record.time_step
        curve = arterial_concentration(np.arange(0, times[-1], 0.1), record.arterial)
        assert (curve[: int(40 * record.time_step)] < 0.03 * curve.max()).all()
        assert times[-1] - 0.1 * curve.argmax() > 18


@pytest.mark.parametrize(
    ("name", "field"),
    [("ood-te", "echo_time"), ("ood-fa", "flip_angle"), ("ood-kex", "kappa_ex"), ("ood-snr", "snr")],
)
def test_held_out_regimes_lie_in_their_range_and_nothing_else_does(name: str, field: str) -> None:
    for record in draws(name):
        values = {
            "echo_time": record.echo_time,
            "flip_angle": record.flip_angle,
            "kappa_ex": record.kappa_ex,
            "snr": record.artefacts.snr,
        }
        inside = {key for key, value in values.items() if HELD_OUT[key].low <= value <= HELD_OUT[key].high}
        assert inside == {field}
        assert record.residue_family != "lorentzian"


def test_residue_regime_is_lorentzian() -> None:
    assert {record.residue_family for record in draws("ood-residue")} == {"lorentzian"}


@pytest.mark.parametrize("name", [name for name in WANTED.split() if not name.startswith("ood")])
def test_no_named_regime_strays_into_a_held_out_range(name: str) -> None:
    for record in draws(name):
        assert not 0.037 <= record.echo_time <= 0.040
        assert not 65 <= record.flip_angle <= 72
        assert not 0.14 <= record.kappa_ex <= 0.18
        assert not 24 <= record.artefacts.snr <= 30


def test_upenn_like_series_have_their_minimum_where_captk_wants_it() -> None:
    for record in draws("upenn-like", 60):
        assert record.n_times == 45
        fine = np.arange(0, 45 * record.time_step, 0.1)
        peak = 0.1 * arterial_concentration(fine, record.arterial).argmax() + 2.0  # tissue peaks later
        assert 0.20 * 45 < peak / record.time_step < 0.66 * 45


def test_relaxivity_is_equal_between_tissues_in_scored_sets() -> None:
    assert subject_options("training").r2v_spread == pytest.approx(0.05)
    for name in WANTED.split()[1:]:
        assert subject_options(name).r2v_spread == 0.0


def test_regimes_share_the_subject_of_a_seed() -> None:
    from perfmap.phantom.case import draw_case

    one, other = (draw_case(2, regime=name, n_slices=2) for name in ("plain", "noisy"))
    assert one.subject == other.subject
    assert one.geometry == other.geometry


def test_documentation_has_the_table_of_regimes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text("utf-8")
    for name, regime in REGIMES.items():
        assert f"| `{name}` | {regime.purpose} | {describe_fixed(name)} |" in page
