"""Arteries and veins as tubes: polylines with a radius, warped with the subject, cut by the slices.

Large vessels follow way-points in MNI space (circle of Willis, basilar, middle and anterior cerebral arteries,
dural sinuses, deep veins). Cortical ones are walked once along the template's sulci and surface; a subject takes
some of them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import ndimage

from perfmap.phantom.anatomy import Placement, draw_seed, to_subject
from perfmap.phantom.fields import FloatArray
from perfmap.phantom.geometry import Geometry
from perfmap.phantom.priors import ANATOMY, draw
from perfmap.phantom.template import HULL_STEP, load_template
from perfmap.phantom.tubes import Tube, fill_tubes

WALK_STEP = 1.6  # mm between points of a walked vessel
_BANK_SEED = 20090  # the bank is one fixed set of cortical vessels; subjects differ by which they take
_N_SULCAL, _N_BRIDGING, _N_SYLVIAN = 420, 64, 44

# Way-points x, y, z in MNI mm with the radius there in mm. "pair": mirrored at x = 0.
Waypoints = tuple[tuple[float, float, float, float], ...]
ARTERIES: tuple[tuple[bool, Waypoints], ...] = (
    (True, ((9, -40, -70, 1.5), (6, -38, -58, 1.5), (0.5, -32, -50, 1.6))),  # vertebral
    (False, ((0, -32, -50, 1.7), (1, -29, -40, 1.7), (0, -24, -30, 1.7), (0, -17, -20, 1.6))),  # basilar
    (True, ((0, -17, -20, 1.2), (8, -16, -18, 1.2), (17, -21, -15, 1.2), (22, -31, -10, 1.1), (20, -44, -4, 1.0),
            (15, -58, 2, 0.9), (11, -72, 6, 0.8), (9, -86, 6, 0.6))),  # posterior cerebral
    (True, ((22, 2, -55, 2.3), (20, 0, -44, 2.3), (15, -4, -36, 2.3), (14, 6, -30, 2.2), (14, 8, -24, 2.2),
            (13, 2, -19, 2.1), (14, 3, -15, 1.9))),  # internal carotid with its siphon
    (True, ((13, 2, -18, 0.7), (11, -7, -18, 0.7), (9, -15, -18, 0.7))),  # posterior communicating
    (True, ((14, 3, -15, 1.4), (8, 6, -15, 1.3), (3, 9, -14, 1.2), (2, 18, -12, 1.2), (2, 30, -8, 1.2),
            (2, 38, 2, 1.1), (2, 37, 14, 1.1), (2, 27, 25, 1.0), (2, 10, 32, 0.9), (2, -10, 35, 0.8),
            (3, -30, 38, 0.6))),  # anterior cerebral, round the corpus callosum
    (True, ((2, 37, 14, 0.9), (3, 40, 28, 0.8), (3, 32, 42, 0.7), (3, 14, 52, 0.7), (4, 0, 60, 0.5))),
    (False, ((3, 9, -14, 0.8), (-3, 9, -14, 0.8))),  # anterior communicating
    (True, ((14, 3, -15, 1.7), (22, 5, -16, 1.6), (31, 6, -17, 1.6), (38, 3, -14, 1.5))),  # middle cerebral, M1
    (True, ((38, 3, -14, 1.2), (41, 8, -5, 1.1), (40, 14, 6, 1.0), (43, 12, 14, 0.9), (52, 12, 14, 0.8),
            (57, 12, 22, 0.7), (54, 14, 34, 0.5))),  # its anterior trunk
    (True, ((38, 3, -14, 1.3), (41, -4, -6, 1.2), (39, -14, 4, 1.1), (38, -26, 12, 1.0), (46, -30, 17, 0.9),
            (57, -32, 20, 0.8), (60, -40, 30, 0.7), (54, -52, 42, 0.5))),  # its posterior trunk
    (True, ((41, -4, -6, 1.0), (44, -14, -3, 0.9), (54, -20, 2, 0.8), (63, -30, 2, 0.7), (62, -46, 0, 0.5))),
    (True, ((40, 2, 2, 0.9), (39, -6, 14, 0.8), (48, -8, 16, 0.8), (60, -10, 22, 0.7), (58, -14, 38, 0.5))),
    (True, ((1, -20, -25, 0.7), (12, -27, -24, 0.7), (22, -38, -22, 0.6), (24, -52, -18, 0.5))),  # superior cerebellar
)  # fmt: skip
VEINS: tuple[tuple[bool, Waypoints], ...] = (
    (True, ((5, 2, 14, 0.8), (3, -8, 14, 0.9), (3, -22, 14, 1.0), (2, -34, 10, 1.2), (0, -40, 8, 1.5))),  # internal
    (True, ((20, 2, -16, 0.7), (17, -14, -12, 0.9), (16, -28, -4, 1.0), (8, -38, 3, 1.2), (0, -42, 7, 1.4))),  # basal
    (False, ((0, -40, 8, 1.8), (0, -48, 10, 2.0), (0, -58, 4, 2.0), (0, -74, -6, 2.1), (0, -92, -16, 2.3))),  # straight
    (True, ((0, -98, -17, 2.6), (22, -96, -19, 2.8), (44, -84, -24, 2.9), (58, -64, -28, 3.0), (56, -48, -36, 3.2),
            (46, -40, -46, 3.2), (34, -34, -58, 3.2))),  # transverse and sigmoid sinus
    (True, ((60, 0, 10, 0.6), (55, 8, -4, 0.9), (44, 14, -16, 1.0), (30, 10, -22, 1.1))),  # superficial Sylvian
    (True, ((16, 26, 10, 0.3), (15, 10, 18, 0.4), (9, -2, 16, 0.5), (5, 2, 14, 0.6))),  # septal, thalamostriate
    (True, ((15, -18, 19, 0.5), (20, -30, 16, 0.9), (23, -38, 8, 1.0), (26, -34, -2, 0.6))),  # choroid plexus
)  # fmt: skip
_SAGITTAL_RADIUS = (1.3, 3.4)  # mm, frontal end and torcula
_SAGITTAL_ANGLES = (25.0, 195.0)  # degrees round the midline from the forehead over the vertex to the occiput
_MIDLINE_CENTRE = (0.0, -22.0, 8.0)


class VesselParameters(BaseModel):
    """Which vessels a subject has and how thick they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    radius_scale: float
    artery_share: float
    vein_share: float


