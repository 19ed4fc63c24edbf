"""Priors of the acquisition: the other half of the table in `perfmap.phantom.priors`, with the same source tags."""

from __future__ import annotations

from perfmap.phantom.priors import Prior, Source


def _range(low: float, high: float, unit: str, source: Source = "M") -> Prior:
    return Prior(low, high, unit, source)


def _log(low: float, high: float, unit: str, source: Source = "M") -> Prior:
    return Prior(low, high, unit, source, "log_uniform")


def _chance(share: float, source: Source = "M") -> Prior:
    return Prior(share, share, "share of the series", source)


ACQUISITION_PRIORS: dict[str, Prior] = {
    # scanner
    "three_tesla": _chance(0.65),
    "spin_echo": _chance(0.10),
    "echo_time": _range(0.020, 0.050, "s", "V"),
    "spin_echo_echo_time": _range(0.060, 0.105, "s"),
    "repetition_time": _range(1.0, 2.5, "s", "V"),
    "two_shots": _chance(0.05),
    "n_times": _range(30, 120, "images"),
    "n_times_45": _chance(0.25),
    "dummies": _chance(0.70),
    "n_dummies": _range(3, 5, "pulses"),
    "simultaneous_slices": _chance(0.3),
    "b1_spread": _range(0.0, 0.15, "fraction"),
    # injection
    "alpha": _range(2.0, 6.0, "1", "D"),
    "beta": _range(0.9, 2.5, "s", "D"),
    "area": _log(30.0, 90.0, "mM·s", "D"),
    "parker_area": _log(0.75, 1.35, "1"),
    "recirculation_fraction": _range(0.08, 0.35, "1"),
    "recirculation_delay": _range(7.0, 20.0, "s"),
    "recirculation_tau": _log(4.0, 40.0, "s"),
    "tail": _range(0.02, 0.20, "1", "D"),
    "peak": _range(3.0, 12.0, "mM", "V"),
    "width": _range(4.0, 14.0, "s"),
    "arrival": _range(5.0, 60.0, "s"),
    "cardiac_output": _range(60.0, 140.0, "ml/s"),
    "injection_rate": _range(2.0, 5.0, "ml/s"),
    "injected_volume": _range(7.0, 16.0, "ml"),
    "injected_amount": _range(5.0, 10.0, "mmol"),
    "transit_time": _range(6.0, 11.0, "s"),
    "n_chambers": _range(3.0, 9.0, "1"),
    "dispersed": _chance(0.5),
    "dispersion_time": _range(0.0, 3.0, "s"),
    # tissue's answer
    "r2v_relative": _log(0.6, 1.7, "1"),
    "spin_echo_ratio": _range(0.20, 0.35, "1"),
    "kappa_ex": _range(0.0, 0.20, "1", "D"),
    "r2e": _log(3.0, 40.0, "1/(s·mM)", "D"),
    "preload": _chance(0.40),
    "preload_plasma": _range(0.2, 0.6, "mM"),
    "preload_minutes": _range(4.0, 10.0, "min"),
    "arterial_kappa": _log(3.0, 10.0, "1/(s·mM)", "D"),
    # artefacts
    "snr": _log(20.0, 200.0, "1", "D"),
    "noise_fwhm": _range(0.0, 1.5, "voxel"),
    "bias": _range(0.0, 0.30, "fraction"),
    "drift": _range(-0.03, 0.03, "fraction"),
    "physiology": _range(0.003, 0.015, "fraction"),
    "respiration_frequency": _range(0.2, 0.4, "Hz"),
    "heart_frequency": _range(0.8, 1.2, "Hz"),
    "dropout": _range(40.0, 120.0, "1/s"),
    "dropout_radius": _range(8.0, 15.0, "mm", "D"),
    "epi_shift": _range(0.0, 3.0, "voxel"),
    "shifted": _chance(0.5),
    "moving": _chance(0.5),
    "walk": _range(0.1, 0.3, "mm and degrees a volume"),
    "jump": _range(1.0, 4.0, "mm and degrees"),
    "ghosting": _chance(0.3),
    "ghost": _range(0.0, 0.05, "fraction"),
    "spiking": _chance(0.10),
    "spike": _range(0.05, 0.30, "fraction"),
    "dropping": _chance(0.02),
    "scale": _log(50.0, 4000.0, "stored units"),
    "int16": _chance(0.5),
}

FLIP_ANGLES = (30.0, 35.0, 60.0, 70.0, 72.0, 80.0, 90.0)  # degrees [V]
DOSES = {1.0: 0.7, 0.5: 0.1, 1.5: 0.1, 2.0: 0.1}  # share of the series [M]
GENERATOR_SHARES = {"gamma-variate": 0.6, "parker": 0.2, "cardiac-output": 0.2}  # [M]
RESIDUE_SHARES = {"gamma": 0.8, "box": 0.07, "linear": 0.07, "lorentzian": 0.06}  # [M]
ARTERY_MODE_SHARES = (0.50, 0.35, 0.15)  # linear, complex, saturated [D]
PERIARTERIAL_CBV = (
    4.0  # ml/100 ml: where the artery acts linearly on its voxel, the voxel is tissue otherwise [D]
)
INFLOW_T1_SHARE = (
    0.0  # share of the agent in large vessels that shortens T1: blood is replaced between pulses [D]
)
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
SHIFT_RADIUS = 24.0  # mm, reach of the geometric shift around a susceptibility source [M]
ARTERY_SPACING = 20.0  # mm [M]
SUSCEPTIBILITY_SOURCES = ((0.0, 38.0, -28.0), (-44.0, -22.0, -34.0), (44.0, -22.0, -34.0))  # MNI mm [M]
MIN_BASELINE_IMAGES = 4  # steady images before the bolus, after the first two
MIN_SECONDS_AFTER_PEAK = 20.0
