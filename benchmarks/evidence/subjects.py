"""Simulated subjects for the evidence: drawn records, and the same records with one thing changed."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from perfmap.phantom.case import CaseParameters, change_case, draw_case
from perfmap.phantom.drawing import DrawOptions, draw_subject
from perfmap.phantom.geometry import Geometry, axial_geometry
from perfmap.phantom.lesions import LesionParameters
from perfmap.phantom.priors import LABELS
from perfmap.phantom.subject import Subject, build_subject
from perfmap.phantom.tissue import TissueParameters

FIRST_SEED = 910_000
"""Seeds of the evidence begin here: no training, test or other table draws from them."""


def seed_of(group: str, number: int) -> int:
    """Seed of subject `number` of a row group; groups do not share subjects."""
    return FIRST_SEED + 1000 * GROUPS.index(group) + number


GROUPS = (
    "truth",
    "linearity",
    "treatment",
    "protocols",
    "scale",
    "painting",
    "resolution",
    "rescan",
    "leakage",
    "relaxivity",
    "limits",
    "cost",
)


def drawn(
    group: str, number: int, *, regime: str, n_slices: int | None = None, geometry: str = "native"
) -> CaseParameters:
    """The record of subject `number` of a row group; the same arguments give the same subject."""
    return draw_case(seed_of(group, number), regime=regime, geometry=geometry, n_slices=n_slices)


# --- One thing changed ----------------------------------------------------------------------------------


def with_subject(case: CaseParameters, **changes: Any) -> CaseParameters:
    """The same case with fields of its subject replaced."""
    return case.model_copy(update={"subject": case.subject.model_copy(update=changes)})


def redrawn(case: CaseParameters, seed: int, options: DrawOptions) -> CaseParameters:
    """The same acquisition and slices with another subject, drawn by `options`."""
    subject = draw_subject(
        np.random.default_rng(seed),
        options=options,
        field_strength=case.acquisition.field_strength,
        geometry=case.geometry,
    )
    return case.model_copy(update={"subject": subject, "subject_seed": seed})


def without_noise(case: CaseParameters) -> CaseParameters:
    """The same case seen without noise."""
    return change_case(case, {"artefacts.snr": None})


def without_leakage(case: CaseParameters) -> CaseParameters:
    """The same case with an intact barrier everywhere: Ktrans is 0 in every compartment."""

    def tight(tissues: dict[str, Any]) -> dict[str, Any]:
        return {name: tissue.model_copy(update={"ktrans": 0.0}) for name, tissue in tissues.items()}

    subject = case.subject
    lesions = tuple(
        lesion.model_copy(update={"compartments": tight(lesion.compartments)}) for lesion in subject.lesions
    )
    return with_subject(case, tissues=tight(subject.tissues), lesions=lesions)


def without_vessels(case: CaseParameters) -> CaseParameters:
    """The same case without large vessels."""
    return with_subject(case, vessels=None)


def sphere(
    class_name: str,
    tissue: TissueParameters,
    centre: tuple[float, float, float],
    *,
    diameter: float,
    cbv: float,
) -> LesionParameters:
    """A ball of one lesion class with an even CBV.

    Parameters
    ----------
    class_name : str
        Label of the lesion.
    tissue : TissueParameters
        Everything but its CBV: with the values of white matter it is seen by its CBV alone.
    centre : tuple of float
        Subject mm.
    diameter : float
        mm.
    cbv : float
        ml/100 ml.
    """
    return LesionParameters(
        kind="sphere",
        centre=centre,
        radii=(diameter / 2, diameter / 2, diameter / 2),
        turn=0.0,
        irregularity=0.0,
        noise_seed=1,
        rim=0.0,
        reach=0.0,
        push=0.0,
        compartments={class_name: tissue.model_copy(update={"cbv": cbv, "cbv_spread": 0.0})},
    )


def white_places(case: CaseParameters, n: int, *, apart: float) -> list[tuple[float, float, float]]:
    """Voxel centres deepest in the white matter of a case, mm, at least `apart` mm from each other."""
    subject = build_subject(case.subject, case.geometry)
    white = shares(subject)["wm"] > 0.9
    depth = ndimage.distance_transform_edt(white, sampling=case.geometry.voxel_size)
    places: list[np.ndarray] = []
    for index in np.argsort(-depth, axis=None, kind="stable")[:20000]:
        voxel = np.unravel_index(index, depth.shape)
        place = case.geometry.matrix @ [*voxel, 1]
        if all(np.linalg.norm(place - other) >= apart for other in places):
            places.append(place)
        if len(places) == n:
            break
    return [(float(p[0]), float(p[1]), float(p[2])) for p in places]


# --- Slices ---------------------------------------------------------------------------------------------


def slab(
    *, n_slices: int, height: float = 10.0, tilt: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)
) -> Geometry:
    """Slices of a clinical scan, 1.8 × 1.8 mm and 5 mm thick, 6.5 mm apart, about a height and tilted about x.

    Parameters
    ----------
    n_slices : int
    height : float
        z of the middle of the stack, mm.
    tilt : float
        Rotation about the left–right axis, degrees.
    shift : tuple of float
        Displacement in x and y, mm.
    """
    centre = (shift[0], -18.0 + shift[1], height)
    flat = axial_geometry((128, 128, n_slices), (1.8, 1.8, 6.5), centre=centre, slice_thickness=5.0)
    if tilt == 0:
        return flat
    angle = np.deg2rad(tilt)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]], dtype=float
    )
    matrix = flat.matrix.copy()
    matrix[:3, :3] = turn @ matrix[:3, :3]
    matrix[:3, 3] = np.asarray(centre) - matrix[:3, :3] @ ((np.asarray(flat.shape) - 1) / 2)
    rows = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in matrix)
    return flat.model_copy(update={"affine": rows})


# --- What the voxels hold -------------------------------------------------------------------------------


def shares(subject: Subject) -> dict[str, np.ndarray]:
    """Volume share of every tissue class in every voxel. Shape (x, y, z) each."""
    rows, size = subject.rows, int(np.prod(subject.shape))
    return {
        name: np.bincount(
            rows.voxel, weights=rows.fraction * (rows.tissue == number), minlength=size
        ).reshape(subject.shape)
        for name, number in LABELS.items()
        if name != "background"
    }


def purity(subject: Subject) -> np.ndarray:
    """Share of each voxel that is of the class of its label. Shape (x, y, z)."""
    found = np.zeros(subject.shape, dtype=np.float32)
    for name, share in shares(subject).items():
        here = subject.labels == LABELS[name]
        found[here] = share[here]
    return found
