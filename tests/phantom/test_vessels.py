"""Vessels: tubes keep their volume, and lie where arteries and veins lie."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from perfmap.phantom.anatomy import place
from perfmap.phantom.geometry import Geometry, axial_geometry
from perfmap.phantom.priors.vessels import VESSEL
from perfmap.phantom.template import hull_distance, look_up
from perfmap.phantom.tubes import Tube, fill_tubes
from perfmap.phantom.vessels import (
    VesselParameters,
    cortical_bank,
    draw_vessels,
    named_vessels,
    vessel_fractions,
)
from tests.phantom.shapes import PLAIN

FULL = VesselParameters(seed=1, radius_scale=1.0, artery_share=1.0, vein_share=1.0)
BOX = axial_geometry((128, 128, 24), (1.8, 1.8, 5.0), centre=(0.0, -18.0, 20.0))


def straight(start: tuple[float, ...], end: tuple[float, ...], radius: float, *, artery: bool = True) -> Tube:
    points = np.linspace(start, end, 5, dtype=np.float32)
    return Tube(points, np.full(5, radius, dtype=np.float32), artery)


@pytest.mark.parametrize("radius", [0.4, 1.2, 3.5])
@pytest.mark.parametrize(
    "end", [(30.0, 0.0, 0.0), (0.0, 0.0, 30.0), (14.0, -20.0, 17.0)], ids=["x", "z", "oblique"]
)
def test_a_tube_fills_its_own_volume(radius: float, end: tuple[float, float, float]) -> None:
    """π r² l, whatever the course."""
    geometry = axial_geometry((40, 40, 20), (2.0, 2.0, 4.0), centre=(5.0, -5.0, 10.0))
    fraction = fill_tubes([straight((0, 0, 0), end, radius)], geometry, np.random.default_rng(0))
    volume = fraction[0].sum(dtype=np.float64) * 16.0
    assert volume == pytest.approx(np.pi * radius**2 * np.linalg.norm(end), rel=1e-4)
    assert fraction[1].sum() == 0.0


def test_the_fraction_of_a_voxel_is_the_share_of_its_area() -> None:
    """A tube of 1 mm radius upright in the middle of 2.5 mm voxels: π/6.25 in its voxel, nothing beside it."""
    geometry = axial_geometry((9, 9, 5), (2.5, 2.5, 4.0), centre=(0.0, 0.0, 0.0))
    tube = straight((0, 0, -20), (0, 0, 20), 1.0, artery=False)
    fraction = fill_tubes([tube], geometry, np.random.default_rng(0))[1]
    np.testing.assert_allclose(fraction[4, 4], np.pi / 6.25, rtol=0.2)
    assert np.count_nonzero(fraction.sum(axis=2)) == 1


def test_gaps_between_slices_hold_no_blood() -> None:
    """Slices of 3 mm every 6 mm see half of an upright tube, and the same share of their own volume."""
    tube = straight((0, 0, -40), (0, 0, 40), 1.0)
    full, gaps = (
        fill_tubes(
            [tube],
            axial_geometry((9, 9, 10), (2.5, 2.5, 6.0), centre=(0, 0, 0), slice_thickness=thickness),
            np.random.default_rng(0),
        )[0].sum()
        for thickness in (6.0, 3.0)
    )
    assert gaps == pytest.approx(full, rel=0.1)


def test_thick_vessels_have_no_holes() -> None:
    geometry = axial_geometry((30, 30, 6), (1.0, 1.0, 1.0), centre=(0.0, 0.0, 0.0))
    fraction = fill_tubes([straight((0, 0, -9), (0, 0, 9), 4.0)], geometry, np.random.default_rng(0))[0]
    x = geometry.matrix[0, 3] + np.arange(30)
    core = np.hypot(x[:, None], x) < 3.0
    assert fraction[core].min() > 0.5
    assert fraction[core].mean() == pytest.approx(1.0, abs=0.05)


def at(
    fractions: np.ndarray, geometry: Geometry, point: tuple[float, float, float], reach: int = 2
) -> np.ndarray:
    """Largest arterial and venous fraction within `reach` voxels in plane and one slice of a place in mm."""
    i, j, k = np.rint(np.linalg.inv(geometry.matrix) @ [*point, 1])[:3].astype(int)
    box = fractions[:, i - reach : i + reach + 1, j - reach : j + reach + 1, max(k - 1, 0) : k + 2]
    return box.max(axis=(1, 2, 3))


@pytest.fixture(scope="module")
def fractions() -> np.ndarray:
    return vessel_fractions(FULL, place(PLAIN), BOX)


def test_fractions_are_shares_and_blood_is_rare(fractions: np.ndarray) -> None:
    """Large and pial vessels hold some ten millilitres of blood, not a hundred."""
    assert fractions.min() >= 0.0
    assert fractions.sum(axis=0).max() <= 1.0 + 1e-5
    litres = fractions.sum(dtype=np.float64) * 1.8 * 1.8 * 5.0 * 1e-6
    assert 0.010 < litres < 0.060


@pytest.mark.parametrize(
    ("name", "point", "artery"),
    [
        ("middle cerebral", (24, 5, -16), True),
        ("middle cerebral, left", (-24, 5, -16), True),
        ("basilar tip", (0, -17, -20), True),
        ("posterior cerebral", (17, -21, -15), True),
        ("anterior cerebral", (2, 38, 2), True),
        ("straight sinus", (0, -58, 4), False),
        ("vein of Galen", (0, -41, 8), False),
        ("transverse sinus", (44, -84, -24), False),
    ],
)
def test_large_vessels_are_where_an_atlas_has_them(
    fractions: np.ndarray, name: str, point: tuple[float, float, float], artery: bool
) -> None:
    found = at(fractions, BOX, point, reach=3)
    assert found[0 if artery else 1] > 0.08, name


def test_the_circle_of_willis_is_closed_in_front_and_behind(fractions: np.ndarray) -> None:
    """Seen from above (maximum over 25 mm), arteries join the carotids to the basilar on both sides."""
    slab = fractions[0][:, :, 1:6].max(axis=2) > 0.02  # z = −35 to −10 mm
    joined, _ = ndimage.label(slab, structure=np.ones((3, 3)))
    places = [(14, 3), (-14, 3), (0, -17), (2, 9), (30, 6), (-30, 6)]
    labels = set()
    for x, y in places:
        i, j = (np.rint((np.array([x, y]) - BOX.matrix[:2, 3]) / 1.8)).astype(int)
        near = joined[i - 2 : i + 3, j - 2 : j + 3]
        labels.add(int(near.max()))
    assert len(labels) == 1
    assert 0 not in labels


def test_the_sagittal_sinus_runs_along_the_midline() -> None:
    sinus = named_vessels()[0]
    assert not sinus.artery
    assert np.abs(sinus.points[:, 0]).max() < 1.0
    assert sinus.points[:, 2].max() > 70.0
    assert np.diff(sinus.radius).min() > 0.0  # wider towards the torcula
    assert np.abs(hull_distance(sinus.points)).max() < 4.0


def test_cortical_vessels_follow_the_surface_and_the_sulci() -> None:
    """They lie in less tissue than the brain has on average, and hardly ever outside of it."""
    points = np.concatenate([tube.points for tube in cortical_bank()])
    tissue = look_up(points)[:, :2].sum(axis=1)
    depth = hull_distance(points)
    assert tissue.mean() < 0.75
    assert np.mean(depth > 4.0) < 0.03
    assert np.mean(depth > -25.0) > 0.9
    arteries = [tube.artery for tube in cortical_bank()]
    assert 0.2 < np.mean(arteries) < 0.7


def test_twice_the_radius_is_four_times_the_blood() -> None:
    thin, thick = (
        vessel_fractions(
            FULL.model_copy(update={"radius_scale": scale, "artery_share": 0.5}),
            place(PLAIN),
            axial_geometry((64, 64, 2), (3.6, 3.6, 5.0), centre=(0.0, -18.0, 45.0)),
        ).sum(dtype=np.float64)
        for scale in (0.4, 0.8)
    )
    assert thick == pytest.approx(4 * thin, rel=0.15)


def test_shares_decide_how_many_vessels_there_are() -> None:
    geometry = axial_geometry((64, 64, 2), (3.6, 3.6, 5.0), centre=(0.0, -18.0, 45.0))
    none, some, every = (
        vessel_fractions(
            FULL.model_copy(update={"artery_share": share, "vein_share": share}), place(PLAIN), geometry
        ).sum()
        for share in (0.0, 0.5, 1.0)
    )
    assert none < 0.8 * some
    assert some < 0.8 * every


def test_vessels_are_drawn_within_the_priors_and_built_alike() -> None:
    vessels = draw_vessels(np.random.default_rng(4))
    for name in ("artery_share", "vein_share"):
        assert VESSEL[name].low <= getattr(vessels, name) <= VESSEL[name].high
    geometry = axial_geometry((48, 48, 2), (4.5, 4.5, 5.0), centre=(0.0, -18.0, 0.0))
    a, b = (vessel_fractions(vessels, place(PLAIN), geometry) for _ in range(2))
    np.testing.assert_array_equal(a, b)
