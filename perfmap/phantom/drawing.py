"""Draw a subject: all random numbers of a head, its tissue, its lesions and its vessels, in one record."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from perfmap.errors import ConfigError
from perfmap.phantom.anatomy import Placement, ShapeParameters, draw_shape, place, to_subject
from perfmap.phantom.geometry import Geometry
from perfmap.phantom.head import HeadParameters, draw_head
from perfmap.phantom.lesions import COMPARTMENTS, LESION_KINDS, LesionKind, LesionParameters, draw_lesion
from perfmap.phantom.priors import FIELD_STRENGTHS, HEAD_CLASSES, LESION_CLASSES, VESSEL_CLASSES, draw
from perfmap.phantom.priors.subject import FOCUS, LESION_BLOOD, LESION_RADIUS, N_LESIONS, PLACE, SUBJECT
from perfmap.phantom.template import brain_places
from perfmap.phantom.tissue import (
    FieldParameters,
    PatchworkParameters,
    TissueParameters,
    draw_patchwork,
    draw_tissue,
    draw_variation,
)
from perfmap.phantom.vessels import VesselParameters, draw_vessels

HEALTHY = ("csf", "gm", "wm", "deep_gm", *VESSEL_CLASSES, *HEAD_CLASSES)
LOOKS = ("t1", "t2star", "t2", "proton_density")
N_CANDIDATES = 3000
"""Places among which that of a lesion is chosen."""


class SubjectParameters(BaseModel):
    """Everything that makes a subject: numbers and seeds, no arrays.

    Attributes
    ----------
    field_strength : float
        T; relaxation times belong to it.
    shape : ShapeParameters
    tissues : dict of str to TissueParameters
        Means of every class outside of lesions.
    variation : FieldParameters
    patchwork : PatchworkParameters or None
        CBV that follows no anatomy.
    lesions : tuple of LesionParameters
    vessels : VesselParameters or None
    head : HeadParameters or None
        None: skull-stripped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field_strength: float
    shape: ShapeParameters
    tissues: dict[str, TissueParameters]
    variation: FieldParameters
    patchwork: PatchworkParameters | None
    lesions: tuple[LesionParameters, ...]
    vessels: VesselParameters | None
    head: HeadParameters | None

    @field_validator("field_strength")
    @classmethod
    def _known_field(cls, value: float) -> float:
        if value not in FIELD_STRENGTHS:
            raise ConfigError(
                f"field strength is {value} T, wanted one of {FIELD_STRENGTHS}: tissue is known there"
            )
        return value


