"""What the tissue is made of: values of each class in one subject, and their variation from place to place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from perfmap.phantom.anatomy import Lattice, draw_seed
from perfmap.phantom.fields import (
    CORRELATION_OVER_SPACING,
    FloatArray,
    SmoothField,
    draw_field,
    evaluate_on_slice,
)
from perfmap.phantom.priors import LABELS, LESION_CLASSES, TISSUE, draw
from perfmap.phantom.priors.tissue import PATCHWORK, RELATIVE_SPREAD, VARIATION

VARYING = ("cbv", "mtt", "delay", "t1", "t2star", "t2", "proton_density", "ktrans", "ve")
"""Quantities that vary inside a class; each has its own random field, in this order."""


class TissueParameters(BaseModel):
    """Means of one tissue class in one subject. Units as in `Rows`.

    `cbv_spread` is the coefficient of variation of CBV inside the class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cbv: float
    mtt: float
    delay: float
    t1: float
    t2star: float
    t2: float
    proton_density: float
    ktrans: float
    ve: float
    residue_lambda: float
    r2v_factor: float = 1.0
    cbv_spread: float = RELATIVE_SPREAD["cbv"].value


class FieldParameters(BaseModel):
    """How values vary inside a class: smoothly over `correlation_length` mm, plus an independent part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    smooth_seed: int
    voxel_seed: int
    correlation_length: float
    delay_spread: float


class PatchworkParameters(BaseModel):
    """CBV that follows no anatomy: a smooth field and patches with sharp edges, the same for every class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    spacing: float
    base_cbv: float
    spread: float
    patch_contrast: float
    patch_threshold: float


@dataclass(frozen=True)
class Rows:
    """A subject as a table: one row for each tissue compartment of each voxel.

    A voxel's signal is the sum over its rows; fractions of a voxel add up to 1 inside the head, less at its edge.

    Attributes
    ----------
    voxel : ndarray, int32, shape (n,)
        Flat C-order index into the subject's shape.
    fraction : ndarray, float32, shape (n,)
        Volume share of the compartment.
    tissue : ndarray, int8, shape (n,)
        Identifier from `perfmap.phantom.priors.LABELS`.
    cbv : ml/100 ml
    mtt, delay : s
    residue_lambda : shape of the residue function
    t1, t2star, t2 : s
    proton_density : CSF is 1
    ktrans : 1/min
    ve : extravascular extracellular share
    r2v_factor : multiplies the intravascular relaxivity r2v
        All float32, shape (n,).
    """

    voxel: NDArray[np.int32]
    fraction: FloatArray
    tissue: NDArray[np.int8]
    cbv: FloatArray
    mtt: FloatArray
    delay: FloatArray
    residue_lambda: FloatArray
    t1: FloatArray
    t2star: FloatArray
    t2: FloatArray
    proton_density: FloatArray
    ktrans: FloatArray
    ve: FloatArray
    r2v_factor: FloatArray


def concatenate_rows(parts: list[Rows]) -> Rows:
    """Join tables, in order."""
    return Rows(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Rows)))


def draw_tissue(name: str, rng: np.random.Generator, *, field_strength: float) -> TissueParameters:
    """Draw the means of one class from the table.

    Parameters
    ----------
    name : str
        Class name, a key of `perfmap.phantom.priors.TISSUE`.
    rng : numpy.random.Generator
    field_strength : float
        1.5 or 3.0 T.

    Returns
    -------
    TissueParameters
    """
    prior = TISSUE[name]
    return TissueParameters(
        cbv=draw(prior.cbv, rng),
        mtt=draw(prior.mtt, rng),
        delay=draw(prior.delay, rng),
        t1=draw(prior.t1[field_strength], rng),
        t2star=draw(prior.t2star[field_strength], rng),
        t2=draw(prior.t2[field_strength], rng),
        proton_density=draw(prior.proton_density, rng),
        ktrans=draw(prior.ktrans, rng),
        ve=draw(prior.ve, rng),
        residue_lambda=draw(VARIATION["residue_lambda"], rng),
    )


def draw_variation(rng: np.random.Generator) -> FieldParameters:
    """Draw how values vary inside the classes."""
    return FieldParameters(
        smooth_seed=draw_seed(rng),
        voxel_seed=draw_seed(rng),
        correlation_length=draw(VARIATION["correlation_length"], rng),
        delay_spread=draw(VARIATION["delay_spread"], rng),
    )


def draw_patchwork(rng: np.random.Generator, *, base_cbv: float) -> PatchworkParameters:
    """Draw CBV regions that follow no anatomy, around `base_cbv` ml/100 ml."""
    return PatchworkParameters(
        seed=draw_seed(rng),
        spacing=draw(PATCHWORK["spacing"], rng),
        base_cbv=base_cbv,
        spread=draw(PATCHWORK["spread"], rng),
        patch_contrast=draw(PATCHWORK["contrast"], rng),
        patch_threshold=draw(PATCHWORK["threshold"], rng),
    )


@dataclass(frozen=True)
class Variation:
    """Fields of one subject, ready for use."""

    parameters: FieldParameters
    smooth: SmoothField
    texture: SmoothField
    patchwork: PatchworkParameters | None
    patches: SmoothField | None


