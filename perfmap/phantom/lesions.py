"""Lesions grown inside a subject: lobulated, uneven bodies with compartments, never perfect balls.

A lesion is the region where a distance function is negative: an ellipsoid's, bent by smooth noise. Compartments
are shells of it: necrosis inside, an enhancing rim of varying thickness, oedema reaching out along white matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from perfmap.phantom.anatomy import Lattice, draw_seed
from perfmap.phantom.fields import FloatArray, SmoothField, draw_field, evaluate_on_slice
from perfmap.phantom.priors import Prior, draw
from perfmap.phantom.priors.subject import IRREGULARITY, LESION
from perfmap.phantom.tissue import TissueParameters

LesionKind = Literal["glioblastoma", "low_grade", "meningioma", "infarct", "sphere"]
LESION_KINDS: tuple[LesionKind, ...] = ("glioblastoma", "low_grade", "meningioma", "infarct")

COMPARTMENTS: dict[str, tuple[str, ...]] = {
    "glioblastoma": ("oedema", "enhancing", "necrosis"),
    "low_grade": ("low_grade",),
    "meningioma": ("oedema", "meningioma"),
    "infarct": ("penumbra", "penumbra:wm", "infarct_core", "infarct_core:wm"),
}
"""Compartments of a lesion: the class, and after a colon its host where grey and white matter are kept apart."""


class LesionParameters(BaseModel):
    """One lesion.

    Attributes
    ----------
    kind : str
        Decides the compartments.
    centre, radii : tuple of float
        Subject mm.
    turn : float
        Rotation about z, radians.
    irregularity : float
        SD of the boundary's noise over the mean radius; 0 is an ellipsoid.
    noise_seed : int
    rim : float
        Median thickness of the rim (core depth of an infarct), mm.
    reach : float
        How far oedema extends beyond the tumour, mm; 0 for none.
    push : float
        Mass effect: share of the displacement at the centre.
    compartments : dict of str to TissueParameters
        Means of every compartment of `COMPARTMENTS`; a sphere has one, named by its class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: LesionKind
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    turn: float
    irregularity: float
    noise_seed: int
    rim: float
    reach: float
    push: float
    compartments: dict[str, TissueParameters]

    @property
    def radius(self) -> float:
        """Geometric mean of the radii, mm."""
        return float(np.prod(self.radii) ** (1 / 3))

    @property
    def extent(self) -> float:
        """Radius, mm, of a ball that surely holds the lesion."""
        return max(self.radii) * (1.0 + 3.0 * self.irregularity) + 2.0 * self.reach + 2.0


def draw_lesion(
    rng: np.random.Generator,
    kind: LesionKind,
    centre: tuple[float, float, float],
    compartments: dict[str, TissueParameters],
    *,
    radius: float,
) -> LesionParameters:
    """Draw the body of a lesion.

    Parameters
    ----------
    rng : numpy.random.Generator
    kind : LesionKind
    centre : tuple of float
        Subject mm.
    compartments : dict of str to TissueParameters
        Means of every compartment of `COMPARTMENTS`; a sphere has one, named by its class.
    radius : float
        Mean radius, mm.

    Returns
    -------
    LesionParameters
    """
    stretch = np.exp(rng.normal(0.0, LESION["stretch"].sd, size=3))
    stretch *= radius / np.prod(stretch) ** (1 / 3)
    swollen = kind in ("glioblastoma", "meningioma")
    exact = kind == "sphere"
    return LesionParameters(
        kind=kind,
        centre=centre,
        radii=(radius, radius, radius)
        if exact
        else (float(stretch[0]), float(stretch[1]), float(stretch[2])),
        turn=draw(LESION["turn"], rng),
        irregularity=draw(IRREGULARITY[kind], rng),
        noise_seed=draw_seed(rng),
        rim=radius * draw(LESION["rim"], rng),
        reach=draw(LESION["reach"], rng) if swollen and rng.random() < LESION["swelling"].value else 0.0,
        push=draw(LESION["push"], rng) if kind not in ("infarct", "sphere") else 0.0,
        compartments=compartments,
    )


@dataclass(frozen=True)
class LesionNoise:
    """Noise that bends the boundary (0), the inner boundary (1) and the oedema (2), slow and fast."""

    slow: SmoothField
    fast: SmoothField


def prepare_noise(lesion: LesionParameters) -> LesionNoise:
    """Make the noise of a lesion."""
    spacing = max(LESION["least_slow_spacing"].value, LESION["slow_spacing"].value * lesion.radius)
    fast = max(LESION["least_fast_spacing"].value, spacing / LESION["fast_spacing"].value)
    return LesionNoise(
        draw_field(lesion.noise_seed, spacing=spacing, n_components=3),
        draw_field(lesion.noise_seed + 1, spacing=fast, n_components=3),
    )


def displace(lesions: tuple[LesionParameters, ...], plane: Lattice) -> Lattice:
    """Mass effect: tissue gives way to a tumour. Returns where each point of the plane lay before."""
    points = plane.points
    for lesion in lesions:
        if lesion.push > 0 and abs(plane.along[2] - lesion.centre[2]) < 3 * lesion.radius:
            offset = points - np.asarray(lesion.centre, dtype=np.float32)
            reach = LESION["push_reach"].value * lesion.radius
            fade = np.exp(-np.sum(offset**2, axis=-1) / np.float32(2 * reach**2))
            points = points - np.float32(lesion.push) * fade[..., None] * offset
    return Lattice(points, plane.along)