def draw_vessels(rng: np.random.Generator) -> VesselParameters:
    """Draw the vascular tree of a subject."""
    return VesselParameters(
        seed=draw_seed(rng),
        radius_scale=draw(ANATOMY["vessel_radius_scale"], rng),
        artery_share=draw(ANATOMY["artery_share"], rng),
        vein_share=draw(ANATOMY["vein_share"], rng),
    )


# --- The bank: template space, once per process ---------------------------------------------------------


@lru_cache(maxsize=1)
def cortical_bank() -> tuple[Tube, ...]:
    """Cortical arteries and veins walked along sulci and surface of the template."""
    rng = np.random.default_rng(_BANK_SEED)
    tubes: list[Tube] = []
    sulcal = _sulcal_points(rng, _N_SULCAL)
    heading = rng.standard_normal(sulcal.shape).astype(np.float32)
    for number, line in enumerate(_walk(sulcal, heading, n_steps=22, rng=rng)):
        artery = number % 5 < 2
        length = int(rng.integers(8, 23))
        radius = np.linspace(0.55, 0.3, length) if artery else np.linspace(0.4, 0.75, length)
        tubes.append(Tube(line[:length], radius.astype(np.float32), artery))

    side = np.where(np.arange(_N_BRIDGING) % 2 == 0, 1.0, -1.0)
    angle = np.deg2rad(rng.uniform(45.0, 165.0, _N_BRIDGING))
    start = _on_hull(np.stack([0.12 * side, np.cos(angle), np.sin(angle)], axis=1))
    heading = np.stack([side, rng.normal(0.15, 0.4, _N_BRIDGING), np.full(_N_BRIDGING, -0.25)], axis=1)
    for line in _walk(start, heading.astype(np.float32), n_steps=34, rng=rng, depth=-1.0):
        length = int(rng.integers(14, 35))
        tubes.append(Tube(line[:length], np.linspace(1.15, 0.5, length).astype(np.float32), False))

    side = np.where(np.arange(_N_SYLVIAN) % 2 == 0, 1.0, -1.0)
    start = np.stack(
        [48.0 * side, rng.uniform(-32.0, 14.0, _N_SYLVIAN), rng.uniform(0.0, 16.0, _N_SYLVIAN)], axis=1
    )
    angle = rng.uniform(-0.6, np.pi + 0.6, _N_SYLVIAN)
    heading = np.stack([0.4 * side, np.cos(angle), np.sin(angle)], axis=1)
    for line in _walk(start, heading.astype(np.float32), n_steps=34, rng=rng, depth=-3.0):
        length = int(rng.integers(14, 35))
        tubes.append(Tube(line[:length], np.linspace(0.8, 0.35, length).astype(np.float32), True))
    return tuple(tubes)


