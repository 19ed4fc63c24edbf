"""A case: one subject under one acquisition, with its truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from perfmap.errors import ConfigError
from perfmap.phantom.acquisition import acquire, draw_acquisition
from perfmap.phantom.artefacts import shift_along_y, shift_map
from perfmap.phantom.drawing import DrawOptions, SubjectParameters, draw_subject
from perfmap.phantom.geometry import Geometry, axial_geometry, draw_stack, native_geometry, upenn_geometry
from perfmap.phantom.priors import LABELS
from perfmap.phantom.protocol import AcquisitionParameters
from perfmap.phantom.regimes import find_regime, subject_options
from perfmap.phantom.subject import Subject, build_subject
from perfmap.series import Series

GeometryName = Literal["native", "upenn", "stack"]
FloatArray = NDArray[np.float32]

STACK_SLICES = 5
"""Slices of a stack where nobody says how many."""


class CaseParameters(BaseModel):
    """Everything that makes a case, as JSON: the same record gives the same bytes.

    Attributes
    ----------
    regime : str
        Regime it was drawn from.
    geometry : Geometry
        Where the slices lie.
    subject : SubjectParameters
        Anatomy, vessels, lesions, tissue.
    acquisition : AcquisitionParameters
        Scanner, injection, artefacts.
    subject_seed : int
        Seed the subject was drawn from, so that it can be drawn again for another field strength.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    regime: str
    geometry: Geometry
    subject: SubjectParameters
    acquisition: AcquisitionParameters
    subject_seed: int


@dataclass(frozen=True)
class SimulatedCase:
    """A series and its truth.

    Attributes
    ----------
    signal : ndarray, float32, shape (x, y, z, t)
        Stored signal.
    affine : ndarray, shape (4, 4)
        Voxel indices to RAS+ millimetres.
    time_step, repetition_time, echo_time : float
        s.
    truth : dict of str to ndarray, shape (x, y, z)
        ``cbv`` (ml/100 ml), ``nrcbv`` (over white matter), ``cbf`` (ml/100 ml/min), ``mtt`` and ``delay`` (s),
        ``ktrans`` (1/min), ``labels`` (uint8), ``mask`` and ``nawm`` (bool).
    case : CaseParameters
        The record.
    """

    signal: FloatArray
    affine: NDArray[np.float64]
    time_step: float
    repetition_time: float
    echo_time: float
    truth: dict[str, NDArray[Any]]
    case: CaseParameters


def draw_case(
    rng: np.random.Generator | int,
    *,
    regime: str = "training",
    geometry: str = "stack",
    n_slices: int | None = None,
) -> CaseParameters:
    """Draw a case of a regime.

    Parameters
    ----------
    rng : numpy.random.Generator or int
        Source of randomness, or its seed.
    regime : str
        Name from `perfmap.phantom.regimes.REGIMES`.
    geometry : {"native", "upenn", "stack"}
        128 × 128 × 20; 240 × 240 × 155 at 1 mm; or a few slices of 128 × 128 at a random height.
    n_slices : int, optional
        Slices of the stack, or of the middle of a whole volume.

    Returns
    -------
    CaseParameters

    Raises
    ------
    ConfigError
        If regime or geometry are unknown.
    """
    generator = np.random.default_rng(rng) if isinstance(rng, int) else rng
    settings = find_regime(regime)
    acquisition_rng, subject_rng, geometry_rng = generator.spawn(3)
    acquisition = draw_acquisition(acquisition_rng, fixed=settings.acquisition)
    subject_seed = int(subject_rng.integers(2**31))
    grid = make_geometry(geometry_rng, geometry, n_slices=n_slices)
    subject = _draw_subject(subject_seed, subject_options(regime), grid, acquisition)
    return CaseParameters(
        regime=regime, geometry=grid, subject=subject, acquisition=acquisition, subject_seed=subject_seed
    )


def make_geometry(rng: np.random.Generator, name: str, *, n_slices: int | None = None) -> Geometry:
    """Geometry of a name, cut down to its middle slices where `n_slices` says so.

    Raises
    ------
    ConfigError
        If the name is unknown, or there are fewer slices than asked for.
    """
    if name == "stack":
        return draw_stack(rng, n_slices=n_slices or STACK_SLICES)
    whole = {"native": native_geometry, "upenn": upenn_geometry}
    if name not in whole:
        raise ConfigError(f"unknown geometry '{name}'; wanted native, upenn or stack")
    grid = whole[name]()
    if n_slices is None:
        return grid
    if not 1 <= n_slices <= grid.shape[2]:
        raise ConfigError(f"geometry '{name}' has {grid.shape[2]} slices, {n_slices} were asked for")
    x, y, z = (
        float(c) for c in grid.matrix[:3, :3] @ ((np.asarray(grid.shape) - 1) / 2) + grid.matrix[:3, 3]
    )
    shape = (grid.shape[0], grid.shape[1], n_slices)
    return axial_geometry(shape, grid.voxel_size, centre=(x, y, z), slice_thickness=grid.slice_thickness)