def prepare_variation(parameters: FieldParameters, patchwork: PatchworkParameters | None) -> Variation:
    """Make the random fields of a subject."""
    spacing = parameters.correlation_length / CORRELATION_OVER_SPACING
    smooth = draw_field(parameters.smooth_seed, spacing=spacing, n_components=len(VARYING))
    texture = draw_field(parameters.smooth_seed + 1, spacing=VARIATION["texture_spacing"].value)
    patches = (
        None if patchwork is None else draw_field(patchwork.seed, spacing=patchwork.spacing, n_components=2)
    )
    return Variation(parameters, smooth, texture, patchwork, patches)


@dataclass(frozen=True)
class Compartment:
    """One class at the points of a slice: its name, its means, and its share (n,) of each point's volume."""

    name: str
    tissue: TissueParameters
    share: FloatArray


def slice_rows(
    compartments: Sequence[Compartment],
    flat: NDArray[np.intp],
    variation: Variation,
    plane: Lattice,
    *,
    slice_index: int,
    n_slices: int,
) -> Rows:
    """Rows of one slice from its compartments.

    Parameters
    ----------
    compartments : sequence of Compartment
    flat : ndarray, shape (n,)
        Index of the points in the slice, C order over (x, y).
    variation : Variation
    plane : Lattice
        Middle plane of the slice.
    slice_index, n_slices : int
        Position of the slice in the stack.

    Returns
    -------
    Rows
    """
    smooth = evaluate_on_slice(variation.smooth, *plane.along).reshape(len(VARYING), -1)
    rng = np.random.default_rng([variation.parameters.voxel_seed, slice_index])
    white = rng.standard_normal((len(VARYING), len(flat)), dtype=np.float32)
    alone = VARIATION["independent_share"].value
    blend = np.float32(np.sqrt(1 - alone)) * smooth[:, flat] + np.float32(np.sqrt(alone)) * white
    patch_cbv = _patch_cbv(variation, plane, flat)
    uneven = blend
    if any(compartment.name in LESION_CLASSES for compartment in compartments):
        texture = evaluate_on_slice(variation.texture, *plane.along).reshape(-1)[flat]
        uneven = blend.copy()
        uneven[0] = VARIATION["texture_smooth"].value * blend[0] + VARIATION["texture_fine"].value * texture
    parts = []
    for compartment in compartments:
        bells = uneven if compartment.name in LESION_CLASSES else blend
        if np.any(compartment.share > 0):
            parts.append(
                _compartment_rows(compartment, flat, bells, patch_cbv, variation, slice_index, n_slices)
            )
    return concatenate_rows(parts) if parts else _empty_rows()


def _compartment_rows(
    compartment: Compartment,
    flat: NDArray[np.intp],
    blend: FloatArray,
    patch_cbv: FloatArray | None,
    variation: Variation,
    slice_index: int,
    n_slices: int,
) -> Rows:
    name, tissue, share = compartment.name, compartment.tissue, compartment.share
    chosen = np.flatnonzero(share > 0)
    limits = VARIATION["relative_limits"]
    values: dict[str, FloatArray] = {}
    for number, quantity in enumerate(VARYING):
        mean = np.float32(getattr(tissue, quantity))
        bell = blend[number, chosen]
        if quantity == "delay":
            values[quantity] = mean + np.float32(variation.parameters.delay_spread) * bell
        elif quantity == "cbv" and name.startswith("vessel"):
            values[quantity] = np.full(len(chosen), mean)
        else:
            spread = tissue.cbv_spread if quantity == "cbv" else RELATIVE_SPREAD[quantity].value
            values[quantity] = mean * np.clip(1 + np.float32(spread) * bell, limits.low, limits.high)
    if patch_cbv is not None and name != "csf" and not name.startswith("vessel"):
        values["cbv"] = patch_cbv[chosen]
    return Rows(
        voxel=(flat[chosen] * n_slices + slice_index).astype(np.int32),
        fraction=share[chosen].astype(np.float32),
        tissue=np.full(len(chosen), LABELS[name], dtype=np.int8),
        residue_lambda=np.full(len(chosen), tissue.residue_lambda, dtype=np.float32),
        r2v_factor=np.full(len(chosen), tissue.r2v_factor, dtype=np.float32),
        **values,
    )


def _patch_cbv(variation: Variation, plane: Lattice, flat: NDArray[np.intp]) -> FloatArray | None:
    patchwork = variation.patchwork
    if patchwork is None or variation.patches is None:
        return None
    slow, patch = evaluate_on_slice(variation.patches, *plane.along).reshape(2, -1)[:, flat]
    inside = np.clip(PATCHWORK["steepness"].value * (patch - patchwork.patch_threshold) + 0.5, 0.0, 1.0)
    log_cbv = np.log(patchwork.base_cbv) + patchwork.spread * slow + np.log(patchwork.patch_contrast) * inside
    limits = PATCHWORK["cbv"]
    cbv: FloatArray = np.clip(np.exp(log_cbv), limits.low, limits.high).astype(np.float32)
    return cbv


def _empty_rows() -> Rows:
    kinds = {"voxel": np.int32, "tissue": np.int8}
    return Rows(*(np.empty(0, dtype=kinds.get(f.name, np.float32)) for f in fields(Rows)))
