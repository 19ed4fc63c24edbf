"""Priors of the acquisition: every number with its range, unit and source, in one table.

Source tags: **V** read in a public source, **D** derived or measured while the simulator was written, **M** literature
as remembered: a prior, not a fact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Distribution = Literal["uniform", "log-uniform", "normal", "choice", "chance"]


@dataclass(frozen=True)
class AcquisitionPrior:
    """Range of one drawn number.

    Attributes
    ----------
    low, high : float
        Limits; for ``chance`` `low` is the probability and `high` is not used.
    unit : str
        Unit.
    source : {"V", "D", "M"}
        Source tag.
    distribution : str
        How it is drawn between the limits.
    """

    low: float
    high: float
    unit: str
    source: Literal["V", "D", "M"]
    distribution: Distribution = "uniform"


_P = AcquisitionPrior
ACQUISITION_PRIORS: dict[str, AcquisitionPrior] = {
    # scanner
    "three_tesla": _P(0.65, 1, "chance", "M", "chance"),
    "spin_echo": _P(0.10, 1, "chance", "M", "chance"),
    "echo_time": _P(0.020, 0.050, "s", "V"),
    "spin_echo_echo_time": _P(0.060, 0.105, "s", "M"),
    "repetition_time": _P(1.0, 2.5, "s", "V"),
    "two_shots": _P(0.05, 1, "chance", "M", "chance"),
    "n_times": _P(30, 120, "images", "M"),
    "n_times_45": _P(0.25, 1, "chance", "M", "chance"),
    "dummies": _P(0.70, 1, "chance", "M", "chance"),
    "n_dummies": _P(3, 5, "pulses", "M"),
    "simultaneous_slices": _P(0.3, 1, "chance", "M", "chance"),
    "b1_spread": _P(0.0, 0.15, "fraction", "M"),
    # injection
    "alpha": _P(2.0, 6.0, "1", "D"),
    "beta": _P(0.9, 2.5, "s", "D"),
    "area": _P(30.0, 90.0, "mM·s", "D", "log-uniform"),
    "parker_area": _P(0.75, 1.35, "1", "M", "log-uniform"),
    "recirculation_fraction": _P(0.08, 0.35, "1", "M"),
    "recirculation_delay": _P(7.0, 20.0, "s", "M"),
    "recirculation_tau": _P(4.0, 40.0, "s", "M", "log-uniform"),
    "tail": _P(0.02, 0.20, "1", "D"),
    "peak": _P(3.0, 12.0, "mM", "V"),
    "width": _P(4.0, 14.0, "s", "M"),
    "arrival": _P(5.0, 60.0, "s", "M"),
    "cardiac_output": _P(60.0, 140.0, "ml/s", "M"),
    "injection_rate": _P(2.0, 5.0, "ml/s", "M"),
    "injected_volume": _P(7.0, 16.0, "ml", "M"),
    "injected_amount": _P(5.0, 10.0, "mmol", "M"),
    "transit_time": _P(6.0, 11.0, "s", "M"),
    "n_chambers": _P(3.0, 9.0, "1", "M"),
    "dispersed": _P(0.5, 1, "chance", "M", "chance"),
    "dispersion_time": _P(0.0, 3.0, "s", "M"),
    # tissue's answer
    "r2v_relative": _P(0.6, 1.7, "1", "M", "log-uniform"),
    "spin_echo_ratio": _P(0.20, 0.35, "1", "M"),
    "kappa_ex": _P(0.0, 0.20, "1", "D"),
    "r2e": _P(3.0, 40.0, "1/(s·mM)", "D", "log-uniform"),
    "preload": _P(0.40, 1, "chance", "M", "chance"),
    "preload_plasma": _P(0.2, 0.6, "mM", "M"),
    "preload_minutes": _P(4.0, 10.0, "min", "M"),
    "arterial_kappa": _P(3.0, 10.0, "1/(s·mM)", "D", "log-uniform"),
    # artefacts
    "snr": _P(20.0, 200.0, "1", "D", "log-uniform"),
    "noise_fwhm": _P(0.0, 1.5, "voxel", "M"),
    "bias": _P(0.0, 0.30, "fraction", "M"),
    "drift": _P(-0.03, 0.03, "fraction", "M"),
    "physiology": _P(0.003, 0.015, "fraction", "M"),
    "respiration_frequency": _P(0.2, 0.4, "Hz", "M"),
    "heart_frequency": _P(0.8, 1.2, "Hz", "M"),
    "dropout": _P(20.0, 120.0, "1/s", "M"),
    "dropout_radius": _P(10.0, 20.0, "mm", "M"),
    "epi_shift": _P(0.0, 3.0, "voxel", "M"),
    "shifted": _P(0.5, 1, "chance", "M", "chance"),
    "moving": _P(0.5, 1, "chance", "M", "chance"),
    "walk": _P(0.1, 0.3, "mm and degrees a volume", "M"),
    "jump": _P(1.0, 4.0, "mm and degrees", "M"),
    "ghosting": _P(0.3, 1, "chance", "M", "chance"),
    "ghost": _P(0.0, 0.05, "fraction", "M"),
    "spiking": _P(0.10, 1, "chance", "M", "chance"),
    "spike": _P(0.05, 0.30, "fraction", "M"),
    "dropping": _P(0.02, 1, "chance", "M", "chance"),
    "scale": _P(50.0, 4000.0, "stored units", "M", "log-uniform"),
    "int16": _P(0.5, 1, "chance", "M", "chance"),
}

FLIP_ANGLES = (30.0, 35.0, 60.0, 70.0, 72.0, 80.0, 90.0)  # degrees [V]
DOSES = {1.0: 0.7, 0.5: 0.1, 1.5: 0.1, 2.0: 0.1}  # share of the series [M]
GENERATOR_SHARES = {"gamma-variate": 0.6, "parker": 0.2, "cardiac-output": 0.2}  # [M]
RESIDUE_SHARES = {"gamma": 0.8, "box": 0.07, "linear": 0.07, "lorentzian": 0.06}  # [M]
ARTERY_MODE_SHARES = (0.50, 0.35, 0.15)  # linear, complex, saturated [D]
SPIKY_FRACTION = 0.15  # arterial volume fraction from which the complex sum is spiky [D]

HELD_OUT: dict[str, tuple[float, float]] = {
    "echo_time": (0.037, 0.040),
    "flip_angle": (65.0, 72.0),
    "kappa_ex": (0.14, 0.18),
    "snr": (24.0, 30.0),
}
"""Ranges (limits included) that no training series has."""
HELD_OUT_RESIDUE = "lorentzian"

R2V_DEFAULT = {3.0: 50.0, 1.5: 30.0}  # 1/(s·mM), intravascular agent in tissue [D: bound by 90.8/45.4]
R2E_FIELD_FACTOR = {3.0: 1.0, 1.5: 0.7}  # [M]
BLOOD_R2STAR = {3.0: (0.493, 2.62), 1.5: (7.6, 0.574)}  # 1/(s·mM), 1/(s·mM²) [3 T M, 1.5 T V: van Osch 2003]
R1_RELAXIVITY = {  # 1/(s·mM) [V: Rohrer 2005, doi 10.1097/01.rli.0000184756.66360.d3]
    "gadobutrol": {3.0: 5.0, 1.5: 5.2},
    "gadoterate": {3.0: 3.5, 1.5: 3.6},
    "gadodiamide": {3.0: 4.0, 1.5: 4.3},
    "gadopentetate": {3.0: 3.7, 1.5: 4.1},
    "gadobenate": {3.0: 5.5, 1.5: 6.3},
    "gadoteridol": {3.0: 3.7, 1.5: 4.1},
}
GYROMAGNETIC_RATIO = 42.577e6  # Hz/T [V]
MOLAR_SUSCEPTIBILITY = 0.3209e-6  # SI, per mM of gadolinium [V: de Rochefort 2008, doi 10.1002/mrm.21710]

B1_SPACING = 80.0  # mm between lattice points of the B1 field [M]
BIAS_SPACING = 70.0  # mm [M]
PHYSIOLOGY_SPACING = 40.0  # mm [M]
SHIFT_RADIUS = 30.0  # mm, reach of the geometric shift around a susceptibility source [M]
ARTERY_SPACING = 20.0  # mm [M]
SUSCEPTIBILITY_SOURCES = ((0.0, 38.0, -28.0), (-44.0, -22.0, -34.0), (44.0, -22.0, -34.0))  # MNI mm [M]
MIN_BASELINE_IMAGES = 4  # steady images before the bolus, after the first two
MIN_SECONDS_AFTER_PEAK = 20.0