def change_case(case: CaseParameters, changes: Mapping[str, Any]) -> CaseParameters:
    """Change numbers of the acquisition and keep everything else: the same subject under another protocol.

    Another field strength draws the relaxation times of the same subject anew for that field, from the same seed.

    Parameters
    ----------
    case : CaseParameters
        The case.
    changes : mapping
        Dotted names below ``acquisition`` to values.

    Returns
    -------
    CaseParameters

    Raises
    ------
    ConfigError
        If a name does not exist or a value is refused.
    """
    content = case.acquisition.model_dump()
    for name, value in changes.items():
        place: Any = content
        *above, last = name.split(".")
        for part in above:
            place = place.get(part) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            raise ConfigError(f"no acquisition parameter is called {name}; see the keys of case.json")
        place[last] = value
    try:
        acquisition = AcquisitionParameters.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where} = {first['input']!r}: {first['msg']}") from error
    subject = case.subject
    if acquisition.field_strength != case.acquisition.field_strength:
        options = subject_options(case.regime)
        subject = _draw_subject(case.subject_seed, options, case.geometry, acquisition)
    return case.model_copy(update={"acquisition": acquisition, "subject": subject})


def _draw_subject(
    seed: int, options: DrawOptions, grid: Geometry, acquisition: AcquisitionParameters
) -> SubjectParameters:
    """Subject of a seed, with the relaxation times of the acquisition's field."""
    return draw_subject(
        np.random.default_rng(seed),
        options=options,
        field_strength=acquisition.field_strength,
        geometry=grid,
    )


def simulate_case(case: CaseParameters, subject: Subject | None = None) -> SimulatedCase:
    """Build the subject, acquire its series and work out the truth.

    Parameters
    ----------
    case : CaseParameters
        The record.
    subject : Subject, optional
        The record's subject on the record's slices, where a caller has built it already.

    Returns
    -------
    SimulatedCase
    """
    if subject is None:
        subject = build_subject(case.subject, case.geometry)
    acquisition = case.acquisition
    signal = acquire(subject, acquisition)
    truth = true_maps(subject)
    shift = shift_map(subject.shape, subject.affine, acquisition)
    if shift is not None:
        truth = {
            name: shift_along_y(array, shift, nearest=array.dtype.kind in "bu")
            for name, array in truth.items()
        }
    if acquisition.artefacts.stripped:
        signal[~truth["mask"]] = 0
    return SimulatedCase(
        signal=signal,
        affine=subject.affine,
        time_step=acquisition.time_step,
        repetition_time=acquisition.repetition_time,
        echo_time=acquisition.echo_time,
        truth=truth,
        case=case,
    )


def series_of(simulated: SimulatedCase) -> Series:
    """A simulated case as the series that a scanner would have given.

    Parameters
    ----------
    simulated : SimulatedCase

    Returns
    -------
    Series
        Shape (x, y, z, t), with the affine and the times of the case.
    """
    return Series(
        signal=simulated.signal,
        affine=simulated.affine,
        time_step=simulated.time_step,
        repetition_time=simulated.repetition_time,
        echo_time=simulated.echo_time,
        flip_angle=simulated.case.acquisition.flip_angle,
        field_strength=simulated.case.acquisition.field_strength,
    )


def true_maps(subject: Subject) -> dict[str, NDArray[Any]]:
    """Truth of every voxel from its compartments, before geometric distortion.

    CBV counts vessels; CBF and MTT are those of the tissue in the voxel (vessels have no flow of their own); the
    delay is the mean over blood volume; Ktrans the sum over compartments. nrCBV is CBV over its mean in
    normal-appearing white matter.

    Parameters
    ----------
    subject : Subject
        Tissue and vessels.

    Returns
    -------
    dict of str to ndarray, shape (x, y, z)
    """
    rows = subject.rows
    size = int(np.prod(subject.shape))
    vessel = (rows.tissue == LABELS["vessel_artery"]) | (rows.tissue == LABELS["vessel_vein"])

    def total(weights: NDArray[np.floating]) -> NDArray[np.float64]:
        return np.bincount(rows.voxel, weights=weights, minlength=size).astype(np.float64, copy=False)

    blood = (rows.fraction * rows.cbv).astype(np.float64)
    tissue_blood = np.where(vessel, 0.0, blood)
    cbv = total(blood)
    cbf = total(60.0 * tissue_blood / np.maximum(rows.mtt, 1e-3))
    tissue_cbv = total(tissue_blood)
    mtt = np.divide(60.0 * tissue_cbv, cbf, out=np.zeros(size), where=cbf > 1e-6)
    delay = np.divide(total(blood * rows.delay), cbv, out=np.zeros(size), where=cbv > 1e-6)
    ktrans = total(rows.fraction * rows.ktrans.astype(np.float64))
    white = float(cbv.reshape(subject.shape)[subject.nawm].mean())
    maps = {"cbv": cbv, "nrcbv": cbv / white, "cbf": cbf, "mtt": mtt, "delay": delay, "ktrans": ktrans}
    truth: dict[str, NDArray[Any]] = {
        name: values.reshape(subject.shape).astype(np.float32) for name, values in maps.items()
    }
    return truth | {"labels": subject.labels, "mask": subject.brain_mask, "nawm": subject.nawm}
