"""What lies around the brain: skull, scalp, muscle, eyes and air, as shells about the brain hull."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from perfmap.phantom.anatomy import Lattice, draw_seed
from perfmap.phantom.fields import FloatArray, SmoothField, draw_field, evaluate_on_slice
from perfmap.phantom.priors import Places, draw
from perfmap.phantom.priors.anatomy import AIR, ANATOMY, EYES, FACE, HEAD, NECK
from perfmap.phantom.template import hull_distance


class HeadParameters(BaseModel):
    """The shells of one head; thicknesses in mm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    skull_thickness: float
    scalp_thickness: float
    seed: int


def draw_head(rng: np.random.Generator) -> HeadParameters:
    """Draw the shells of a head."""
    return HeadParameters(
        skull_thickness=draw(ANATOMY["skull_thickness"], rng),
        scalp_thickness=draw(ANATOMY["scalp_thickness"], rng),
        seed=draw_seed(rng),
    )


def prepare_head(head: HeadParameters) -> SmoothField:
    """Make the fields that vary the thickness (0) and mix muscle with fat (1)."""
    return draw_field(head.seed, spacing=HEAD["field_spacing"].value, n_components=2)


def head_shares(
    head: HeadParameters, field: SmoothField, where: FloatArray, distance: FloatArray, plane: Lattice
) -> dict[str, FloatArray]:
    """Share of each class outside of the brain.

    Parameters
    ----------
    head : HeadParameters
    field : SmoothField
        From `prepare_head`.
    where : ndarray, shape (nx, ny, 3)
        Template position of each point, MNI mm.
    distance : ndarray, shape (nx, ny)
        Distance to the outer surface of the CSF, mm; negative in the brain.
    plane : Lattice
        The plane in subject space.

    Returns
    -------
    dict of str to ndarray, shape (nx, ny)
        skull, scalp, muscle, eye; the rest is air.
    """
    uneven, mixture = evaluate_on_slice(field, *plane.along)
    outer = hull_distance(where, smooth=True)
    x, y, z = np.moveaxis(where, -1, 0)
    side = np.abs(x)
    spread, limits = HEAD["unevenness"].value, HEAD["thickness_limits"]
    skull_end = head.skull_thickness * np.clip(1 + spread * uneven, limits.low, limits.high)
    muscle_end = skull_end + HEAD["temporal_muscle"].value * _temporal(side, y, z)
    head_end = muscle_end + head.scalp_thickness * np.clip(1 - spread * uneven, limits.low, limits.high)

    face = (_ellipsoid(where, FACE) - 1.0) * min(FACE.points[1])
    (neck_x, neck_y), (radius_x, radius_y) = NECK.points
    neck = (np.hypot((x - neck_x) / radius_x, (y - neck_y) / radius_y) - 1.0) * radius_x
    below = np.where(z < HEAD["neck_top"].value, neck, np.inf)
    soft = np.minimum(face, below)

    outside = _inside(-distance)
    skull = outside * _inside(outer - skull_end)
    beyond = outside - skull
    muscle = beyond * _inside(outer - muscle_end)
    scalp = (beyond - muscle) * _inside(np.minimum(outer - head_end, soft))
    deep = scalp * _inside(soft + head.scalp_thickness) * _inside(head_end - outer)
    fat = deep * np.clip(0.5 + HEAD["fat_slope"].value * (mixture - HEAD["fat_level"].value), 0, 1)
    scalp = scalp - deep + fat
    muscle = muscle + deep - fat

    mirrored = np.stack([side, y, z], axis=-1)
    from_eye = np.linalg.norm(mirrored - np.asarray(EYES.points[0]), axis=-1)
    eye = outside * _inside(from_eye - HEAD["eye_radius"].value)
    orbit = outside * _inside(from_eye - HEAD["orbit_radius"].value) - eye
    air = np.zeros_like(outside)
    for sinus in AIR.values():
        level = _ellipsoid(mirrored, sinus) - 1.0 + HEAD["air_unevenness"].value * uneven
        np.maximum(air, _inside(level * min(sinus.points[1])), out=air)
    rest = (1.0 - eye - orbit) * (1.0 - air)
    return {
        "skull": (skull * rest).astype(np.float32),
        "scalp": (scalp * rest + orbit).astype(np.float32),
        "muscle": (muscle * rest).astype(np.float32),
        "eye": eye.astype(np.float32),
    }


def _temporal(side: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Thickness of the temporal muscle over its largest."""
    ramp = HEAD["temporal_ramp"].value
    from_middle = np.abs(y - HEAD["temporal_y"].value)
    part: FloatArray = (
        np.clip((side - HEAD["temporal_side"].value) / HEAD["temporal_side_ramp"].value, 0, 1)
        * np.clip((HEAD["temporal_top"].value - z) / ramp, 0, 1)
        * np.clip((HEAD["temporal_half_length"].value - from_middle) / ramp, 0, 1)
    )
    return part


def _ellipsoid(where: FloatArray, body: Places) -> FloatArray:
    """1 on the surface of an ellipsoid given by its centre and radii, less inside."""
    centre, radii = body.points
    level: FloatArray = np.linalg.norm((where - np.asarray(centre)) / np.asarray(radii), axis=-1)
    return level


def _inside(distance: FloatArray) -> FloatArray:
    """1 where a signed distance in mm is negative, 0 where positive, a ramp of 1 mm between."""
    share: FloatArray = np.clip(0.5 - distance, 0.0, 1.0)
    return share
