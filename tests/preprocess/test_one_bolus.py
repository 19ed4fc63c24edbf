"""A series with a preload gives the map of the bolus behind it, as a series without the preload does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perfmap.engine.conventional import conventional
from perfmap.engine.conventional_config import make_config
from perfmap.engine.predict import PredictConfig, predict
from perfmap.errors import InputError
from perfmap.models.checkpoint import load_checkpoint
from perfmap.preprocess.one_bolus import one_bolus
from perfmap.series import Series
from tests.heads import head_series
from tests.studies import save_small_model

SIZE = (48, 60, 4)


@pytest.fixture(scope="module")
def single() -> Series:
    return head_series(shape=SIZE)[0]


@pytest.fixture(scope="module")
def double(single: Series) -> Series:
    """Half a dose, whose tissue curves differ from the second's, and then the series without it."""
    preload = head_series(shape=SIZE, seed=4, arrival=15.0, n_times=40)[0].signal
    level = preload[..., :6].mean(axis=-1, keepdims=True)
    half = level * np.sqrt(preload / level)
    return replace(single, signal=np.concatenate([half, single.signal], axis=-1).astype(np.float32))


def test_a_series_with_one_bolus_is_handed_on_untouched(single: Series) -> None:
    part = one_bolus(single)
    assert part.series is single
    assert part.notes == ()
    assert part.described() is None
    assert one_bolus(single, 1).series is single


def test_the_conventional_map_of_the_last_pass_is_that_without_the_preload(
    single: Series, double: Series
) -> None:
    config = make_config(method="firstpass", maps=("nrcbv",))
    alone, both = conventional(single, config), conventional(double, config)
    inside = alone.brain.mask & both.brain.mask
    assert inside.sum() > 0.98 * alone.brain.mask.sum()
    one, two = alone.maps["nrcbv"].array[inside], both.maps["nrcbv"].array[inside]
    # Noise apart, since one baseline is longer than the other: 3 % for the typical voxel, 1 % for the scale.
    assert np.median(np.abs(two / one - 1)) < 0.03
    assert two.mean() == pytest.approx(one.mean(), rel=0.01)
    assert "bolus 2" in both.notes[0]
    assert both.boluses is not None
    assert both.boluses["read"] == 2


def test_the_network_reads_the_last_pass_or_the_one_asked_for(
    single: Series, double: Series, tmp_path_factory: pytest.TempPathFactory
) -> None:
    checkpoint = load_checkpoint(save_small_model(tmp_path_factory.mktemp("model") / "small"))
    settings = {"device": "cpu", "motion_correction": "off"}
    alone = predict(single, checkpoint, PredictConfig(**settings))
    last = predict(double, checkpoint, PredictConfig(**settings))
    first = predict(double, checkpoint, PredictConfig(**settings, bolus=1))
    inside = alone.prepared.mask & last.prepared.mask
    assert last.prepared.scale == pytest.approx(alone.prepared.scale, rel=0.02)
    assert first.prepared.scale == pytest.approx(alone.prepared.scale / 2, rel=0.1)
    one, two = (found.prepared.first_pass[inside] for found in (alone, last))
    assert np.median(np.abs(two / one - 1)) < 0.03
    assert last.maps["nrcbv"].shape == double.signal.shape[:3]
    assert "2 boluses" in last.notes[0]
    assert "--bolus" not in first.notes[0]
    assert (last.boluses or {})["read"] == 2
    assert (first.boluses or {})["read"] == 1


def test_asked_for_or_not_one_bolus_gives_the_same_bits(
    single: Series, tmp_path_factory: pytest.TempPathFactory
) -> None:
    checkpoint = load_checkpoint(save_small_model(tmp_path_factory.mktemp("model") / "small"))
    maps = [
        predict(single, checkpoint, PredictConfig(device="cpu", bolus=number)).maps["nrcbv"].array
        for number in (None, 1)
    ]
    assert np.array_equal(*maps)


def test_a_bolus_that_is_not_there_is_refused(single: Series, double: Series) -> None:
    for series, number, seen in ((single, 2, "1 bolus "), (double, 3, "2 boluses")):
        with pytest.raises(InputError, match=seen):
            one_bolus(series, number)
