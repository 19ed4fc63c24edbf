"""The evidence measures what it says: known answers for its own rulers, and a page that admits what is missed."""

from __future__ import annotations

import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import erf

from benchmarks.evidence import resolution
from benchmarks.evidence.in_vivo import CAP, capped_cv
from benchmarks.evidence.methods import Scene, Setup, _shuffle, blurred, made_from, painted
from benchmarks.evidence.page import caught, summary
from benchmarks.evidence.paper import best_factor
from benchmarks.evidence.run import Figure, Result, Run, Table, plain, restored
from benchmarks.evidence.store import Code, digest_of, kept
from benchmarks.evidence.subjects import drawn, slab, sphere, white_places, with_subject, without_leakage
from perfmap.models import DEFAULT_MODEL
from perfmap.models.checkpoint import find_checkpoint, read_card
from perfmap.phantom.case import CaseParameters, change_case, true_maps
from perfmap.phantom.priors import LABELS
from perfmap.phantom.subject import build_subject


@pytest.fixture(scope="module")
def healthy() -> CaseParameters:
    """A healthy subject on two slices through the centrum semiovale."""
    case = drawn("resolution", 0, regime="no-lesion", n_slices=2)
    return case.model_copy(update={"geometry": slab(n_slices=2, height=30.0)})


def test_balls_have_the_blood_volume_that_they_are_given(healthy: CaseParameters) -> None:
    (place,) = white_places(healthy, 1, apart=0.0)
    white = healthy.subject.tissues["wm"]
    ball = sphere("low_grade", white, place, diameter=12.0, cbv=5 * white.cbv)
    subject = build_subject(with_subject(healthy, lesions=(ball,)).subject, healthy.geometry)
    truth = true_maps(subject)
    inside = truth["labels"] == LABELS["low_grade"]
    assert inside.sum() > 10
    core = truth["cbv"][inside].max()
    assert core == pytest.approx(5 * white.cbv, rel=1e-5)


def test_an_intact_barrier_leaves_everything_but_ktrans(healthy: CaseParameters) -> None:
    leaky = drawn("leakage", 0, regime="t1-leak", n_slices=2)
    tight = without_leakage(leaky)
    assert any(part.ktrans > 0 for lesion in leaky.subject.lesions for part in lesion.compartments.values())
    for before, after in zip(leaky.subject.lesions, tight.subject.lesions, strict=True):
        for name, part in after.compartments.items():
            assert part == before.compartments[name].model_copy(update={"ktrans": 0.0})


def test_tilting_a_slab_keeps_its_middle_and_its_voxels() -> None:
    flat, tilted = slab(n_slices=5), slab(n_slices=5, tilt=20.0)
    middle = [*((np.asarray(flat.shape) - 1) / 2), 1]
    assert tilted.voxel_size == pytest.approx(flat.voxel_size)
    assert tilted.matrix @ middle == pytest.approx(flat.matrix @ middle)
    normal = tilted.matrix[:3, 2] / tilted.voxel_size[2]
    assert np.degrees(np.arccos(normal[2])) == pytest.approx(20.0)


def test_shuffled_voxels_take_their_truth_along() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=(6, 5, 2)).astype(np.uint8)
    truth = {"truth_mask": labels > 0, "truth_labels": labels, "truth_nrcbv": labels * 2.0}
    signal = labels[..., None] * np.array([1.0, 10.0], dtype=np.float32)
    mixed, moved = _shuffle(signal, truth)
    assert not np.array_equal(moved["truth_labels"], labels)
    assert np.array_equal(moved["truth_mask"], truth["truth_mask"])
    assert np.array_equal(mixed[..., 1], moved["truth_labels"] * 10.0)
    assert np.array_equal(moved["truth_nrcbv"], moved["truth_labels"] * 2.0)


