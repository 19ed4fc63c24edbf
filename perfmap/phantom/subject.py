"""A subject built from its record on any stack of slices, deterministically.

The record (`SubjectParameters`) comes from `perfmap.phantom.drawing` or from JSON; it knows nothing of slices, so
one subject can be imaged on several stacks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from perfmap.errors import ConfigError
from perfmap.phantom.anatomy import (
    Lattice,
    Placement,
    lattice,
    place,
    tissue_shares,
    to_template,
    widen_ventricles,
)
from perfmap.phantom.drawing import DrawOptions, SubjectParameters, draw_subject, options_of
from perfmap.phantom.fields import FloatArray, SmoothField, draw_field, evaluate_on_slice
from perfmap.phantom.geometry import Geometry
from perfmap.phantom.head import head_shares, prepare_head
from perfmap.phantom.lesions import LesionNoise, displace, occupancy, prepare_noise
from perfmap.phantom.priors import HEAD_CLASSES, LABELS, LESION_CLASSES, VESSEL_CLASSES
from perfmap.phantom.priors.anatomy import ANATOMY, VOXEL
from perfmap.phantom.template import hull_distance, look_up
from perfmap.phantom.tissue import (
    Compartment,
    Rows,
    Variation,
    concatenate_rows,
    prepare_variation,
    slice_rows,
)
from perfmap.phantom.vessels import vessel_fractions

__all__ = [
    "LABELS",
    "DrawOptions",
    "Rows",
    "Subject",
    "SubjectParameters",
    "build_subject",
    "draw_subject",
    "options_of",
    "true_cbv",
]

NAWM_LEAST = 30  # voxels
TISSUE_COLUMNS = ("csf", "gm", "wm", "deep_gm")


@dataclass(frozen=True)
class Subject:
    """A subject on a stack of slices.

    Attributes
    ----------
    shape : tuple of int
        Matrix (x, y, z).
    affine : ndarray, shape (4, 4)
    rows : Rows
        The compartments.
    labels : ndarray, uint8, shape (x, y, z)
        Largest compartment of each voxel; a vessel from a share of 0.08.
    brain_mask, nawm : ndarray, bool, shape (x, y, z)
        Brain with its CSF; normal-appearing white matter.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    rows: Rows
    labels: NDArray[np.uint8]
    brain_mask: NDArray[np.bool_]
    nawm: NDArray[np.bool_]


def true_cbv(subject: Subject) -> FloatArray:
    """CBV of every voxel, ml/100 ml: the sum of its compartments. Shape (x, y, z)."""
    weights = (subject.rows.fraction * subject.rows.cbv).astype(np.float64)
    total = np.bincount(subject.rows.voxel, weights=weights, minlength=int(np.prod(subject.shape)))
    cbv: FloatArray = total.reshape(subject.shape).astype(np.float32)
    return cbv


def build_subject(parameters: SubjectParameters, geometry: Geometry) -> Subject:
    """Build a subject on a stack of slices.

    Parameters
    ----------
    parameters : SubjectParameters
    geometry : Geometry

    Returns
    -------
    Subject
        The same arguments give the same bytes.

    Raises
    ------
    ConfigError
        If nilearn, whose brain maps are needed, is not installed, or no slice meets the brain.
    """
    ready = _prepare(parameters)
    blood = np.zeros((2, *geometry.shape), dtype=np.float32)
    if parameters.vessels is not None:
        blood = vessel_fractions(parameters.vessels, ready.placement, geometry)
    labels = np.zeros(geometry.shape, dtype=np.uint8)
    brain = np.zeros(geometry.shape, dtype=bool)
    white = np.zeros(geometry.shape, dtype=np.float32)
    sick = np.zeros(geometry.shape, dtype=bool)
    rows: list[Rows] = []
    n_slices = geometry.shape[2]
    for k in range(n_slices):
        middle = lattice(geometry, float(k))
        flat, compartments = _slice_compartments(ready, geometry, k, blood[..., k].reshape(2, -1))
        label, is_brain, purity, is_sick = _summaries(compartments, len(flat))
        labels.reshape(-1, n_slices)[flat, k] = label
        brain.reshape(-1, n_slices)[flat, k] = is_brain
        white.reshape(-1, n_slices)[flat, k] = purity
        sick.reshape(-1, n_slices)[flat, k] = is_sick
        rows.append(slice_rows(compartments, flat, ready.variation, middle, slice_index=k, n_slices=n_slices))
    if not brain.any():
        x, y, z = geometry.matrix[:3, :3] @ ((np.asarray(geometry.shape) - 1) / 2) + geometry.matrix[:3, 3]
        raise ConfigError(
            f"slices around ({x:.0f}, {y:.0f}, {z:.0f}) mm miss the brain; put them near (0, -18, 10) mm, where it lies"
        )
    return Subject(
        geometry.shape, geometry.matrix, concatenate_rows(rows), labels, brain, _nawm(white, sick, brain)
    )


