"""CaPTk's maps against a plain voxel-by-voxel transcription, and the corners of its arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest

from perfmap.errors import InputError
from perfmap.physics.captk import brightest_level, captk_maps, captk_windows, round_half_away

F = np.float32


def c_round(value: float) -> float:
    return math.copysign(math.floor(abs(value) + 0.5), value)


def series(seed: int = 0, shape: tuple[int, int, int] = (9, 8, 3), n_times: int = 45) -> np.ndarray:
    """Integer intensities with a bolus around volume 18, some background, some voxels at the mask's edge."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(100, 900, (*shape, 1))
    since = np.maximum(np.arange(n_times) - 13, 0)
    bolus = (since / 5) ** 3 * np.exp(3 * (1 - since / 5)) + 0.2 * (since > 8)
    signal = level * np.exp(-rng.uniform(0.05, 0.9, (*shape, 1)) * bolus) + rng.normal(
        0, 9, (*shape, n_times)
    )
    signal[:2] = rng.uniform(0, 8, (2, *shape[1:], n_times))
    signal = np.round(np.maximum(signal, 0))
    signal[3, 0, 0, 6], signal[3, 1, 0, 6], signal[3, 2, 0, 6] = 29, 30, 31
    signal[4, 0, 0] = 0
    return signal.astype(F)


def plain_transcription(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ap-rCBV, PSR and PH, one voxel at a time in the order of the loops, float32 where an image stores."""
    n_times = signal.shape[3]
    end, first_late, last_late = (int(n_times * part / 100) for part in (20, 66, 88))
    psr, ph, volume = (np.zeros(signal.shape[:3], dtype=F) for _ in range(3))
    delta, mask = np.zeros_like(signal), signal[..., 6].copy()
    for x in np.ndindex(signal.shape[:3]):
        early = sum((float(s) for s in signal[x][: end + 1]), 0.0) / (end + 1)
        late = sum((float(s) for s in signal[x][first_late : last_late + 1]), 0.0) / (
            last_late - first_late + 1
        )
        a, b, c = F(early), signal[x].min(), F(late)
        value = F(F(c - b) / F(a - b) * F(255)) if a != b else F(0)
        psr[x] = F(c_round(float(value))) if value <= 255 else F(255)
        ph[x] = abs(a - b)
        divisor = F(float(F(c_round(early))) + 2.2204e-16)
        for t in range(n_times):
            q = min(F(signal[x][t] / divisor), F(1))
            delta[x][t] = F(-float(F(math.log(float(q)))) / 0.05) if q != 0 else F(0)
        if mask[x] < 30:
            mask[x] = 0
    inside = [x for x in np.ndindex(signal.shape[:3]) if mask[x] > 30]
    mean = [max(sum(float(delta[x][t]) for x in inside) / len(inside), 0.0) for t in range(n_times)]
    peak = max(range(n_times), key=lambda t: (mean[t], -t))
    start = min(range(peak + 1), key=lambda t: (mean[t], t))
    lowest = min(mean[peak:])
    stop = next(t for t in range(peak, n_times) if mean[t] < lowest + 0.5)
    sums = {}
    for x in np.ndindex(signal.shape[:3]):
        sums[x] = sum((float(d) for d in delta[x][start : stop + 1]), 0.0) if mask[x] != 0 else 0.0
    ranked = sorted(sums.values())
    top = ranked.index(max(ranked))
    white = c_round(ranked[int(c_round(top - 0.001 * top))])
    for x, value in sums.items():
        volume[x] = F(float(F(F(value) * F(255))) / white)
    return volume, psr, ph


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_the_last_bit(seed: int) -> None:
    signal = series(seed)
    mean = signal[..., :10].mean(axis=-1, dtype=float)
    assert ((mean % 2 == 0.5) & (mean > 30)).any(), "no voxel on which rounding half to even would differ"
    found = captk_maps(signal)
    for name, expected in zip(("ap_rcbv", "psr", "ph"), plain_transcription(signal), strict=True):
        np.testing.assert_array_equal(getattr(found, name), expected, err_msg=name)


def test_halves_go_away_from_zero() -> None:
    np.testing.assert_array_equal(round_half_away([0.5, 1.5, 2.5, -0.5, -2.5, 2.4]), [1, 2, 3, -1, -3, 2])


@pytest.mark.parametrize(("n_times", "ends"), [(45, (9, 29, 39)), (40, (8, 26, 35)), (50, (10, 33, 44))])
def test_windows(n_times: int, ends: tuple[int, int, int]) -> None:
    windows = captk_windows(n_times)
    assert (windows.baseline_end, windows.recovery_start, windows.recovery_end) == ends


def test_the_mask_starts_at_thirty() -> None:
    volume = captk_maps(series()).ap_rcbv
    assert volume[3, 0, 0] == 0
    assert volume[3, 1, 0] != 0
    assert volume[3, 2, 0] != 0
    assert not volume[:2].any()


def test_constant_voxels_have_no_recovery() -> None:
    signal = series()
    signal[5, 5, 1] = 200
    found = captk_maps(signal)
    assert found.psr[5, 5, 1] == found.ph[5, 5, 1] == found.ap_rcbv[5, 5, 1] == 0


def test_overshoot_is_cut_at_full_recovery() -> None:
    signal = series()
    signal[6, 6, 1, 25:] = 5000
    assert captk_maps(signal).psr[6, 6, 1] == 255


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda s: s - 50, "negative"),
        (lambda s: np.roll(s, -12, axis=-1), "lowest at volume"),
        (lambda s: np.roll(s, 14, axis=-1), "lowest at volume"),
        (lambda s: s[..., :6], "more than 6 volumes"),
        (lambda s: s / 40, "brighter than 30"),
    ],
)
def test_what_captk_itself_would_refuse(change: object, seen: str) -> None:
    with pytest.raises(InputError, match=seen):
        captk_maps(change(series()))  # type: ignore[operator]


def test_the_brightest_level_is_that_of_every_map_and_grows_with_it() -> None:
    assert brightest_level(np.arange(1001.0)) == 999.0
    assert brightest_level(3.0 * np.arange(1001.0)[::-1].reshape(7, 11, 13)) == 2997.0
    volume = captk_maps(series(shape=(30, 30, 4))).ap_rcbv
    assert brightest_level(volume) == pytest.approx(255.0, rel=0.01)  # CaPTk rounds what it divides by
