"""Brains: the warp and its inverse, tissue that adds up, and shapes that do what their numbers say."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from perfmap.errors import ConfigError
from perfmap.phantom.anatomy import (
    ShapeParameters,
    draw_shape,
    lattice,
    place,
    tissue_shares,
    to_subject,
    to_template,
    widen_ventricles,
)
from perfmap.phantom.geometry import Geometry, axial_geometry, draw_stack, native_geometry, upenn_geometry
from perfmap.phantom.template import brain_places, hull_distance, load_template, look_up
from tests.phantom.shapes import PLAIN


def shares_on(geometry: Geometry, shape: ShapeParameters) -> np.ndarray:
    """Shares of csf, gm, wm, deep_gm on whole slices, 0 outside of the brain. Shape (x, y, z, 4)."""
    placement = place(shape)
    result = np.zeros((*geometry.shape, 4), dtype=np.float32)
    for k in range(geometry.shape[2]):
        where = to_template(placement, lattice(geometry, float(k)))
        inside = hull_distance(where) < 0
        points = widen_ventricles(placement, where[inside])
        result[inside, k] = tissue_shares(look_up(points), shape, np.zeros(len(points), dtype=np.float32))
    return result


COARSE = axial_geometry((50, 60, 46), (4.0, 4.0, 4.0))
MIDDLE = axial_geometry((90, 110, 1), (2.0, 2.0, 2.0), centre=(0.0, -18.0, 12.0))


def test_the_plain_shape_is_the_template() -> None:
    plane = lattice(COARSE, 20.0)
    np.testing.assert_allclose(to_template(place(PLAIN), plane), plane.points, atol=1e-4)


def test_brain_volume_and_its_parts() -> None:
    """Adult brain with its CSF 1.4–2.0 l, grey matter more than white, in the template's large head."""
    litres = shares_on(COARSE, PLAIN).sum(axis=(0, 1, 2)) * 0.004**3 * 1000
    csf, gm, wm, deep = litres
    assert 1.4 < litres.sum() < 2.0
    assert 1.0 < (gm + deep) / wm < 2.2
    assert 0.02 < deep < 0.06
    assert 0.1 < csf < 0.5


def test_shares_are_shares() -> None:
    shares = shares_on(MIDDLE, PLAIN)
    inside = shares.sum(axis=-1) > 0
    np.testing.assert_allclose(shares[inside].sum(axis=-1), 1.0, atol=1e-5)
    assert shares.min() >= 0.0


def test_front_is_front_and_up_is_up() -> None:
    """RAS+: the cerebellum lies behind and below, the frontal lobe in front, the hemispheres mirror each other."""
    assert hull_distance(np.array([[0, -70, -35], [0, 50, 5], [0, -20, 70]], dtype=np.float32)).max() < 0
    assert hull_distance(np.array([[0, 70, -35], [0, -70, 75]], dtype=np.float32)).min() > 0
    shares = shares_on(MIDDLE, PLAIN)
    np.testing.assert_allclose(shares[::-1], shares, atol=0.35)
    ventricle = look_up(np.array([[4.0, 10.0, 8.0], [-4.0, 10.0, 8.0]], dtype=np.float32))
    assert (ventricle[:, :2].sum(axis=1) < 0.5).all()
    nuclei = look_up(np.array([[26.0, 4.0, 2.0], [-12.0, -18.0, 8.0]], dtype=np.float32))
    assert (nuclei[:, 2] > 0.9).all()


def test_look_up_is_exact_at_voxels_and_linear_between() -> None:
    template = load_template()
    voxel = np.array([90, 110, 85])
    centre = template.origin + voxel
    points = (centre + np.array([[0, 0, 0], [1, 0, 0], [0.25, 0, 0]])).astype(np.float32)
    at, beside, between = look_up(points)[:, :3]
    np.testing.assert_allclose(at, template.packed[tuple(voxel)][:3] / 255.0, atol=1e-3)
    np.testing.assert_allclose(between, 0.75 * at + 0.25 * beside, atol=1e-3)


def test_hull_distance_is_a_distance() -> None:
    """Moving 4 mm straight out of the vertex changes the distance by 4 mm."""
    z = np.arange(70.0, 100.0, 4.0)
    points = np.stack([np.full_like(z, 4.0), np.full_like(z, -20.0), z], axis=1).astype(np.float32)
    for smooth in (False, True):
        steps = np.diff(hull_distance(points, smooth=smooth))
        np.testing.assert_allclose(steps, 4.0, atol=1.5)
        assert steps.mean() == pytest.approx(4.0, abs=0.3)
    notch = np.array([[0.0, -108.0, 0.0]], dtype=np.float32)
    assert hull_distance(notch, smooth=True) <= hull_distance(notch)


@pytest.mark.parametrize("seed", range(3))
def test_to_subject_undoes_to_template(seed: int) -> None:
    placement = place(draw_shape(np.random.default_rng(seed)))
    geometry = axial_geometry((20, 24, 1), (7.0, 7.0, 5.0), centre=(0.0, -18.0, 20.0))
    plane = lattice(geometry, 0.0)
    where = widen_ventricles(placement, to_template(placement, plane).reshape(-1, 3))
    brain = hull_distance(where) < 0
    error = np.linalg.norm(to_subject(placement, where[brain]) - plane.points.reshape(-1, 3)[brain], axis=1)
    assert np.median(error) < 0.1
    assert np.percentile(error, 95) < 0.5


