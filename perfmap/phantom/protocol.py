"""The record of an acquisition: scanner, injection and artefacts, frozen and serialisable."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from perfmap.errors import ConfigError
from perfmap.physics.aif import DispersionKind
from perfmap.physics.residue import ResidueFamily

Sequence = Literal["gradient-echo", "spin-echo"]
SliceOrder = Literal["simultaneous", "sequential", "interleaved"]
Agent = Literal["gadobutrol", "gadoterate", "gadodiamide", "gadopentetate", "gadobenate", "gadoteridol"]
ArterialGenerator = Literal["gamma-variate", "parker", "cardiac-output"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArterialParameters(_Record):
    """The bolus as it reaches the brain. Times in s, areas in mM·s, before the dose factor."""

    generator: ArterialGenerator = "gamma-variate"
    arrival: float = Field(default=15.0, ge=0, description="start of the bolus, s after the first image")
    area: float = Field(
        default=55.0, gt=0, description="first pass, mM·s; Parker: factor on the published curve"
    )
    alpha: float = Field(default=3.0, gt=0)
    beta: float = Field(default=1.5, gt=0)
    injection_duration: float = Field(default=3.0, gt=0)
    transit_time: float = Field(default=8.0, gt=0)
    n_chambers: float = Field(default=6.0, gt=0)
    recirculation_fraction: float = Field(default=0.2, ge=0)
    recirculation_delay: float = Field(default=12.0, ge=0)
    recirculation_tau: float = Field(default=8.0, gt=0)
    tail: float = Field(default=0.1, ge=0)
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
    physiology_frequency: tuple[float, float] = Field(default=(0.25, 1.1), description="Hz")
    dropout: float = Field(
        default=0.0, ge=0, description="extra R2* above the sinuses and petrous bones, 1/s"
    )
    dropout_radius: float = Field(default=15.0, gt=0, description="mm")
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
        default=0.0, ge=0, le=1.7, description="in-plane correlation of the noise, voxels"
    )
    scale: float = Field(default=1000.0, gt=0, description="stored value of baseline white matter")
    int16: bool = False
    stripped: bool = Field(default=False, description="0 outside of the brain, as after skull-stripping")


class MotionParameters(_Record):
    """Rigid motion from volume to volume."""

    walk: float = Field(default=0.0, ge=0, description="SD of the random walk a volume, mm and degrees")
    jumps: tuple[tuple[float, float], ...] = Field(
        default=(), description="(place in the series 0–1, size in mm and degrees)"
    )


class AcquisitionParameters(_Record):
    """One DSC-MRI acquisition. Times in s, angles in degrees, relaxivities in 1/(s·mM)."""

    sequence: Sequence = "gradient-echo"
    field_strength: float = Field(default=3.0, description="T: 1.5 or 3")
    echo_time: float = Field(default=0.030, ge=0)
    repetition_time: float = Field(default=1.5, ge=0, description="between two excitations of a slice, s")
    pulses_per_volume: int = Field(
        default=1, ge=1, description="shots; the images are repetition_time × this apart"
    )
    flip_angle: float = Field(default=60.0, gt=0, le=180)
    n_times: int = Field(default=45, ge=2)
    n_dummies: int = Field(default=4, ge=0)
    slice_order: SliceOrder = "simultaneous"
    multiband: int = Field(default=1, ge=1)
    agent: Agent = "gadobutrol"
    dose: float = Field(default=1.0, ge=0)
    hematocrit: float = Field(default=0.45, ge=0, lt=1, description="large vessels")
    hematocrit_factor: float = Field(default=0.733, gt=0)
    arterial: ArterialParameters = ArterialParameters()
    residue_family: ResidueFamily = "gamma"
    r2v_relative: float = Field(
        default=1.0, gt=0, description="tissue transverse relaxivity over the default of the field"
    )
    spin_echo_ratio: float = Field(
        default=0.27, gt=0, description="r2 of a spin echo over r2* of a gradient echo"
    )
    kappa_ex: float = Field(
        default=0.1, ge=0, le=1, description="share of intravascular agent that shortens tissue T1"
    )
    r2e: float = Field(default=12.0, ge=0, description="transverse relaxivity of leaked agent at 3 T")
    preload_plasma: float = Field(
        default=0.0, ge=0, description="plasma concentration left from a preload, mM"
    )
    preload_minutes: float = Field(default=6.0, ge=0, description="minutes from preload to the first image")
    arterial_kappa: float = Field(
        default=5.0, ge=0, description="linear relaxivity around an artery that fills half a voxel"
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
        if value not in (1.5, 3.0):
            raise ConfigError(f"field_strength is {value} T, wanted 1.5 or 3.0")
        return value

    @property
    def time_step(self) -> float:
        """Interval of two images of the same slice, s."""
        return self.repetition_time * self.pulses_per_volume
