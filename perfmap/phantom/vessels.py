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
from perfmap.phantom.priors import Prior, draw
from perfmap.phantom.priors.vessels import (
    ARTERIES,
    MIDLINE_CENTRE,
    SAGITTAL_ANGLES,
    STEPS,
    TAPER,
    VEINS,
    VESSEL,
)
from perfmap.phantom.template import HULL_STEP, load_template
from perfmap.phantom.tubes import Tube, fill_tubes

_BANK_SEED = 20090  # the bank is one fixed set of cortical vessels; subjects differ by which they take
_N_SULCAL, _N_BRIDGING, _N_SYLVIAN = 420, 64, 44
_N_SAGITTAL = 24  # points of the sagittal sinus


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
        radius_scale=draw(VESSEL["radius_scale"], rng),
        artery_share=draw(VESSEL["artery_share"], rng),
        vein_share=draw(VESSEL["vein_share"], rng),
    )


# --- The bank: template space, once per process ---------------------------------------------------------


@lru_cache(maxsize=1)
def cortical_bank() -> tuple[Tube, ...]:
    """Cortical arteries and veins walked along sulci and surface of the template."""
    rng = np.random.default_rng(_BANK_SEED)
    tubes: list[Tube] = []
    sulcal = _sulcal_points(rng, _N_SULCAL)
    heading = rng.standard_normal(sulcal.shape).astype(np.float32)
    steps = STEPS["sulcal"]
    for number, line in enumerate(_walk(sulcal, heading, n_steps=int(steps.high), rng=rng)):
        artery = number % 5 < 5 * VESSEL["sulcal_arteries"].value
        length = _length(steps, rng)
        kind = "sulcal_artery" if artery else "sulcal_vein"
        tubes.append(Tube(line[:length], _tapered(kind, length), artery))

    side = np.where(np.arange(_N_BRIDGING) % 2 == 0, 1.0, -1.0)
    angle = np.deg2rad(_several(VESSEL["bridging_angle"], rng, _N_BRIDGING))
    start = _on_hull(np.stack([VESSEL["bridging_side"].value * side, np.cos(angle), np.sin(angle)], axis=1))
    back, down = VESSEL["bridging_back"], VESSEL["bridging_down"].value
    heading = np.stack(
        [side, rng.normal(back.mean, back.sd, _N_BRIDGING), np.full(_N_BRIDGING, down)], axis=1
    )
    steps, depth = STEPS["bridging"], VESSEL["bridging_depth"].value
    for line in _walk(start, heading.astype(np.float32), n_steps=int(steps.high), rng=rng, depth=depth):
        length = _length(steps, rng)
        tubes.append(Tube(line[:length], _tapered("bridging_vein", length), False))

    side = np.where(np.arange(_N_SYLVIAN) % 2 == 0, 1.0, -1.0)
    y, z, angle = (_several(VESSEL[f"sylvian_{name}"], rng, _N_SYLVIAN) for name in ("y", "z", "angle"))
    start = np.stack([VESSEL["sylvian_side"].value * side, y, z], axis=1)
    heading = np.stack([VESSEL["sylvian_out"].value * side, np.cos(angle), np.sin(angle)], axis=1)
    steps, depth = STEPS["sylvian"], VESSEL["sylvian_depth"].value
    for line in _walk(start, heading.astype(np.float32), n_steps=int(steps.high), rng=rng, depth=depth):
        length = _length(steps, rng)
        tubes.append(Tube(line[:length], _tapered("sylvian_artery", length), True))
    return tuple(tubes)