def test_a_rotation_turns_the_head() -> None:
    """A turn of 10° about z carries the forehead to the left by 10°."""
    placement = place(PLAIN.model_copy(update={"rotation": (0, 0, 10)}))
    front = to_subject(placement, np.array([[0.0, 60.0, 0.0]]))[0]
    np.testing.assert_allclose(
        front, [-60 * np.sin(np.deg2rad(10)), 60 * np.cos(np.deg2rad(10)), 0], atol=0.3
    )


def test_scale_enlarges() -> None:
    placement = place(PLAIN.model_copy(update={"scale": (1.1, 1.0, 0.9), "translation": (3, 0, 0)}))
    moved = to_subject(placement, np.array([[40.0, -60.0, 30.0]]))[0]
    np.testing.assert_allclose(moved, [47.0, -60.0, 27.0], atol=0.1)


def test_the_warp_bends_by_a_few_millimetres_and_never_folds() -> None:
    for seed in range(6):
        shape = draw_shape(np.random.default_rng(seed))
        where = to_template(place(shape), lattice(MIDDLE, 0.0)).astype(np.float64)
        dx, dy = np.gradient(where, 2.0, axis=(0, 1))
        assert (dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]).min() > 0.1
        bare = shape.model_copy(update={"coarse_warp": 0.0, "fine_warp": 0.0})
        bend = np.linalg.norm(where - to_template(place(bare), lattice(MIDDLE, 0.0)), axis=-1)
        assert 0.8 < bend.mean() < 8.0


def test_ventricles_grow() -> None:
    """Growth by 3 mm multiplies the CSF in the middle of the brain; the cortex stays where it was."""
    x = MIDDLE.matrix[0, 3] + 2.0 * np.arange(MIDDLE.shape[0])
    middle = np.abs(x) < 30
    narrow = shares_on(MIDDLE, PLAIN)[..., 0]
    wide = shares_on(MIDDLE, PLAIN.model_copy(update={"ventricle_growth": 3.0}))[..., 0]
    assert wide[middle, 30:80].sum() > 1.4 * narrow[middle, 30:80].sum()
    np.testing.assert_allclose(wide[~middle].sum(), narrow[~middle].sum(), rtol=0.1)


def test_thresholds_make_sulci_wide_and_cortex_thin() -> None:
    csf, gm, wm, _ = shares_on(MIDDLE, PLAIN).sum(axis=(0, 1, 2))
    atrophy = shares_on(MIDDLE, PLAIN.model_copy(update={"csf_threshold": 0.9})).sum(axis=(0, 1, 2))
    thick = shares_on(MIDDLE, PLAIN.model_copy(update={"wm_threshold": 0.65})).sum(axis=(0, 1, 2))
    assert atrophy[0] > 1.2 * csf
    assert thick[1] > 1.05 * gm
    assert thick[2] < wm


def test_brain_places_lie_in_the_brain() -> None:
    places, depth, solid = brain_places()
    assert (depth <= 1.0).all()
    assert depth.min() < -25.0
    assert 0.5 < solid.mean() < 1.0
    assert hull_distance(places[:100].astype(np.float32)).max() <= 1.0


def test_without_nilearn_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(ConfigError, match=r"pip install 'perfmap\[simulate\]'"):
        load_template.__wrapped__()


def test_geometries_are_centred_on_the_brain() -> None:
    for geometry in (native_geometry(), upenn_geometry()):
        centre = geometry.matrix @ [*((np.asarray(geometry.shape) - 1) / 2), 1]
        assert np.abs(centre[:3] - [0, -18, 8]).max() < 6
    assert native_geometry().shape == (128, 128, 20)
    assert native_geometry().thickness == 5.0
    assert upenn_geometry().shape == (240, 240, 155)
    assert upenn_geometry().voxel_size == (1.0, 1.0, 1.0)


def test_stacks_lie_within_the_protocols() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        geometry = draw_stack(rng, n_slices=6)
        assert geometry.shape == (128, 128, 6)
        assert 1.5 <= geometry.voxel_size[0] <= 2.5
        assert 3.0 <= geometry.thickness <= 6.0
        assert geometry.voxel_size[2] >= geometry.thickness - 1e-9
        heights = [float(geometry.matrix[2] @ [0, 0, k, 1]) for k in (0, 5)]
        assert min(heights) > -45
        assert max(heights) < 75


def test_senseless_geometries_are_refused() -> None:
    with pytest.raises(ConfigError, match="three positive numbers"):
        axial_geometry((0, 128, 4), (2.0, 2.0, 5.0))
    with pytest.raises(ConfigError, match="invertible"):
        Geometry(shape=(4, 4, 4), affine=((1, 0, 0, 0), (1, 0, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)))


def test_a_lattice_follows_an_oblique_affine() -> None:
    turn = np.deg2rad(20)
    affine = (
        (2.0, 0.0, 0.0, -50.0),
        (0.0, 2.0 * np.cos(turn), -5.0 * np.sin(turn), 10.0),
        (0.0, 2.0 * np.sin(turn), 5.0 * np.cos(turn), -20.0),
        (0.0, 0.0, 0.0, 1.0),
    )
    plane = lattice(Geometry(shape=(8, 9, 3), affine=affine), 1.0)
    np.testing.assert_allclose(plane.points[3, 5], (np.asarray(affine) @ [3, 5, 1, 1])[:3], atol=1e-4)
    np.testing.assert_allclose(np.diff(plane.along[1]), 2.0, atol=1e-4)