@lru_cache(maxsize=1)
def _walk_maps() -> tuple[FloatArray, FloatArray, NDArray[np.float64]]:
    """Smoothed tissue and hull distance on the 2 mm grid with their gradients: (4, a, b, c) twice, and the origin."""
    template = load_template()
    tissue = np.zeros(template.hull.shape, dtype=np.float32)
    start = np.rint((template.origin - template.hull_origin) / HULL_STEP).astype(int)
    small = template.packed[::HULL_STEP, ::HULL_STEP, ::HULL_STEP, :2].sum(axis=-1, dtype=np.float32) / 255.0
    tissue[tuple(slice(s, s + n) for s, n in zip(start, small.shape, strict=True))] = small
    tissue = ndimage.gaussian_filter(tissue, 0.7)
    maps = [np.stack([volume, *np.gradient(volume, HULL_STEP)]) for volume in (tissue, template.hull)]
    return maps[0].astype(np.float32), maps[1].astype(np.float32), template.hull_origin


def _sample(maps: FloatArray, origin: NDArray[np.float64], points: FloatArray) -> FloatArray:
    index = ((points - origin) / HULL_STEP).T
    return np.stack([ndimage.map_coordinates(part, index, order=1, mode="nearest") for part in maps])


def _sulcal_points(rng: np.random.Generator, n: int) -> FloatArray:
    """Random points in the CSF between the gyri."""
    tissue, hull, origin = _walk_maps()
    sulcus = (tissue[0] < 0.8) & (hull[0] < -2.0) & (hull[0] > -18.0)
    places = np.argwhere(sulcus)
    places = places[origin[2] + HULL_STEP * places[:, 2] > -40.0]
    chosen = places[rng.choice(len(places), size=n, replace=False)]
    points: FloatArray = (origin + HULL_STEP * chosen).astype(np.float32)
    return points


def _on_hull(directions: NDArray[np.floating]) -> FloatArray:
    """Where rays from the middle of the head leave the brain hull."""
    _, hull, origin = _walk_maps()
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    reach = np.arange(20.0, 120.0, 0.5)
    points = np.asarray(_MIDLINE_CENTRE) + unit[:, None, :] * reach[:, None]
    outside = (
        _sample(hull[:1], origin, points.reshape(-1, 3).astype(np.float32))[0].reshape(len(unit), -1) > 0
    )
    last = outside.shape[1] - 1 - np.argmax(~outside[:, ::-1], axis=1)
    found: FloatArray = points[np.arange(len(unit)), last].astype(np.float32)
    return found


def _walk(
    start: NDArray[np.floating],
    heading: FloatArray,
    *,
    n_steps: int,
    rng: np.random.Generator,
    depth: float | None = None,
) -> FloatArray:
    """Walk all vessels at once: ahead, drawn into the CSF and, where `depth` is given, to that hull distance.

    Returns
    -------
    ndarray, float32, shape (n, n_steps, 3)
    """
    tissue, hull, origin = _walk_maps()
    points = start.astype(np.float32)
    line = [points]
    direction = heading / np.linalg.norm(heading, axis=1, keepdims=True)
    for _ in range(n_steps - 1):
        here = points + np.float32(WALK_STEP) * direction
        slope = _sample(tissue, origin, here)[1:].T
        pull = -6.0 * slope
        distance, *normal = _sample(hull, origin, here)
        wanted = np.minimum(distance, -0.5) if depth is None else np.full_like(distance, depth)
        pull -= 0.6 * (distance - wanted)[:, None] * np.stack(normal, axis=1)
        pull *= np.minimum(1.0, 1.2 / np.maximum(np.linalg.norm(pull, axis=1, keepdims=True), 1e-6))
        here = here + pull
        step = here - points + rng.normal(0.0, 0.4, size=here.shape)
        direction = (step / np.linalg.norm(step, axis=1, keepdims=True)).astype(np.float32)
        points = here.astype(np.float32)
        line.append(points)
    return np.stack(line, axis=1)


