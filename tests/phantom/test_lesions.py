"""Lesions: volumes and contrasts that were asked for, rims that are no rings, tissue that stays what it is."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.phantom.anatomy import Lattice, lattice
from perfmap.phantom.fields import FloatArray
from perfmap.phantom.geometry import axial_geometry
from perfmap.phantom.lesions import (
    COMPARTMENTS,
    LESION_KINDS,
    LesionKind,
    LesionParameters,
    displace,
    draw_lesion,
    occupancy,
    prepare_noise,
)
from perfmap.phantom.tissue import TissueParameters, draw_tissue

STEP = 1.0
HALF = 45


def lesion_of(
    kind: LesionKind, *, seed: int = 0, radius: float = 18.0, **changes: object
) -> LesionParameters:
    rng = np.random.default_rng(seed)
    compartments: dict[str, TissueParameters] = {
        name: draw_tissue(name.partition(":")[0], rng, field_strength=3.0)
        for name in COMPARTMENTS.get(kind, ("low_grade",))
    }
    lesion = draw_lesion(rng, kind, (30.0, -10.0, 20.0), compartments, radius=radius)
    return lesion.model_copy(update=changes)


def plane_at(lesion: LesionParameters, height: float) -> Lattice:
    """A plane of 91 × 91 points at 1 mm around a lesion, `height` mm above its centre."""
    x, y, z = lesion.centre
    size = 2 * HALF + 1
    return lattice(axial_geometry((size, size, 1), (STEP, STEP, STEP), centre=(x, y, z + height)), 0.0)


def shares_at(
    lesion: LesionParameters, height: float, *, tissue: tuple[float, float, float, float] = (0, 0, 1, 0)
) -> dict[str, FloatArray]:
    """Shares of the compartments in a plane of even tissue (csf, gm, wm, deep gm). Each (91, 91)."""
    plane = plane_at(lesion, height)
    flat = np.arange(plane.points.shape[0] * plane.points.shape[1])
    healthy = np.tile(np.asarray(tissue, dtype=np.float32), (len(flat), 1))
    found = occupancy(lesion, prepare_noise(lesion), plane, flat, healthy, plane.points.reshape(-1, 3))
    return {name: share.reshape(plane.points.shape[:2]) for name, share in (found or {}).items()}


def volume_of(lesion: LesionParameters, name: str) -> float:
    planes = [shares_at(lesion, float(h)).get(name, np.zeros(1)).sum() for h in range(-36, 37, 6)]
    return float(np.sum(planes) * 6.0)


def radii_of(body: FloatArray) -> np.ndarray:
    """Distance of the outline from its middle in 36 directions, mm."""
    i, j = np.indices(body.shape)
    inside = body > 0.5
    di, dj = i - i[inside].mean(), j - j[inside].mean()
    sector = ((np.arctan2(dj, di) + np.pi) / (2 * np.pi) * 36).astype(int) % 36
    return np.array([np.hypot(di, dj)[inside & (sector == s)].max(initial=0) for s in range(36)])


@pytest.mark.parametrize("radius", [2.5, 5.0, 10.0])
def test_a_sphere_has_its_volume(radius: float) -> None:
    sphere = lesion_of("sphere", radius=radius)
    planes = [shares_at(sphere, h)["low_grade"].sum() for h in np.arange(-radius + 0.25, radius, 0.5)]
    assert np.sum(planes) * 0.5 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.06)


@pytest.mark.parametrize("kind", LESION_KINDS)
def test_shares_lie_between_nothing_and_everything(kind: LesionKind) -> None:
    for height in (-10.0, 0.0, 7.0):
        shares = shares_at(lesion_of(kind, reach=12.0), height)
        assert set(shares) == set(COMPARTMENTS[kind])
        assert all(share.min() >= -1e-6 for share in shares.values())
        assert sum(shares.values()).max() <= 1 + 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_a_glioblastoma_is_no_perfect_ring(seed: int) -> None:
    """Its outline and the thickness of its rim vary by more than 5 % around it; a sphere's does not."""
    lesion = lesion_of("glioblastoma", seed=seed, rim=6.0, reach=0.0)
    shares = shares_at(lesion, 0.0)
    outline = radii_of(shares["enhancing"] + shares["necrosis"])
    assert outline.std() / outline.mean() > 0.05
    ball = radii_of(shares_at(lesion_of("sphere"), 0.0)["low_grade"])
    assert ball.std() / ball.mean() < 0.05