@pytest.mark.parametrize("sigma", [0.8, 2.0])
def test_edge_width_of_a_known_edge(healthy: CaseParameters, sigma: float) -> None:
    nx, ny, _ = healthy.geometry.shape
    place = tuple(float(v) for v in healthy.geometry.matrix[:3] @ [60.3, 70.6, 1, 1])
    x, y = np.meshgrid(np.arange(nx) - 60.3, np.arange(ny) - 70.6, indexing="ij")
    r = 1.8 * np.hypot(x, y)
    edge = 2 * (1 - erf((r - resolution.EDGE / 2) / (np.sqrt(2) * sigma)))
    response = np.stack([np.zeros_like(edge), edge], axis=-1)
    width = resolution.edge_width(response, healthy, [(place[0], place[1], place[2])])
    assert width == pytest.approx(2.3548 * sigma, rel=1e-3)


def test_a_blur_widens_the_edge_as_much_as_it_blurs(healthy: CaseParameters) -> None:
    nx, ny, _ = healthy.geometry.shape
    place = tuple(float(v) for v in healthy.geometry.matrix[:3] @ [60.0, 70.0, 0, 1])
    x, y = np.meshgrid(np.arange(nx) - 60.0, np.arange(ny) - 70.0, indexing="ij")
    edge = 1 - erf((1.8 * np.hypot(x, y) - resolution.EDGE / 2) / (np.sqrt(2) * 1.0))
    sharp = np.stack([edge, edge], axis=-1)
    places = [(place[0], place[1], place[2])]
    widths = [resolution.edge_width(image, healthy, places) for image in (sharp, blurred(sharp, sigma=0.6))]
    assert widths[1] ** 2 - widths[0] ** 2 == pytest.approx((2.3548 * 0.6 * 1.8) ** 2, rel=0.1)


def test_paint_knows_the_tissue_and_nothing_else() -> None:
    labels = np.array([LABELS[name] for name in ("background", "wm", "gm", "enhancing")])
    values = painted(labels)
    assert values[:3] == pytest.approx([0.0, 1.0, 2.0])
    assert values[3] > 3


def test_voxel_cv_of_noise_that_is_known() -> None:
    rng = np.random.default_rng(1)
    one, two = rng.normal(1.0, 0.1, size=(2, 200_000))
    assert capped_cv(one, two) == pytest.approx(0.1, rel=0.01)
    assert capped_cv(np.array([-1.0]), np.array([0.5])) == CAP


def test_what_was_kept_is_not_made_again(tmp_path: Path) -> None:
    calls = []

    def make():
        calls.append(1)
        return {"map": np.arange(3.0)}, {"warned": True}

    for packed in (True, False):
        name = digest_of("a", str(packed))
        first, second = kept(tmp_path, name, make, packed=packed), kept(tmp_path, name, make, packed=packed)
        assert np.array_equal(first[0]["map"], second[0]["map"])
        assert first[1] == second[1] == {"warned": True}
    assert len(calls) == 2
    kept(None, "x", make, packed=True)
    assert len(calls) == 3


def test_a_scene_is_named_by_all_that_makes_it(healthy: CaseParameters) -> None:
    code, other = Code("a", "b", "c"), Code("x", "b", "c")
    noisier = change_case(healthy, {"artefacts.snr": 30.0})
    names = {Scene(healthy).name(code), Scene(healthy, shuffled=True).name(code)}
    names |= {Scene(noisier).name(code), Scene(healthy).name(other)}
    assert len(names) == 4
    assert Scene(healthy).name(code) in names


LOW = Figure("low", "error", ".1f", most=5.0)
HIGH = Figure("high", "agreement", ".2f", least=0.9)


def groups() -> list[tuple[types.ModuleType, Result]]:
    module = types.ModuleType("row")
    module.TITLE, module.FIGURES, module.INTRO = "Row", (LOW, HIGH), "What was done."
    values = {"net": {"low": 4.0, "high": 0.5}, "paint": {"low": 9.0, "high": 0.95}, "blur": {"low": 1.0}}
    return [(module, Result(values))]


def run() -> Run:
    setup = Setup(models=(("net", "0"),), conventional=(), store=None, code=Code("", "", ""))
    return Run(True, 1.0, setup, ap_models=(), default="net", pool=None, in_vivo=None, results=Path())