def _sagittal_sinus() -> Tube:
    angle = np.deg2rad(np.linspace(*_SAGITTAL_ANGLES, 24))
    points = _on_hull(np.stack([np.zeros_like(angle), np.cos(angle), np.sin(angle)], axis=1))
    return Tube(points, np.linspace(*_SAGITTAL_RADIUS, len(points)).astype(np.float32), False)


@lru_cache(maxsize=1)
def named_vessels() -> tuple[Tube, ...]:
    """The large arteries, sinuses and deep veins, as way-points."""
    tubes = [_sagittal_sinus()]
    for artery, table in ((True, ARTERIES), (False, VEINS)):
        for pair, way in table:
            array = np.asarray(way, dtype=np.float32)
            tubes.append(Tube(array[:, :3], array[:, 3], artery))
            if pair:
                mirror = array[:, :3] * np.asarray([-1, 1, 1], dtype=np.float32)
                tubes.append(Tube(mirror, array[:, 3], artery))
    return tuple(tubes)


# --- One subject ----------------------------------------------------------------------------------------


def vessel_fractions(vessels: VesselParameters, placement: Placement, geometry: Geometry) -> FloatArray:
    """Blood fraction of arteries and of veins in every voxel.

    Parameters
    ----------
    vessels : VesselParameters
    placement : Placement
        The subject's warp.
    geometry : Geometry

    Returns
    -------
    ndarray, float32, shape (2, x, y, z)
        Arteries, then veins, 0–1; together at most 1.
    """
    rng = np.random.default_rng(vessels.seed)
    tubes = [_jitter(tube, rng) for tube in named_vessels()]
    for tube in cortical_bank():
        if rng.random() < (vessels.artery_share if tube.artery else vessels.vein_share):
            tubes.append(tube)
    ends = np.cumsum([len(tube.points) for tube in tubes])[:-1]
    moved = np.split(to_subject(placement, np.concatenate([tube.points for tube in tubes])), ends)
    scale = np.float32(vessels.radius_scale)
    volumes = fill_tubes(
        [Tube(line, tube.radius * scale, tube.artery) for line, tube in zip(moved, tubes, strict=True)],
        geometry,
        rng,
    )
    fractions: FloatArray = volumes / np.maximum(volumes[0] + volumes[1], 1.0)
    return fractions


def _jitter(tube: Tube, rng: np.random.Generator) -> Tube:
    """A person's own course of a named vessel: way-points moved, then a smooth curve through them."""
    moved = tube.points + rng.normal(0.0, 0.9, size=tube.points.shape)
    moved[[0, -1]] = tube.points[[0, -1]]  # ends meet other vessels
    radius = tube.radius * np.exp(rng.normal(0.0, 0.12))
    return Tube(_catmull_rom(moved.astype(np.float32)), _catmull_rom(radius[:, None])[:, 0], tube.artery)


def _catmull_rom(points: FloatArray, n_between: int = 5) -> FloatArray:
    """Curve through all points, `n_between` new ones a stretch."""
    if len(points) < 3:
        straight: FloatArray = np.linspace(points[0], points[-1], n_between + 1).astype(np.float32)
        return straight
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = (np.arange(n_between, dtype=np.float32) / n_between)[None, :, None]
    a, b, c, d = (padded[k : len(padded) - 3 + k, None, :] for k in range(4))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    smooth: FloatArray = np.concatenate([curve.reshape(-1, points.shape[1]), points[-1:]]).astype(np.float32)
    return smooth