def test_a_rim_encloses_its_necrosis() -> None:
    shares = shares_at(lesion_of("glioblastoma", rim=5.0, irregularity=0.12, reach=12.0), 0.0)
    i, j = np.indices(shares["necrosis"].shape) - HALF
    distance = np.hypot(i, j)
    means = [np.average(distance, weights=shares[name]) for name in ("necrosis", "enhancing", "oedema")]
    assert means == sorted(means)
    assert shares["necrosis"].sum() > 50


def test_the_rim_grows_with_its_thickness() -> None:
    thin, thick = (volume_of(lesion_of("glioblastoma", rim=rim), "necrosis") for rim in (3.0, 12.0))
    assert thin > 2 * thick


def test_oedema_follows_white_matter() -> None:
    lesion = lesion_of("glioblastoma", reach=15.0)
    in_white = shares_at(lesion, 0.0)["oedema"].sum()
    in_grey = shares_at(lesion, 0.0, tissue=(0, 1, 0, 0))["oedema"].sum()
    in_csf = shares_at(lesion, 0.0, tissue=(1, 0, 0, 0))["oedema"].sum()
    assert in_white > 3 * in_grey > 0
    assert in_csf == 0


def test_no_reach_no_oedema() -> None:
    assert shares_at(lesion_of("meningioma", reach=0.0), 0.0)["oedema"].sum() == 0


def test_an_infarct_spares_csf_the_other_side_and_the_cerebellum() -> None:
    infarct = lesion_of("infarct", radius=30.0, centre=(22.0, -30.0, 0.0))
    assert sum(s.sum() for s in shares_at(infarct, 0.0, tissue=(1, 0, 0, 0)).values()) == 0
    plane = plane_at(infarct, 0.0)
    lesion = sum(shares_at(infarct, 0.0).values())
    assert lesion[plane.points[..., 0] < 0].max() == 0
    assert lesion[plane.points[..., 0] > 5].max() > 0.9
    below = plane_at(infarct, -20.0)
    assert sum(shares_at(infarct, -20.0).values())[below.points[..., 1] < -36].max() == 0


def test_an_infarct_keeps_grey_and_white_matter_apart() -> None:
    infarct = lesion_of("infarct", rim=6.0)
    shares = shares_at(infarct, 0.0, tissue=(0.2, 0.2, 0.6, 0.0))
    core = shares["infarct_core"].sum(), shares["infarct_core:wm"].sum()
    assert core[1] == pytest.approx(3 * core[0], rel=0.01)
    assert (shares["infarct_core"] + shares["infarct_core:wm"]).max() == pytest.approx(0.8, abs=0.01)


def test_the_core_lies_within_the_penumbra() -> None:
    infarct = lesion_of("infarct", rim=8.0, irregularity=0.2)
    shares = shares_at(infarct, 0.0)
    body = sum(shares.values())
    assert (shares["infarct_core:wm"] <= body + 1e-6).all()
    assert 0 < shares["infarct_core:wm"].sum() < 0.9 * body.sum()


def test_a_plane_far_away_misses_the_lesion() -> None:
    assert shares_at(lesion_of("meningioma", radius=8.0), 60.0) == {}


def test_mass_effect_pushes_outward_and_fades() -> None:
    """Tissue at a point came from nearer to the centre; beyond three radii nothing has moved."""
    lesion = lesion_of("glioblastoma", radius=10.0, push=0.3)
    plane = plane_at(lesion, 0.0)
    offset = plane.points - np.asarray(lesion.centre, dtype=np.float32)
    source = displace((lesion,), plane).points - np.asarray(lesion.centre, dtype=np.float32)
    near = np.hypot(offset[..., 0], offset[..., 1])
    shift = near - np.hypot(source[..., 0], source[..., 1])
    assert shift[(near > 5) & (near < 12)].min() > 0.5
    assert np.abs(shift[near > 40]).max() < 0.1
    assert (np.diff(source[:, HALF, 0]) > 0).all()  # no fold
    still = displace((lesion.model_copy(update={"push": 0.0}),), plane)
    np.testing.assert_array_equal(still.points, plane.points)


def test_a_record_survives_json() -> None:
    lesion = lesion_of("glioblastoma", seed=3)
    assert LesionParameters.model_validate_json(lesion.model_dump_json()) == lesion