def _several(prior: Prior, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return rng.uniform(prior.low, prior.high, n)


def _length(steps: Prior, rng: np.random.Generator) -> int:
    return int(rng.integers(int(steps.low), int(steps.high) + 1))


def _tapered(kind: str, n: int) -> FloatArray:
    """Radius at each of `n` points, mm."""
    start, end = TAPER[kind].points[0]
    return np.linspace(start, end, n).astype(np.float32)


@lru_cache(maxsize=1)
def _walk_maps() -> tuple[FloatArray, FloatArray, NDArray[np.float64]]:
    """Smoothed tissue and hull distance on the 2 mm grid with their gradients: (4, a, b, c) twice, and the origin."""
    template = load_template()
    tissue = np.zeros(template.hull.shape, dtype=np.float32)
    start = np.rint((template.origin - template.hull_origin) / HULL_STEP).astype(int)
    small = template.packed[::HULL_STEP, ::HULL_STEP, ::HULL_STEP, :2].sum(axis=-1, dtype=np.float32) / 255.0
    tissue[tuple(slice(s, s + n) for s, n in zip(start, small.shape, strict=True))] = small
    tissue = ndimage.gaussian_filter(tissue, VESSEL["walk_smoothing"].value)
    maps = [np.stack([volume, *np.gradient(volume, HULL_STEP)]) for volume in (tissue, template.hull)]
    return maps[0].astype(np.float32), maps[1].astype(np.float32), template.hull_origin


def _sample(maps: FloatArray, origin: NDArray[np.float64], points: FloatArray) -> FloatArray:
    index = ((points - origin) / HULL_STEP).T
    return np.stack([ndimage.map_coordinates(part, index, order=1, mode="nearest") for part in maps])


def _sulcal_points(rng: np.random.Generator, n: int) -> FloatArray:
    """Random points in the CSF between the gyri."""
    tissue, hull, origin = _walk_maps()
    depth = VESSEL["sulcus_depth"]
    sulcus = (tissue[0] < VESSEL["sulcus_tissue"].value) & (hull[0] < depth.high) & (hull[0] > depth.low)
    places = np.argwhere(sulcus)
    places = places[origin[2] + HULL_STEP * places[:, 2] > VESSEL["sulcus_z"].value]
    chosen = places[rng.choice(len(places), size=n, replace=False)]
    points: FloatArray = (origin + HULL_STEP * chosen).astype(np.float32)
    return points


def _on_hull(directions: NDArray[np.floating]) -> FloatArray:
    """Where rays from the middle of the head leave the brain hull."""
    _, hull, origin = _walk_maps()
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    search = VESSEL["hull_search"]
    reach = np.arange(search.low, search.high, VESSEL["hull_search_step"].value)
    points = np.asarray(MIDLINE_CENTRE.points[0]) + unit[:, None, :] * reach[:, None]
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
        here = points + np.float32(VESSEL["walk_step"].value) * direction
        slope = _sample(tissue, origin, here)[1:].T
        pull = -VESSEL["walk_into_csf"].value * slope
        distance, *normal = _sample(hull, origin, here)
        shallow = np.minimum(distance, VESSEL["inside_hull"].value)
        wanted = shallow if depth is None else np.full_like(distance, depth)
        off = VESSEL["walk_to_depth"].value * (distance - wanted)
        pull -= off[:, None] * np.stack(normal, axis=1)
        size = np.linalg.norm(pull, axis=1, keepdims=True)
        pull *= np.minimum(1.0, VESSEL["walk_pull"].value / np.maximum(size, 1e-6))
        here = here + pull
        step = here - points + rng.normal(0.0, VESSEL["walk_turn"].sd, size=here.shape)
        direction = (step / np.linalg.norm(step, axis=1, keepdims=True)).astype(np.float32)
        points = here.astype(np.float32)
        line.append(points)
    return np.stack(line, axis=1)


def _sagittal_sinus() -> Tube:
    first, last = SAGITTAL_ANGLES.points[0]
    angle = np.deg2rad(np.linspace(first, last, _N_SAGITTAL))
    points = _on_hull(np.stack([np.zeros_like(angle), np.cos(angle), np.sin(angle)], axis=1))
    return Tube(points, _tapered("sagittal_sinus", len(points)), False)


@lru_cache(maxsize=1)
def named_vessels() -> tuple[Tube, ...]:
    """The large arteries, sinuses and deep veins, as way-points."""
    tubes = [_sagittal_sinus()]
    for artery, table in ((True, ARTERIES), (False, VEINS)):
        for course in table.values():
            array = np.asarray(course.points, dtype=np.float32)
            tubes.append(Tube(array[:, :3], array[:, 3], artery))
            if course.mirrored:
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
    moved = tube.points + rng.normal(0.0, VESSEL["course_jitter"].sd, size=tube.points.shape)
    moved[[0, -1]] = tube.points[[0, -1]]  # ends meet other vessels
    radius = tube.radius * np.exp(rng.normal(0.0, VESSEL["radius_jitter"].sd))
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
