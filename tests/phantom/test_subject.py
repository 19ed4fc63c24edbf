"""Subjects: replay bit for bit, shares that add up, truth that does not follow looks."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from perfmap.errors import ConfigError
from perfmap.phantom.drawing import DrawOptions, SubjectParameters, draw_subject, options_of
from perfmap.phantom.geometry import Geometry, axial_geometry, draw_stack
from perfmap.phantom.priors import HEAD_CLASSES, LABELS, LESION_CLASSES
from perfmap.phantom.priors.subject import SUBJECT
from perfmap.phantom.subject import Subject, build_subject, true_cbv
from perfmap.phantom.tissue import Rows

SMALL = axial_geometry((64, 72, 3), (3.2, 3.2, 9.0), centre=(0.0, -18.0, 22.0), slice_thickness=5.0)
TABLE = DrawOptions(with_skull=False, n_lesions=0)
TRAINING = options_of("training")


def build(options: DrawOptions, *, seed: int = 0, geometry: Geometry = SMALL, field: float = 3.0) -> Subject:
    rng = np.random.default_rng(seed)
    return build_subject(
        draw_subject(rng, options=options, geometry=geometry, field_strength=field), geometry
    )


def map_of(subject: Subject, weights: NDArray[np.floating]) -> NDArray[np.float64]:
    size = int(np.prod(subject.shape))
    return np.bincount(subject.rows.voxel, weights=weights.astype(np.float64), minlength=size).reshape(
        subject.shape
    )


def share_of(subject: Subject, *names: str) -> NDArray[np.float64]:
    chosen = np.isin(subject.rows.tissue, [LABELS[name] for name in names])
    return map_of(subject, subject.rows.fraction * chosen)


@pytest.fixture(scope="module")
def healthy() -> Subject:
    return build(TABLE)


@pytest.fixture(scope="module")
def records() -> list[SubjectParameters]:
    rng = np.random.default_rng(7)
    return [draw_subject(rng, options=TRAINING, geometry=SMALL) for _ in range(250)]


def test_a_subject_is_replayed_from_json_bit_for_bit() -> None:
    options = TRAINING.model_copy(update={"n_lesions": 2, "with_skull": True, "patchwork_share": 1.0})
    record = draw_subject(np.random.default_rng(5), options=options, geometry=SMALL)
    first = build_subject(record, SMALL)
    again = build_subject(SubjectParameters.model_validate_json(record.model_dump_json()), SMALL)
    for field in fields(Rows):
        assert getattr(first.rows, field.name).tobytes() == getattr(again.rows, field.name).tobytes()
    for name in ("labels", "brain_mask", "nawm"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert not np.array_equal(first.labels, build(options, seed=6).labels)


def test_rows_have_the_promised_types(healthy: Subject) -> None:
    kinds = {"voxel": np.int32, "tissue": np.int8}
    n = len(healthy.rows.voxel)
    for field in fields(Rows):
        column = getattr(healthy.rows, field.name)
        assert column.shape == (n,)
        assert column.dtype == kinds.get(field.name, np.float32)
        assert np.isfinite(column).all()
    assert healthy.rows.voxel.min() >= 0
    assert healthy.rows.voxel.max() < np.prod(healthy.shape)


def test_compartments_of_a_brain_voxel_add_up_to_one(healthy: Subject) -> None:
    total = map_of(healthy, healthy.rows.fraction)
    deep = healthy.brain_mask & (share_of(healthy, "gm", "wm", "deep_gm") > 0.5)
    np.testing.assert_allclose(np.median(total[deep]), 1.0, atol=1e-5)
    assert total.max() <= 1.0 + 1e-4
    assert healthy.rows.fraction.min() > 0


def test_cbv_of_a_voxel_is_blood_plus_the_tissue_around_it(healthy: Subject) -> None:
    blood = share_of(healthy, "vessel_artery", "vessel_vein")
    vessel = np.isin(healthy.rows.tissue, [LABELS["vessel_artery"], LABELS["vessel_vein"]])
    assert (healthy.rows.cbv[vessel] == 100.0).all()
    tissue = map_of(healthy, healthy.rows.fraction * healthy.rows.cbv * ~vessel)
    np.testing.assert_allclose(true_cbv(healthy), 100 * blood + tissue, rtol=1e-5)
    assert (tissue <= (1 - blood) * 15 + 1e-6).all()


def test_a_vessel_is_called_one_from_eight_per_cent(healthy: Subject) -> None:
    blood = np.maximum(share_of(healthy, "vessel_artery"), share_of(healthy, "vessel_vein"))
    called = np.isin(healthy.labels, [LABELS["vessel_artery"], LABELS["vessel_vein"]])
    np.testing.assert_array_equal(called, blood > 0.08)


def test_normal_white_matter_is_pure_and_its_cbv_is_white() -> None:
    record = draw_subject(np.random.default_rng(1), options=TABLE, geometry=SMALL, field_strength=3.0)
    subject = build_subject(record, SMALL)
    assert subject.nawm.sum() > 50
    assert share_of(subject, "wm")[subject.nawm].min() > 0.9
    assert true_cbv(subject)[subject.nawm].mean() == pytest.approx(record.tissues["wm"].cbv, rel=0.2)


@pytest.mark.parametrize("kind", ["glioblastoma", "infarct"])
def test_normal_white_matter_lies_outside_of_lesions(kind: str) -> None:
    options = DrawOptions(with_skull=False, n_lesions=1, lesion_kinds=(kind,), lesion_radius=25.0)
    subject = build(options, seed=3)
    lesion = share_of(subject, *LESION_CLASSES)
    assert lesion.sum() > 20
    assert lesion[subject.nawm].max() == 0


@pytest.mark.parametrize("height", [-50.0, -30.0, 68.0])
def test_one_slice_at_any_height_has_normal_white_matter(height: float) -> None:
    geometry = axial_geometry((48, 56, 1), (4.0, 4.0, 4.0), centre=(0.0, -18.0, height))
    subject = build(TRAINING, seed=2, geometry=geometry)
    assert subject.nawm.any()
    assert not (subject.nawm & ~subject.brain_mask).any()


def test_slices_beside_the_brain_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"miss the brain; put them near \(0, -18, 10\) mm"):
        build(TABLE, geometry=axial_geometry((16, 16, 2), (4.0, 4.0, 4.0), centre=(0.0, 0.0, 200.0)))


def test_a_slice_is_the_same_alone_and_in_a_stack() -> None:
    """Anatomy lives in millimetres: cutting the stack changes no tissue."""
    options = DrawOptions(with_skull=False, n_lesions=1, lesion_kinds=("glioblastoma",))
    record = draw_subject(np.random.default_rng(4), options=options, geometry=SMALL)
    whole = build_subject(record, SMALL)
    alone = build_subject(
        record, axial_geometry((64, 72, 1), (3.2, 3.2, 9.0), centre=(0.0, -18.0, 13.0), slice_thickness=5.0)
    )
    np.testing.assert_array_equal(whole.brain_mask[..., 0], alone.brain_mask[..., 0])
    for name in ("gm", "wm", "csf", "enhancing"):
        difference = share_of(whole, name)[..., 0] - share_of(alone, name)[..., 0]
        assert np.mean(np.abs(difference) > 0.15) < 0.01


def test_thick_slices_average_what_thin_slices_show() -> None:
    record = draw_subject(np.random.default_rng(4), options=TABLE, geometry=SMALL)
    thick = build_subject(record, axial_geometry((64, 72, 1), (3.2, 3.2, 6.0), centre=(0.0, -18.0, 20.0)))
    thin = build_subject(record, axial_geometry((64, 72, 3), (3.2, 3.2, 2.0), centre=(0.0, -18.0, 20.0)))
    for name in ("gm", "wm", "csf"):
        difference = share_of(thick, name)[..., 0] - share_of(thin, name).mean(axis=2)
        assert np.sqrt(np.mean(difference**2)) < 0.03


def test_head_shells_lie_around_the_same_brain() -> None:
    record = draw_subject(np.random.default_rng(8), options=TABLE.model_copy(update={"with_skull": True}))
    low = axial_geometry((80, 90, 2), (3.0, 3.0, 40.0), centre=(0.0, -10.0, -18.0), slice_thickness=4.0)
    with_skull = build_subject(record, low)
    stripped = build_subject(record.model_copy(update={"head": None}), low)
    present = set(np.unique(with_skull.labels))
    assert {LABELS[name] for name in ("skull", "scalp", "muscle")} <= present
    assert not {LABELS[name] for name in HEAD_CLASSES} & set(np.unique(stripped.labels))
    both = np.logical_and(with_skull.brain_mask, stripped.brain_mask).sum()
    assert 2 * both / (with_skull.brain_mask.sum() + stripped.brain_mask.sum()) > 0.98
    assert not np.isin(
        with_skull.labels[with_skull.brain_mask], [LABELS[name] for name in HEAD_CLASSES]
    ).any()


def test_bone_is_dark_and_eyes_are_full_of_water() -> None:
    record = draw_subject(np.random.default_rng(8), options=TABLE.model_copy(update={"with_skull": True}))
    tissues = record.tissues
    assert tissues["skull"].proton_density <= 0.2
    assert 0.035 <= tissues["skull"].t2star <= 0.045
    assert tissues["eye"].cbv == 0
    assert tissues["eye"].t1 > 3


def test_the_same_subject_at_both_fields_differs_in_relaxation_only() -> None:
    high, low = (
        draw_subject(np.random.default_rng(9), options=TRAINING, geometry=SMALL, field_strength=field)
        for field in (3.0, 1.5)
    )
    assert high.shape == low.shape
    assert high.variation == low.variation
    for name, tissue in high.tissues.items():
        other = low.tissues[name]
        times = {"t1", "t2star", "t2"}
        assert tissue.model_dump(exclude=times) == other.model_dump(exclude=times)
    assert low.tissues["gm"].t1 < 0.8 * high.tissues["gm"].t1
    assert low.tissues["gm"].t2star > 1.1 * high.tissues["gm"].t2star


def test_an_unknown_field_strength_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"field strength is 7.0 T, wanted one of \(1.5, 3.0\)"):
        draw_subject(np.random.default_rng(0), options=TABLE, field_strength=7.0)


# --- Decorrelation ----------------------------------------------------------------------------------------


def test_lesion_cbv_tells_nothing_about_looks(records: list[SubjectParameters]) -> None:
    """Training: no rank correlation of nrCBV with size, T1, T2*, density or leakage of the compartment."""
    table = [
        (c.cbv / r.tissues["wm"].cbv, lesion.radius, c.t1, c.t2star, c.proton_density, c.ktrans)
        for r in records
        for lesion in r.lesions
        for name, c in lesion.compartments.items()
        if name not in ("necrosis",) and ":" not in name
    ]
    assert len(table) > 300
    nrcbv, *looks = np.array(table).T
    assert nrcbv.min() >= 0.3 - 1e-9
    assert nrcbv.max() <= 12 + 1e-9
    assert np.median(nrcbv) == pytest.approx(np.sqrt(0.3 * 12), rel=0.25)
    for look in looks:
        assert abs(spearmanr(nrcbv, look).statistic) < 0.15


def test_small_foci_lie_in_training_subjects_with_lesions_alone(records: list[SubjectParameters]) -> None:
    foci = [[one for one in r.lesions if one.kind == "sphere"] for r in records]
    assert any(len(found) == 6 for found in foci)
    assert all(2.0 <= one.radius <= 7.0 for found in foci for one in found)
    assert not any(found and len(found) == len(r.lesions) for found, r in zip(foci, records, strict=True))
    for regime in ("plain", "linearity", "no-lesion"):
        record = draw_subject(np.random.default_rng(1), options=options_of(regime))
        assert not any(one.kind == "sphere" for one in record.lesions)


def test_no_class_betrays_its_cbv(records: list[SubjectParameters]) -> None:
    """Knowing the class leaves at least 90 % of the variance of log nrCBV unexplained."""
    by_class: dict[str, list[float]] = {}
    for record in records:
        for lesion in record.lesions:
            for name, c in lesion.compartments.items():
                if ":" not in name and name != "necrosis":
                    by_class.setdefault(name, []).append(np.log(c.cbv / record.tissues["wm"].cbv))
    everything = np.concatenate([np.asarray(v) for v in by_class.values()])
    within = sum(len(v) * np.var(v) for v in by_class.values()) / len(everything)
    assert within > 0.9 * np.var(everything)


def test_grey_to_white_is_anything_from_1_2_to_3(records: list[SubjectParameters]) -> None:
    ratio = np.array([r.tissues["gm"].cbv / r.tissues["wm"].cbv for r in records])
    assert ratio.min() >= SUBJECT["gm_wm_ratio"].low - 1e-9
    assert ratio.max() <= SUBJECT["gm_wm_ratio"].high + 1e-9
    counts, _ = np.histogram(ratio, bins=6, range=(1.2, 3.0))
    assert counts.min() > 0.4 * len(records) / 6


def test_shares_of_training_subjects(records: list[SubjectParameters]) -> None:
    """About a fifth without lesions, a fifth with CBV that follows no anatomy, half with a skull."""
    assert np.mean([not r.lesions for r in records]) == pytest.approx(0.2, abs=0.08)
    assert np.mean([r.patchwork is not None for r in records]) == pytest.approx(0.2, abs=0.08)
    assert np.mean([r.head is not None for r in records]) == pytest.approx(0.5, abs=0.1)
    assert np.mean([r.field_strength == 3.0 for r in records]) == pytest.approx(0.65, abs=0.1)


def test_relaxivity_varies_between_classes_in_training_only(records: list[SubjectParameters]) -> None:
    factors = np.array([[r.tissues[n].r2v_factor for n in ("gm", "wm", "deep_gm")] for r in records])
    assert factors.std() == pytest.approx(0.05, abs=0.01)
    assert factors.mean() == pytest.approx(1.0, abs=0.01)
    for regime in ("plain", "linearity", "stroke", "treatment-effect", "ood-te"):
        record = draw_subject(np.random.default_rng(1), options=options_of(regime))
        values = [t.r2v_factor for t in record.tissues.values()]
        values += [c.r2v_factor for lesion in record.lesions for c in lesion.compartments.values()]
        assert set(values) == {1.0}


def test_patchwork_cbv_follows_no_anatomy() -> None:
    """CBV no longer rises from white to grey matter, and varies as widely within each."""
    ratios = []
    for seed in range(8):
        subject = build(TABLE.model_copy(update={"patchwork_share": 1.0}), seed=seed)
        rows = subject.rows
        means = [rows.cbv[(rows.tissue == LABELS[n]) & (rows.fraction > 0.9)].mean() for n in ("gm", "wm")]
        ratios.append(means[0] / means[1])
        white = rows.cbv[rows.tissue == LABELS["wm"]]
        assert white.std() / white.mean() > 0.1
    assert np.exp(np.mean(np.log(ratios))) == pytest.approx(1.0, abs=0.2)


# --- Options ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nrcbv", [0.0, 0.3, 2.0, 5.0])
@pytest.mark.parametrize("radius", [5.0, 10.0])
def test_a_sphere_of_known_contrast(nrcbv: float, radius: float) -> None:
    """The middle of a sphere has the asked CBV over that of normal white matter."""
    options = DrawOptions(
        with_skull=False, n_lesions=1, lesion_kinds=("sphere",), lesion_radius=radius, lesion_nrcbv=nrcbv
    )
    record = draw_subject(np.random.default_rng(11), options=options, geometry=SMALL)
    x, y, z = record.lesions[0].centre
    near = axial_geometry((24, 24, 1), (1.5, 1.5, 2.0), centre=(x, y, z))
    subject = build_subject(record.model_copy(update={"vessels": None}), near)
    i, j = np.indices((24, 24)) - 11.5
    core = np.hypot(i, j) * 1.5 < radius - 2
    wanted = nrcbv * record.tissues["wm"].cbv
    assert true_cbv(subject)[..., 0][core].mean() == pytest.approx(wanted, rel=0.05, abs=1e-6)


def test_swapped_tissue_has_more_blood_in_white_matter() -> None:
    record = draw_subject(np.random.default_rng(3), options=TABLE.model_copy(update={"swap_gm_wm": True}))
    straight = draw_subject(np.random.default_rng(3), options=TABLE)
    assert record.tissues["wm"].cbv == straight.tissues["gm"].cbv
    assert record.tissues["gm"].cbv == straight.tissues["wm"].cbv
    assert record.tissues["gm"].t1 == straight.tissues["gm"].t1


def test_a_treatment_effect_enhances_without_blood() -> None:
    for seed in range(10):
        record = draw_subject(np.random.default_rng(seed), options=options_of("treatment-effect"))
        (lesion,) = record.lesions
        rim = lesion.compartments["enhancing"]
        assert 0.3 <= rim.cbv / record.tissues["wm"].cbv <= 0.8
        assert rim.ktrans >= 0.02


def test_an_invisible_lesion_looks_like_white_matter() -> None:
    options = DrawOptions(n_lesions=1, invisible_share=1.0, decorrelated=True)
    record = draw_subject(np.random.default_rng(0), options=options)
    white = record.tissues["wm"]
    for part in record.lesions[0].compartments.values():
        assert (part.t1, part.t2star, part.proton_density, part.ktrans) == (
            white.t1,
            white.t2star,
            white.proton_density,
            0.0,
        )


def test_stroke_is_late_and_slow() -> None:
    """Delays of 3–12 s, transit times of 8–24 s, and looks of the tissue it has struck."""
    for seed in range(10):
        record = draw_subject(np.random.default_rng(seed), options=options_of("stroke"))
        (infarct,) = record.lesions
        core, penumbra = infarct.compartments["infarct_core"], infarct.compartments["penumbra"]
        assert 4 <= core.delay <= 12
        assert 3 <= penumbra.delay <= 8
        assert min(core.mtt, penumbra.mtt) >= 8
        assert core.t1 == record.tissues["gm"].t1
        assert infarct.compartments["infarct_core:wm"].t1 == record.tissues["wm"].t1


def test_named_regimes_follow_the_table() -> None:
    for seed in range(20):
        record = draw_subject(np.random.default_rng(seed), options=options_of("plain"))
        assert 1.0 <= record.tissues["wm"].cbv <= 3.0
        assert record.patchwork is None
        assert record.head is None
        for lesion in record.lesions:
            for name, low, high in (("enhancing", 3, 18), ("meningioma", 8, 20), ("oedema", 1, 3)):
                if name in lesion.compartments:
                    assert low <= lesion.compartments[name].cbv <= high


def test_lesions_lie_where_the_slices_are() -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        geometry = draw_stack(rng, n_slices=5, matrix=64)
        options = DrawOptions(with_skull=False, n_lesions=1, lesion_kinds=("glioblastoma",))
        record = draw_subject(rng, options=options, geometry=geometry)
        assert share_of(build_subject(record, geometry), *LESION_CLASSES).sum() > 1


def test_no_lesion_means_none() -> None:
    subject = build(options_of("no-lesion"))
    assert not np.isin(subject.labels, [LABELS[name] for name in LESION_CLASSES]).any()


def test_an_unknown_lesion_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="lesion class is 'tumour', wanted one of enhancing"):
        DrawOptions(lesion_kinds=("sphere",), lesion_class="tumour")


def test_a_lesion_larger_than_the_brain_is_still_placed() -> None:
    options = DrawOptions(n_lesions=1, lesion_kinds=("low_grade",), lesion_radius=90.0)
    record = draw_subject(np.random.default_rng(0), options=options, geometry=SMALL)
    assert len(record.lesions) == 1


def test_values_vary_smoothly_inside_a_class(healthy: Subject) -> None:
    """Neighbouring voxels of one class resemble each other in CBV: 90 % of the variance is smooth."""
    rows = healthy.rows
    pure = np.flatnonzero((rows.tissue == LABELS["wm"]) & (rows.fraction > 0.95))
    volume = np.full(healthy.shape, np.nan).reshape(-1)
    volume[rows.voxel[pure]] = rows.cbv[pure]
    volume = volume.reshape(healthy.shape)
    left, right = volume[:-1].ravel(), volume[1:].ravel()
    both = np.isfinite(left) & np.isfinite(right)
    assert 0.5 < np.corrcoef(left[both], right[both])[0, 1] < 0.97
