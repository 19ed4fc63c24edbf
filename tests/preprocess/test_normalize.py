"""Normalisation: what cancels, what does not, and the way back."""

import numpy as np
import pytest
from pydantic import ValidationError

from perfmap.errors import InputError
from perfmap.models.card import InputContract
from perfmap.preprocess.normalize import denormalise, normalise, series_scale

LOG_RATIO = InputContract()
TRAINING_MAX = InputContract(normalisation="training-max", training_max=2000.0)


def test_scale_is_the_trimmed_mean_and_follows_a_factor() -> None:
    first_pass = np.linspace(0.0, 10.0, 1001, dtype=np.float32).reshape(7, 11, 13)
    mask = np.ones(first_pass.shape, dtype=bool)
    assert series_scale(first_pass, mask) == pytest.approx(5.0, abs=1e-3)
    assert series_scale(3 * first_pass, mask) == pytest.approx(3 * series_scale(first_pass, mask), rel=1e-6)
    with_vessels = first_pass.copy()
    with_vessels.flat[-50:] = 1000.0
    assert series_scale(with_vessels, mask) == pytest.approx(5.0, abs=1e-3)


def test_a_series_without_loss_of_signal_is_refused() -> None:
    with pytest.raises(InputError, match="wanted a loss of signal"):
        series_scale(np.full((4, 4, 4), -1.0, dtype=np.float32), np.ones((4, 4, 4), dtype=bool))


def test_log_ratio_is_free_of_echo_time_and_dose() -> None:
    ratio = np.random.default_rng(0).normal(0.2, 0.1, (5, 5, 45)).astype(np.float32)
    baseline = np.full((5, 5), 300.0, dtype=np.float32)
    once = normalise(ratio, baseline, LOG_RATIO, scale=2.0)
    assert np.allclose(
        once, normalise(1.7 * ratio, baseline, LOG_RATIO, scale=1.7 * 2.0), rtol=1e-5, atol=1e-6
    )
    assert np.allclose(denormalise(once, scale=2.0), ratio, atol=1e-6)


def test_training_max_gives_back_the_signal_over_its_constant() -> None:
    signal = np.random.default_rng(0).uniform(100, 900, (6, 45)).astype(np.float32)
    baseline = signal[:, :8].mean(axis=-1)
    ratio = -np.log(signal / baseline[:, None])
    assert np.allclose(normalise(ratio, baseline, TRAINING_MAX, scale=1.0), signal / 2000.0, rtol=1e-5)


def test_cards_cannot_mix_strategies() -> None:
    with pytest.raises(ValidationError, match="training_max"):
        InputContract(normalisation="training-max")
    with pytest.raises(ValidationError, match="training_max"):
        InputContract(training_max=5.0)
    assert LOG_RATIO.scale_invariant
    assert not TRAINING_MAX.scale_invariant