class DrawOptions(BaseModel):
    """What kind of subjects to draw.

    Attributes
    ----------
    decorrelated : bool
        True: lesion CBV and GM/WM ratio are drawn independent of looks (training, linearity). False: the table.
    with_skull : bool or None
        None: half of the subjects.
    n_lesions : int or None
        None: 0, 1, 2 or 3 at 20/50/20/10 %.
    lesion_kinds : tuple of str
        Drawn from these.
    lesion_class : str or None
        Class of a ``sphere``; None draws one.
    lesion_radius : float or None
        Mean radius, mm.
    lesion_nrcbv : float or None
        CBV of every compartment over that of white matter. 0: a lesion without bolus.
    treatment_effect : bool
        The enhancing rim has nrCBV about 0.5.
    most_foci : int
        Small balls in subjects with lesions, of any CBV: none up to this many.
    invisible_share : float
        Share of lesions that look like white matter (times, proton density, no leakage).
    swap_gm_wm : bool
        Grey matter gets the CBV of white matter and the reverse.
    patchwork_share : float
        Share of subjects whose CBV follows no anatomy.
    r2v_spread : float
        SD of the relaxivity factor between classes of a subject.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    decorrelated: bool = False
    with_skull: bool | None = None
    n_lesions: int | None = Field(default=None, ge=0)
    lesion_kinds: tuple[LesionKind, ...] = Field(default=LESION_KINDS, min_length=1)
    lesion_class: str | None = None
    lesion_radius: float | None = Field(default=None, gt=0)
    lesion_nrcbv: float | None = Field(default=None, ge=0)
    treatment_effect: bool = False
    most_foci: int = Field(default=0, ge=0)
    invisible_share: float = Field(default=0.0, ge=0, le=1)
    swap_gm_wm: bool = False
    patchwork_share: float = Field(default=0.0, ge=0, le=1)
    r2v_spread: float = Field(default=0.0, ge=0)

    @field_validator("lesion_class")
    @classmethod
    def _known_class(cls, value: str | None) -> str | None:
        if value is not None and value not in LESION_CLASSES:
            raise ConfigError(f"lesion class is '{value}', wanted one of {' '.join(LESION_CLASSES)}")
        return value


_TRAINING = DrawOptions(
    decorrelated=True,
    most_foci=int(FOCUS["most"].value),
    invisible_share=LESION_BLOOD["invisible"].value,
    patchwork_share=SUBJECT["patchwork"].value,
    r2v_spread=SUBJECT["r2v_spread"].value,
)
OPTIONS: dict[str, DrawOptions] = {
    "training": _TRAINING,
    "linearity": DrawOptions(decorrelated=True, with_skull=False, n_lesions=2),
    "stroke": DrawOptions(with_skull=False, n_lesions=1, lesion_kinds=("infarct",)),
    "no-lesion": DrawOptions(with_skull=False, n_lesions=0),
    "treatment-effect": DrawOptions(
        with_skull=False, n_lesions=1, lesion_kinds=("glioblastoma",), treatment_effect=True
    ),
    "with-skull": DrawOptions(with_skull=True),
    "t1-leak": DrawOptions(with_skull=False, n_lesions=1, lesion_kinds=("glioblastoma", "meningioma")),
    "t2s-leak": DrawOptions(with_skull=False, n_lesions=1, lesion_kinds=("glioblastoma", "meningioma")),
    "upenn-like": DrawOptions(with_skull=False, n_lesions=1, lesion_kinds=("glioblastoma",)),
}
"""Subjects of the regimes that need their own; every other regime takes the tissue table without skull."""


def options_of(regime: str) -> DrawOptions:
    """Kind of subjects that a regime draws; the tissue table without skull unless `OPTIONS` says otherwise."""
    return OPTIONS.get(regime, DrawOptions(with_skull=False))


def draw_subject(
    rng: np.random.Generator,
    *,
    options: DrawOptions,
    field_strength: float | None = None,
    geometry: Geometry | None = None,
) -> SubjectParameters:
    """Draw the record of a subject.

    Parameters
    ----------
    rng : numpy.random.Generator
        The same state and options give the same subject at either field strength, but for its relaxation times.
    options : DrawOptions
    field_strength : float, optional
        1.5 or 3 T; drawn at 35/65 % where not given.
    geometry : Geometry, optional
        Lesions are put where these slices are; without it, anywhere in the brain.

    Returns
    -------
    SubjectParameters

    Raises
    ------
    ConfigError
        If the field strength is neither 1.5 nor 3 T.
    """
    drawn = FIELD_STRENGTHS[int(rng.random() < SUBJECT["three_tesla"].value)]
    field = drawn if field_strength is None else field_strength
    if field not in FIELD_STRENGTHS:
        raise ConfigError(
            f"field strength is {field} T, wanted one of {FIELD_STRENGTHS}: tissue is known there"
        )
    shape = draw_shape(rng)
    tissues = _draw_healthy(rng, options, field)
    n_drawn = int(rng.choice(list(N_LESIONS.shares), p=list(N_LESIONS.shares.values())))
    n_lesions = n_drawn if options.n_lesions is None else options.n_lesions
    placement = place(shape)
    lesions = tuple(_draw_lesion(rng, options, placement, geometry, tissues, field) for _ in range(n_lesions))
    drawn_skull = bool(rng.random() < SUBJECT["skull"].value)
    with_skull = drawn_skull if options.with_skull is None else options.with_skull
    has_patchwork = rng.random() < options.patchwork_share
    variation = draw_variation(rng)
    patchwork = draw_patchwork(rng, base_cbv=tissues["wm"].cbv) if has_patchwork else None
    vessels = draw_vessels(rng)
    head = draw_head(rng) if with_skull else None
    n_foci = int(rng.integers(options.most_foci + 1)) if options.most_foci and lesions else 0
    foci = tuple(_draw_focus(rng, placement, geometry, tissues, field) for _ in range(n_foci))
    return SubjectParameters(
        field_strength=field,
        shape=shape,
        tissues=tissues,
        variation=variation,
        patchwork=patchwork,
        lesions=(*lesions, *foci),
        vessels=vessels,
        head=head,
    )


def _draw_healthy(
    rng: np.random.Generator, options: DrawOptions, field_strength: float
) -> dict[str, TissueParameters]:
    tissues = {name: draw_tissue(name, rng, field_strength=field_strength) for name in HEALTHY}
    white = tissues["wm"].cbv
    ratio = tissues["gm"].cbv / white
    limits = SUBJECT["gm_wm_ratio"]
    if options.decorrelated:
        ratio = draw(limits, rng)
    changes: dict[str, dict[str, float]] = {name: {} for name in HEALTHY}
    changes["gm"]["cbv"] = white * float(np.clip(ratio, limits.low, limits.high))
    if options.decorrelated:
        changes["deep_gm"]["cbv"] = white * draw(limits, rng)
    if options.swap_gm_wm:
        changes["wm"]["cbv"], changes["gm"]["cbv"] = changes["gm"]["cbv"], white
    if rng.random() < SUBJECT["bright_scalp"].value:
        changes["scalp"]["proton_density"] = draw(SUBJECT["bright_scalp_density"], rng)
    if options.r2v_spread > 0:
        for name in ("gm", "wm", "deep_gm"):
            changes[name]["r2v_factor"] = _factor(rng, options.r2v_spread)
    return {name: tissue.model_copy(update=changes[name]) for name, tissue in tissues.items()}


def _factor(rng: np.random.Generator, spread: float) -> float:
    limits = SUBJECT["r2v_factor"]
    return float(np.clip(rng.normal(1.0, spread), limits.low, limits.high))


def _draw_lesion(
    rng: np.random.Generator,
    options: DrawOptions,
    placement: Placement,
    geometry: Geometry | None,
    tissues: dict[str, TissueParameters],
    field_strength: float,
) -> LesionParameters:
    kind = options.lesion_kinds[int(rng.integers(len(options.lesion_kinds)))]
    radius = options.lesion_radius or draw(LESION_RADIUS[kind], rng)
    centre = _draw_centre(rng, kind, placement, geometry, radius)
    names = COMPARTMENTS.get(kind, (options.lesion_class or "low_grade",))
    invisible = rng.random() < options.invisible_share
    compartments: dict[str, TissueParameters] = {}
    for name in names:
        class_name, _, in_white = name.partition(":")
        if in_white:
            compartments[name] = _white_host(rng, compartments[class_name], tissues["wm"], options)
            continue
        tissue = draw_tissue(class_name, rng, field_strength=field_strength)
        changes: dict[str, float] = {}
        if invisible:
            changes = {key: getattr(tissues["wm"], key) for key in (*LOOKS, "ktrans")}
        elif kind == "infarct":
            changes = {key: getattr(tissues["gm"], key) for key in LOOKS}
        changes["cbv"] = _lesion_cbv(rng, class_name, tissue, options, tissues["wm"].cbv)
        changes["cbv_spread"] = 0.0 if kind == "sphere" else draw(LESION_BLOOD["unevenness"], rng)
        if options.r2v_spread > 0:
            changes["r2v_factor"] = _factor(rng, options.r2v_spread)
        compartments[name] = tissue.model_copy(update=changes)
    return draw_lesion(rng, kind, centre, compartments, radius=radius)


def _draw_focus(
    rng: np.random.Generator,
    placement: Placement,
    geometry: Geometry | None,
    tissues: dict[str, TissueParameters],
    field_strength: float,
) -> LesionParameters:
    """A small ball with an even CBV, most often seen by its CBV alone."""
    options = DrawOptions(
        lesion_kinds=("sphere",),
        lesion_radius=draw(FOCUS["radius"], rng),
        lesion_nrcbv=draw(LESION_BLOOD["nrcbv"], rng),
        invisible_share=FOCUS["invisible"].value,
    )
    return _draw_lesion(rng, options, placement, geometry, tissues, field_strength)


def _white_host(
    rng: np.random.Generator, grey: TissueParameters, white: TissueParameters, options: DrawOptions
) -> TissueParameters:
    """White matter of an infarct: it looks like white matter and has less blood than the grey matter beside it."""
    changes = {key: getattr(white, key) for key in LOOKS}
    if options.lesion_nrcbv is None:
        changes["cbv"] = grey.cbv * draw(LESION_BLOOD["infarct_white"], rng)
    return grey.model_copy(update=changes)


def _lesion_cbv(
    rng: np.random.Generator, name: str, tissue: TissueParameters, options: DrawOptions, white: float
) -> float:
    """CBV of one compartment, ml/100 ml."""
    if options.lesion_nrcbv is not None:
        return options.lesion_nrcbv * white
    if options.treatment_effect and name == "enhancing":
        return draw(LESION_BLOOD["treatment_effect"], rng) * white
    by_table = LESION_BLOOD["necrosis_as_table"].value
    if options.decorrelated and not (name == "necrosis" and rng.random() < by_table):
        return draw(LESION_BLOOD["nrcbv"], rng) * white
    return tissue.cbv


def _draw_centre(
    rng: np.random.Generator, kind: str, placement: Placement, geometry: Geometry | None, radius: float
) -> tuple[float, float, float]:
    """A place in the brain, in subject mm, that the stack reaches."""
    places, depth, grey_or_white = brain_places()
    chosen = rng.integers(len(places), size=N_CANDIDATES)
    where, deep, solid = places[chosen], depth[chosen], grey_or_white[chosen]
    if kind == "meningioma":
        shell = PLACE["meningioma_depth"]
        fits = (deep > -shell.high * radius) & (deep < -shell.low * radius)
        fits &= where[:, 2] > PLACE["meningioma_z"].value
    elif kind == "infarct":
        front = PLACE["infarct_y"]
        fits = (deep < -PLACE["infarct_depth"].value) & (np.abs(where[:, 0]) > PLACE["infarct_side"].value)
        fits &= (where[:, 1] > front.low) & (where[:, 1] < front.high)
        fits &= where[:, 2] > PLACE["infarct_z"].value
    else:
        fits = solid & (deep < -PLACE["tumour_depth"].value * radius)
    if not fits.any():  # larger than any place allows: as deep as there is
        fits = deep == deep.min()
    where = where[fits]
    if geometry is None:
        return _point(to_subject(placement, where[:1])[0])
    rough = where @ np.linalg.inv(placement.matrix).T + np.asarray(placement.shape.translation)
    inverse = np.linalg.inv(geometry.matrix)
    index = rough @ inverse[:3, :3].T + inverse[:3, 3]
    middle = (np.asarray(geometry.shape) - 1) / 2
    beyond = (np.abs(index - middle) - middle) * geometry.voxel_size
    inside = PLACE["beside_stack"].value
    reach = np.asarray([-inside, -inside, PLACE["beyond_stack"].value * radius])
    distance = np.maximum(beyond - reach, 0.0).sum(axis=1)
    best = int(np.argmin(distance))
    return _point(to_subject(placement, where[best : best + 1])[0])


def _point(values: NDArray[np.floating]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