def test_the_page_says_met_and_missed() -> None:
    low, high = [line for line in summary(groups(), run()).splitlines() if line.startswith("| Row")]
    assert "| ≤ 5 | 4.0 | met |" in low
    assert "9.0 ✗" in low
    assert "| ≥ 0.9 | 0.50 | **missed** |" in high


def test_a_target_that_holds_only_with_another_row_is_missed_where_that_is() -> None:
    steady = types.ModuleType("steady")
    steady.TITLE, steady.INTRO = "Steady", "What was done."
    steady.FIGURES = (Figure("cv", "steadiness", ".1f", most=0.5, holding="Row"),)
    calm = Result({name: {"cv": 0.4} for name in ("net", "paint", "blur")})
    both = [*groups(), (steady, calm)]
    (line,) = [line for line in summary(both, run()).splitlines() if line.startswith("| Steady")]
    assert "| 0.4 | **missed** |" in line  # the net misses one of the two targets of the row
    assert line.endswith("| 0.4 ✗ | 0.4 |")  # so does `paint`, and `blur` does not
    assert "Steady (steadiness)" in caught(both).splitlines()[2]
    (alone,) = [line for line in summary([(steady, calm)], run()).splitlines() if line.startswith("| Steady")]
    assert "| 0.4 | met |" in alone


def test_a_row_that_is_meant_for_another_network_names_it() -> None:
    (module, result), *_ = groups()
    module.JUDGED = "other"
    other = replace(result, figures={**result.figures, "other": {"low": 6.0, "high": 0.92}})
    low, high = [line for line in summary([(module, other)], run()).splitlines() if line.startswith("| Row")]
    assert "| 6.0 (`other`) | **missed** |" in low
    assert "| 0.92 (`other`) | met |" in high


def test_the_best_factor_undoes_a_scale_of_the_patient_and_of_each_slice() -> None:
    wanted = np.random.default_rng(3).uniform(1, 5, (6, 5, 3))
    assert np.allclose(wanted / 7 * best_factor(wanted / 7, wanted), wanted)
    uneven = wanted * np.array([0.5, 2.0, 3.0])
    assert np.allclose(uneven * best_factor(uneven, wanted, axis=(0, 1)), wanted)
    assert best_factor(np.zeros((2, 2, 1)), np.ones((2, 2, 1))) == 0  # an empty map stays empty


def test_the_page_lists_what_catches_a_cheat() -> None:
    lines = caught(groups()).splitlines()
    assert any(line.startswith("- `paint` misses 1 targets in 1 rows: Row (error)") for line in lines)
    assert any(line.startswith("- `blur` misses 0 targets") for line in lines)


def test_a_value_that_is_none_is_neither_met_nor_missed() -> None:
    assert LOW.met(None) is None
    assert LOW.met(float("nan")) is None
    assert Figure("x", "stated").met(3.0) is None


def test_results_survive_being_written_down() -> None:
    result = Result({"net": {"a": 1.0}}, [Table("t", {"z": {"net": 2.0}, "a": {"net": 1.0}}, ".1f")], ["n."])
    again = restored(plain(result))
    assert again == result
    assert list(again.tables[0].rows) == ["z", "a"]


@pytest.mark.parametrize(("share", "wanted"), [(1.0, 40), (0.5, 20), (0.01, 6)])
def test_a_share_of_a_run_lies_between_a_quick_and_a_full_one(share: float, wanted: int) -> None:
    taken = replace(run(), quick=False, share=share)
    assert taken.few(40, 6) == wanted
    assert taken.few(1, 3) == 1  # every third of a list in quick runs: all of it here


def test_maps_are_made_anew_when_weights_or_the_reading_of_the_output_change() -> None:
    card = read_card(find_checkpoint(DEFAULT_MODEL))
    read_as = card.outputs.uncertainty
    assert read_as is not None
    wider = read_as.model_copy(update={"sd_factor": 2 * read_as.sd_factor})
    others = [
        card.model_copy(update={"sha256": "0" * 64}),
        card.model_copy(update={"outputs": card.outputs.model_copy(update={"uncertainty": wider})}),
    ]
    assert len({made_from(each) for each in (card, *others)}) == 3
    assert made_from(card.model_copy(update={"name": "another"})) == made_from(card)