@dataclass(frozen=True)
class _Ready:
    """A record with its random fields made."""

    parameters: SubjectParameters
    placement: Placement
    thickness: SmoothField
    noises: tuple[LesionNoise, ...]
    head_field: SmoothField | None
    variation: Variation


def _prepare(parameters: SubjectParameters) -> _Ready:
    head = parameters.head
    return _Ready(
        parameters,
        place(parameters.shape),
        draw_field(parameters.shape.thickness_seed, spacing=ANATOMY["thickness_spacing"].value),
        tuple(prepare_noise(lesion) for lesion in parameters.lesions),
        None if head is None else prepare_head(head),
        prepare_variation(parameters.variation, parameters.patchwork),
    )


def _slice_compartments(
    ready: _Ready, geometry: Geometry, k: int, blood: FloatArray
) -> tuple[NDArray[np.intp], list[Compartment]]:
    """Compartments of slice `k`, averaged over its thickness, and the flat (x, y) index of their points."""
    n_planes = max(1, int(np.ceil(geometry.thickness / VOXEL["sub_slice"].value)))
    spread = geometry.thickness / geometry.voxel_size[2]
    sums: dict[tuple[int, str], FloatArray] = {}
    for plane_number in range(n_planes):
        offset = ((plane_number + 0.5) / n_planes - 0.5) * spread
        for key, share in _plane_shares(ready, lattice(geometry, k + offset)).items():
            if key in sums:
                sums[key] += share
            else:
                sums[key] = share
    total = np.float32(1.0 / n_planes) * sum(sums.values(), start=np.zeros(blood.shape[1], dtype=np.float32))
    least = VOXEL["least_share"].value
    present = total >= least
    blood = np.where(present & (blood >= least), blood, np.float32(0))
    flat = np.flatnonzero(present)
    free = total[flat] * (1.0 - blood[0, flat] - blood[1, flat])
    kept = {key: _without_traces(share[flat] * np.float32(1.0 / n_planes)) for key, share in sums.items()}
    scale = free / np.maximum(sum(kept.values(), start=np.zeros_like(free)), np.float32(1e-6))
    parameters = ready.parameters
    compartments = [
        Compartment(
            name.partition(":")[0],
            parameters.tissues[name] if number < 0 else parameters.lesions[number].compartments[name],
            share * scale,
        )
        for (number, name), share in kept.items()
    ]
    for name, share in zip(VESSEL_CLASSES, blood, strict=True):
        compartments.append(Compartment(name, parameters.tissues[name], share[flat]))
    return flat, compartments


def _without_traces(share: FloatArray) -> FloatArray:
    share[share < VOXEL["least_share"].value] = 0.0
    return share


