"""Random fields: splines that agree with themselves."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.phantom.fields import SmoothField, add_fields, draw_field, evaluate_at, evaluate_on_slice

X = np.linspace(-70, 70, 29, dtype=np.float32)
Y = np.linspace(-100, 60, 33, dtype=np.float32)


def test_a_slice_is_the_same_as_its_points() -> None:
    field = draw_field(3, spacing=11.0, n_components=2)
    on_slice = evaluate_on_slice(field, X, Y, 7.3)
    points = np.stack(np.meshgrid(X, Y, [7.3], indexing="ij"), axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(on_slice.reshape(2, -1), evaluate_at(field, points), atol=1e-4)


def test_constant_control_points_give_a_constant() -> None:
    """B-splines add up to 1 everywhere, outside of the box too."""
    field = draw_field(0, spacing=20.0)
    flat = SmoothField(np.full_like(field.control, 2.5), 20.0)
    far = np.linspace(-400, 400, 50, dtype=np.float32)
    np.testing.assert_allclose(evaluate_on_slice(flat, far, Y, -300.0), 2.5, rtol=1e-5)


def test_zero_mean_and_unit_sd() -> None:
    values = np.concatenate(
        [evaluate_on_slice(draw_field(seed, spacing=9.0), X, Y, z) for seed in range(6) for z in (-40, 0, 40)]
    )
    assert abs(values.mean()) < 0.05
    assert values.std() == pytest.approx(1.0, abs=0.06)


def test_correlation_falls_with_the_spacing() -> None:
    x = np.arange(-60, 60, 2, dtype=np.float32)
    for spacing in (8.0, 16.0):
        pairs = [evaluate_on_slice(draw_field(s, spacing=spacing), x, Y, 0.0)[0] for s in range(8)]
        lag = int(1.2 * spacing / 2)
        correlation = np.mean([np.corrcoef(p[:-lag].ravel(), p[lag:].ravel())[0, 1] for p in pairs])
        assert 0.25 < correlation < 0.6


def test_same_seed_same_field() -> None:
    a, b, c = (evaluate_on_slice(draw_field(seed, spacing=12.0), X, Y, 0.0) for seed in (5, 5, 6))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.5


def test_the_sum_of_two_fields_is_the_sum_of_their_values() -> None:
    fine, coarse = draw_field(1, spacing=13.0), draw_field(2, spacing=60.0)
    both = add_fields(fine, coarse, weights=(0.8, 3.0))
    wanted = 0.8 * evaluate_on_slice(fine, X, Y, 5.0) + 3.0 * evaluate_on_slice(coarse, X, Y, 5.0)
    error = evaluate_on_slice(both, X, Y, 5.0) - wanted
    assert error.std() < 0.05 * 3.0