def occupancy(
    lesion: LesionParameters,
    noise: LesionNoise,
    plane: Lattice,
    flat: NDArray[np.intp],
    shares: FloatArray,
    where: FloatArray,
) -> dict[str, FloatArray] | None:
    """Share of each compartment of a lesion at points of a plane.

    Parameters
    ----------
    lesion : LesionParameters
    noise : LesionNoise
        From `prepare_noise`.
    plane : Lattice
        The plane, not displaced.
    flat : ndarray, shape (n,)
        Points of the plane to look at, C order over (x, y).
    shares : ndarray, shape (n, 4)
        Shares of csf, gm, wm, deep_gm there: oedema follows white matter, an infarct spares CSF.
    where : ndarray, shape (n, 3)
        Their place in the template, MNI mm: an infarct stays in its hemisphere of the cerebrum.

    Returns
    -------
    dict of str to ndarray, shape (n,), or None
        Shares between 0 and 1 that add up to at most 1; None where the plane misses the lesion.
    """
    offset = plane.points.reshape(-1, 3)[flat] - np.asarray(lesion.centre, dtype=np.float32)
    near = np.flatnonzero(np.einsum("ij,ij->i", offset, offset) < lesion.extent**2)
    if len(near) == 0:
        return None
    found = _near_occupancy(lesion, noise, plane, flat[near], offset[near], shares[near], where[near])
    result: dict[str, FloatArray] = {}
    for name, share in found.items():
        result[name] = np.zeros(len(flat), dtype=np.float32)
        result[name][near] = share
    return result


def _near_occupancy(
    lesion: LesionParameters,
    noise: LesionNoise,
    plane: Lattice,
    flat: NDArray[np.intp],
    offset: FloatArray,
    shares: FloatArray,
    where: FloatArray,
) -> dict[str, FloatArray]:
    depth, inner, fringe = _distances(lesion, noise, plane, flat, offset)
    body = _ramp(depth, LESION["low_grade_edge" if lesion.kind == "low_grade" else "edge"])
    if lesion.kind == "sphere":
        (name,) = lesion.compartments
        return {name: body}
    if lesion.kind == "infarct":
        solid = (1.0 - shares[:, 0]) * _territory(where, right=lesion.centre[0] > 0)
        core = _ramp(inner, LESION["core_edge"]) * body * solid
        rest = body * solid - core
        white = shares[:, 2] / np.maximum(1.0 - shares[:, 0], np.float32(1e-3))
        return {
            "infarct_core": core * (1 - white),
            "infarct_core:wm": core * white,
            "penumbra": rest * (1 - white),
            "penumbra:wm": rest * white,
        }
    if lesion.kind == "low_grade":
        return {"low_grade": body * (1.0 - LESION["csf_spared"].value * shares[:, 0])}
    host = shares[:, 2] + LESION["oedema_in_grey"].value * (shares[:, 1] + shares[:, 3])
    swelling = _ramp(fringe, LESION["oedema_edge"]) * host * (1.0 - body)
    if lesion.kind == "meningioma":
        return {"meningioma": body, "oedema": swelling}
    dead = _ramp(inner, LESION["necrosis_edge"]) * body
    return {"enhancing": body - dead, "necrosis": dead, "oedema": swelling}


def _distances(
    lesion: LesionParameters,
    noise: LesionNoise,
    plane: Lattice,
    flat: NDArray[np.intp],
    offset: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Signed distances, mm, to the outer boundary, the inner one and the end of the oedema; negative inside."""
    cosine, sine = np.cos(lesion.turn), np.sin(lesion.turn)
    turned = np.stack(
        [
            cosine * offset[:, 0] + sine * offset[:, 1],
            cosine * offset[:, 1] - sine * offset[:, 0],
            offset[:, 2],
        ]
    )
    scaled = np.sqrt(np.sum((turned / np.asarray(lesion.radii)[:, None]) ** 2, axis=0))
    slow, fast = (evaluate_on_slice(field, *plane.along) for field in (noise.slow, noise.fast))
    both = LESION["slow_amplitude"].value * slow + LESION["fast_amplitude"].value * fast
    bend, thick, far = both.reshape(3, -1)[:, flat]
    depth = (scaled - 1.0 + lesion.irregularity * bend) * lesion.radius
    limits = LESION["rim_limits"]
    inner = depth + lesion.rim * np.exp(
        np.clip(LESION["rim_unevenness"].value * thick, limits.low, limits.high)
    )
    fringe = depth - lesion.reach * np.clip(1.0 + LESION["reach_unevenness"].value * far, 0.0, 2.0)
    if lesion.reach == 0:
        fringe = np.full_like(depth, np.inf)
    return depth.astype(np.float32), inner.astype(np.float32), fringe.astype(np.float32)


def _territory(where: FloatArray, *, right: bool) -> FloatArray:
    """1 in one hemisphere of the cerebrum, 0 in the other, in brain stem and cerebellum."""
    x, y, z = where.T
    hemisphere = np.clip((x if right else -x) / LESION["hemisphere_edge"].value - 0.5, 0.0, 1.0)
    below_tentorium = (y < LESION["tentorium_y"].value) & (z < LESION["tentorium_z"].value)
    share: FloatArray = np.where(below_tentorium, 0.0, hemisphere).astype(np.float32)
    return share


def _ramp(distance: FloatArray, width: Prior) -> FloatArray:
    share: FloatArray = np.clip(0.5 - distance / np.float32(width.value), 0.0, 1.0)
    return share
