"""What lies around the brain: skull, scalp, muscle, eyes and air, as shells about the brain hull."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from perfmap.phantom.anatomy import Lattice, draw_seed
from perfmap.phantom.fields import FloatArray, SmoothField, draw_field, evaluate_on_slice
from perfmap.phantom.priors import ANATOMY, draw
from perfmap.phantom.template import hull_distance

# Places and sizes are read off atlases as remembered [M].
EYES = (33.0, 60.0, -36.0)
"""Centre of the right eye, MNI mm; the left is its mirror image."""
EYE_RADIUS = 12.0
ORBIT_RADIUS = 17.0
TEMPORAL_MUSCLE = 5.5
"""Thickest part of the temporal muscle, mm."""
FACE = ((0.0, 38.0, -52.0), (64.0, 56.0, 58.0))
"""Centre and radii of the ellipsoid that holds the face, MNI mm."""
NECK = ((0.0, -28.0), (62.0, 66.0))
"""Centre and radii, in the axial plane, of what lies below the brain."""
AIR = (
    ((0.0, 52.0, -46.0), (13.0, 26.0, 16.0)),  # nasal cavity
    ((26.0, 50.0, -62.0), (13.0, 16.0, 14.0)),  # maxillary sinus
    ((0.0, 22.0, -38.0), (10.0, 10.0, 7.0)),  # sphenoid sinus
    ((0.0, 76.0, -2.0), (17.0, 3.5, 9.0)),  # frontal sinus
    ((54.0, -34.0, -44.0), (8.0, 10.0, 9.0)),  # mastoid cells
)


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
    return draw_field(head.seed, spacing=22.0, n_components=2)


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
    skull_end = head.skull_thickness * np.clip(1 + 0.2 * uneven, 0.4, 1.8)
    temporal = (
        np.clip((side - 48) / 10, 0, 1)
        * np.clip((26 - z) / 20, 0, 1)
        * np.clip((60 - np.abs(y - 8)) / 20, 0, 1)
    )
    muscle_end = skull_end + 8.0 * temporal
    head_end = muscle_end + head.scalp_thickness * np.clip(1 - 0.2 * uneven, 0.4, 1.8)

    face = (_ellipsoid(where, *FACE) - 1.0) * min(FACE[1])
    (neck_x, neck_y), (radius_x, radius_y) = NECK
    neck = (np.hypot((x - neck_x) / radius_x, (y - neck_y) / radius_y) - 1.0) * radius_x
    below = np.where(z < -40.0, neck, np.inf)
    soft = np.minimum(face, below)

    outside = _inside(-distance)
    skull = outside * _inside(outer - skull_end)
    beyond = outside - skull
    muscle = beyond * _inside(outer - muscle_end)
    scalp = (beyond - muscle) * _inside(np.minimum(outer - head_end, soft))
    deep = scalp * _inside(soft + head.scalp_thickness) * _inside(head_end - outer)
    fat = deep * np.clip(0.5 + 2.0 * (mixture - 0.8), 0, 1)
    scalp = scalp - deep + fat
    muscle = muscle + deep - fat

    mirrored = np.stack([side, y, z], axis=-1)
    eye = outside * _inside(np.linalg.norm(mirrored - np.asarray(EYES), axis=-1) - EYE_RADIUS)
    orbit = outside * _inside(np.linalg.norm(mirrored - np.asarray(EYES), axis=-1) - ORBIT_RADIUS) - eye
    air = np.zeros_like(outside)
    for centre, radii in AIR:
        level = _ellipsoid(mirrored, centre, radii) - 1.0 + 0.1 * uneven
        np.maximum(air, _inside(level * min(radii)), out=air)
    rest = (1.0 - eye - orbit) * (1.0 - air)
    return {
        "skull": (skull * rest).astype(np.float32),
        "scalp": (scalp * rest + orbit).astype(np.float32),
        "muscle": (muscle * rest).astype(np.float32),
        "eye": eye.astype(np.float32),
    }


def _ellipsoid(
    where: FloatArray, centre: tuple[float, float, float], radii: tuple[float, float, float]
) -> FloatArray:
    level: FloatArray = np.linalg.norm((where - np.asarray(centre)) / np.asarray(radii), axis=-1)
    return level


def _inside(distance: FloatArray) -> FloatArray:
    """1 where a signed distance in mm is negative, 0 where positive, a ramp of 1 mm between."""
    share: FloatArray = np.clip(0.5 - distance, 0.0, 1.0)
    return share
