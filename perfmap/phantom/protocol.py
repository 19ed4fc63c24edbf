"""The record of an acquisition: scanner, injection and artefacts, frozen and serialisable."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from perfmap.errors import ConfigError
from perfmap.phantom.priors import FIELD_STRENGTHS
from perfmap.phantom.priors.acquisition import ACQUISITION, USUAL_FLIP_ANGLE
from perfmap.physics.aif import DispersionKind
from perfmap.physics.residue import ResidueFamily
from perfmap.physics.signal import LARGEST_FWHM

Sequence = Literal["gradient-echo", "spin-echo"]
SliceOrder = Literal["simultaneous", "sequential", "interleaved"]
Agent = Literal["gadobutrol", "gadoterate", "gadodiamide", "gadopentetate", "gadobenate", "gadoteridol"]
ArterialGenerator = Literal["gamma-variate", "parker", "cardiac-output"]

_A = ACQUISITION


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArterialParameters(_Record):
    """The bolus as it reaches the brain. Times in s, areas in mM·s, before the dose factor."""

    generator: ArterialGenerator = "gamma-variate"
    arrival: float = Field(
        default=_A["arrival"].default, ge=0, description="start of the bolus, s after the first image"
    )
    area: float = Field(
        default=_A["area"].default,
        gt=0,
        description="first pass, mM·s; Parker: factor on the published curve",
    )
    alpha: float = Field(default=_A["alpha"].default, gt=0)
    beta: float = Field(default=_A["beta"].default, gt=0)
    injection_duration: float = Field(default=_A["injection_duration"].default, gt=0)
    transit_time: float = Field(default=_A["transit_time"].default, gt=0)
    n_chambers: float = Field(default=_A["n_chambers"].default, gt=0)
    recirculation_fraction: float = Field(default=_A["recirculation_fraction"].default, ge=0)
    recirculation_delay: float = Field(default=_A["recirculation_delay"].default, ge=0)
    recirculation_tau: float = Field(default=_A["recirculation_tau"].default, gt=0)
    tail: float = Field(default=_A["tail"].default, ge=0)
    dispersion_kind: DispersionKind = "none"
    dispersion_time: float = Field(default=0.0, ge=0)


class ArtefactParameters(_Record):
    """Everything between the physics of a voxel and the stored number. 0 switches an entry off."""

    bias: float = Field(default=0.0, ge=0, description="bias field exp(± bias)")
    drift: tuple[float, float] = Field(
        default=(0.0, 0.0), description="linear and quadratic drift over the series, fraction"
    )
    physiology: tuple[float, float] = Field(
        default=(0.0, 0.0), description="respiratory and cardiac amplitude, fraction"
    )
    physiology_frequency: tuple[float, float] = Field(
        default=(_A["respiration_frequency"].default, _A["heart_frequency"].default), description="Hz"
    )
    dropout: float = Field(
        default=0.0, ge=0, description="extra R2* above the sinuses and petrous bones, 1/s"
    )
    dropout_radius: float = Field(default=_A["dropout_radius"].default, gt=0, description="mm")
    epi_shift: float = Field(
        default=0.0, ge=0, description="largest geometric shift along phase encoding (y), voxels"
    )
    ghost: float = Field(default=0.0, ge=0, le=0.5, description="N/2 ghost, fraction")
    spikes: tuple[tuple[float, float], ...] = Field(
        default=(), description="(place in the series 0–1, relative change)"
    )
    dropped: float | None = Field(
        default=None, description="place in the series 0–1 of a volume that repeats the one before"
    )
    snr: float | None = Field(
        default=None, gt=0, description="baseline signal of white matter over noise SD; None: no noise"
    )
    noise_fwhm: float = Field(
        default=0.0, ge=0, le=LARGEST_FWHM, description="in-plane correlation of the noise, voxels"
    )
    scale: float = Field(
        default=_A["scale"].default, gt=0, description="stored value of baseline white matter"
    )
    int16: bool = False
    stripped: bool = Field(default=False, description="0 outside of the brain, as after skull-stripping")


class MotionParameters(_Record):
    """Rigid motion from volume to volume."""

    walk: float = Field(default=0.0, ge=0, description="SD of the random walk a volume, mm and degrees")
    jumps: tuple[tuple[float, float], ...] = Field(
        default=(), description="(place in the series 0–1, size in mm and degrees)"
    )
    left: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="share of the motion that registration to the first images leaves over",
    )


class AcquisitionParameters(_Record):
    """One DSC-MRI acquisition. Times in s, angles in degrees, relaxivities in 1/(s·mM)."""

    sequence: Sequence = "gradient-echo"
    field_strength: float = Field(default=FIELD_STRENGTHS[-1], description="T: 1.5 or 3")
    echo_time: float = Field(default=_A["echo_time"].default, ge=0, le=1)
    repetition_time: float = Field(
        default=_A["repetition_time"].default, ge=0, description="between two excitations of a slice, s"
    )
    pulses_per_volume: int = Field(
        default=1, ge=1, description="shots; the images are repetition_time × this apart"
    )
    flip_angle: float = Field(default=USUAL_FLIP_ANGLE.value, gt=0, le=180)
    n_times: int = Field(default=int(_A["n_times"].default), ge=2)
    n_dummies: int = Field(default=int(_A["n_dummies"].default), ge=0)
    slice_order: SliceOrder = "simultaneous"
    multiband: int = Field(default=1, ge=1)
    agent: Agent = "gadobutrol"
    dose: float = Field(default=1.0, ge=0)
    hematocrit: float = Field(default=_A["hematocrit"].value, ge=0, lt=1, description="large vessels")
    hematocrit_factor: float = Field(default=_A["hematocrit_factor"].value, gt=0)
    arterial: ArterialParameters = ArterialParameters()
    residue_family: ResidueFamily = "gamma"
    r2v_relative: float = Field(
        default=_A["r2v_relative"].default,
        gt=0,
        description="tissue transverse relaxivity over the default of the field",
    )
    spin_echo_ratio: float = Field(
        default=_A["spin_echo_ratio"].default,
        gt=0,
        description="r2 of a spin echo over r2* of a gradient echo",
    )
    kappa_ex: float = Field(
        default=_A["kappa_ex"].default,
        ge=0,
        le=1,
        description="share of intravascular agent that shortens tissue T1",
    )
    r2e: float = Field(
        default=_A["r2e"].default, ge=0, description="transverse relaxivity of leaked agent at 3 T"
    )
    preload_plasma: float = Field(
        default=0.0, ge=0, description="plasma concentration left from a preload, mM"
    )
    preload_minutes: float = Field(
        default=_A["preload_minutes"].default, ge=0, description="minutes from preload to the first image"
    )
    arterial_kappa: float = Field(
        default=_A["arterial_kappa"].default,
        ge=0,
        description="linear relaxivity around an artery that fills half a voxel",
    )
    b1_spread: float = Field(
        default=0.0, ge=0, lt=1, description="flip angle times 1 ± this, smooth in space"
    )
    artefacts: ArtefactParameters = ArtefactParameters()
    motion: MotionParameters = MotionParameters()
    seed: int = 0

    @field_validator("field_strength")
    @classmethod
    def _known_field(cls, value: float) -> float:
        if value not in FIELD_STRENGTHS:
            raise ConfigError(
                f"field_strength is {value} T, wanted {' or '.join(str(known) for known in FIELD_STRENGTHS)}"
            )
        return value

    @property
    def time_step(self) -> float:
        """Interval of two images of the same slice, s."""
        return self.repetition_time * self.pulses_per_volume