def _plane_shares(ready: _Ready, plane: Lattice) -> dict[tuple[int, str], FloatArray]:
    """Share of every class on one plane; keys are (lesion number or -1, class), values have shape (nx·ny,)."""
    parameters = ready.parameters
    where = to_template(ready.placement, displace(parameters.lesions, plane))
    distance = hull_distance(where) - np.float32(parameters.shape.hull_margin)
    flat = np.flatnonzero(distance < 0.5)
    shares: dict[tuple[int, str], FloatArray] = {}
    if parameters.head is not None and ready.head_field is not None:
        for name, share in head_shares(parameters.head, ready.head_field, where, distance, plane).items():
            shares[-1, name] = share.ravel()
    if len(flat) == 0:
        return shares
    places = widen_ventricles(ready.placement, where.reshape(-1, 3)[flat])
    maps = look_up(places)
    edge = np.clip(0.5 - (maps[:, 3] - np.float32(parameters.shape.hull_margin)), 0.0, 1.0)
    thickness = evaluate_on_slice(ready.thickness, *plane.along).reshape(-1)[flat]
    healthy = tissue_shares(maps, parameters.shape, thickness)
    inside: dict[tuple[int, str], FloatArray] = {}
    free = np.ones(len(flat), dtype=np.float32)
    for number, (lesion, noise) in enumerate(zip(parameters.lesions, ready.noises, strict=True)):
        for name, share in (occupancy(lesion, noise, plane, flat, healthy, places) or {}).items():
            inside[number, name] = share * free
        taken = [share for (owner, _), share in inside.items() if owner == number]
        free = free - sum(taken, start=np.zeros_like(free))
    for column, name in enumerate(TISSUE_COLUMNS):
        inside[-1, name] = healthy[:, column] * free
    for key, share in inside.items():
        full = np.zeros(distance.size, dtype=np.float32)
        full[flat] = share * edge
        shares[key] = full
    return shares


def _summaries(
    compartments: list[Compartment], n: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], FloatArray, NDArray[np.bool_]]:
    """Label, brain, share of white matter, and lesion, at `n` points.

    A vessel belongs to the brain where most of what surrounds it in the voxel does.
    """
    largest = np.zeros(n, dtype=np.float32)
    label = np.zeros(n, dtype=np.uint8)
    brain, head, white = (np.zeros(n, dtype=np.float32) for _ in range(3))
    sick = np.zeros(n, dtype=bool)
    for part in compartments:
        larger = part.share > largest
        largest[larger] = part.share[larger]
        label[larger] = LABELS[part.name]
        if part.name in HEAD_CLASSES:
            head += part.share
        else:
            brain += part.share
        if part.name == "wm":
            white += part.share
        if part.name in LESION_CLASSES:
            sick |= part.share > 0
    for part in compartments:
        if part.name in VESSEL_CLASSES:
            label[part.share > VOXEL["vessel_label"].value] = LABELS[part.name]
    in_brain = (brain > VOXEL["brain_share"].value) & (head < VOXEL["head_share"].value)
    return label, in_brain, white, sick


def _nawm(white: FloatArray, sick: NDArray[np.bool_], brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Normal-appearing white matter of a stack.

    WM of more than 90 % purity outside of lesions, eroded in plane by one voxel. Where that leaves fewer than
    `NAWM_LEAST` voxels (few or low slices) the steps are, in turn: no erosion; purity 75 %; the purest
    `NAWM_LEAST` brain voxels outside of lesions; the purest brain voxels at all.
    """
    cross = np.zeros((3, 3, 1), dtype=bool)
    cross[1, :, 0] = cross[:, 1, 0] = True
    pure = (white > VOXEL["nawm_purity"].value) & ~sick
    less = (white > VOXEL["nawm_lower_purity"].value) & ~sick
    for candidate in (ndimage.binary_erosion(pure, cross), pure, less):
        if np.count_nonzero(candidate) >= NAWM_LEAST:
            return candidate
    allowed = brain & ~sick if np.any(brain & ~sick) else brain
    purity = np.where(allowed, white, -1.0).ravel()
    chosen = np.zeros(purity.size, dtype=bool)
    chosen[np.argsort(-purity, kind="stable")[:NAWM_LEAST]] = True
    return chosen.reshape(white.shape) & allowed
