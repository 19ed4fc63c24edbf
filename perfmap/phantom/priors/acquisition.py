"""Priors of the acquisition: scanner, injection, the tissue's answer, artefacts and motion."""

from __future__ import annotations

from perfmap.phantom.priors.row import Choice, Places, Prior, Row, fixed, log_uniform, share, spread, uniform
from perfmap.physics import aif

_BOXERMAN = "Boxerman 2020, doi 10.1093/neuonc/noaa141"


def _series(value: float, note: str = "") -> Prior:
    return share(value, "the series", note=note)


ACQUISITION: dict[str, Prior] = {
    # scanner
    "three_tesla": _series(0.65),
    "spin_echo": _series(0.10),
    "echo_time": uniform(0.020, 0.050, "s", "V", usual=0.030, note=_BOXERMAN),
    "spin_echo_echo_time": uniform(0.060, 0.105, "s"),
    "repetition_time": uniform(1.0, 2.5, "s", usual=1.5),
    "two_shots": _series(0.05),
    "spin_echo_flip_angle": fixed(90.0, "degree", "D"),
    "n_times": uniform(30, 120, "images", usual=45),
    "n_times_45": _series(0.25, "with the usual number"),
    "dummies": _series(0.70),
    "n_dummies": uniform(3, 5, "pulses", usual=4),
    "simultaneous_slices": _series(0.3),
    "b1_spread": uniform(0.0, 0.15, "fraction"),
    "b1_spacing": fixed(80.0, "mm", note="between control points of the B1 field"),
    # injection
    "alpha": uniform(2.0, 6.0, "", "D", usual=3.0),
    "beta": uniform(0.9, 2.5, "s", "D", usual=1.5),
    "area": log_uniform(30.0, 90.0, "mM·s", "D", usual=55.0),
    "parker_area": log_uniform(0.75, 1.35, "of the published curve"),
    "recirculation_fraction": uniform(0.08, 0.35, "of the first pass", usual=0.2),
    "recirculation_delay": uniform(7.0, 20.0, "s", usual=12.0),
    "recirculation_tau": log_uniform(4.0, 40.0, "s", usual=8.0),
    "tail": uniform(0.02, 0.20, "of the peak", "D", usual=0.1),
    "peak": uniform(
        3.0, 12.0, "mM", "V", note="limits, about the AIF of the Barrow data (6.07); else drawn again"
    ),
    "width": uniform(4.0, 14.0, "s", note="limits of the width at half height; else drawn again"),
    "bolus_window": fixed(90.0, "s", "D", note="in which peak and width are judged"),
    "foot": fixed(0.02, "of the peak", "D", note="at which a bolus has begun"),
    "arrival": uniform(5.0, 60.0, "s", usual=15.0),
    "least_baseline": fixed(4, "images", "V", note="steady, after the first two; CaPTk's check wants them"),
    "least_after_peak": fixed(20.0, "s", "D"),
    "late_tissue": fixed(5.0, "s", "D", note="by which tissue peaks after the artery"),
    "injection_duration": uniform(1.4, 8.0, "s", usual=3.0, note="volume over rate"),
    "cardiac_output": uniform(60.0, 140.0, "ml/s"),
    "injection_rate": uniform(2.0, 5.0, "ml/s"),
    "injected_volume": uniform(7.0, 16.0, "ml"),
    "injected_amount": uniform(5.0, 10.0, "mmol"),
    "transit_time": uniform(6.0, 11.0, "s", usual=8.0),
    "n_chambers": uniform(3.0, 9.0, usual=6.0),
    "dispersed": _series(0.5),
    "dispersion_time": uniform(0.0, 3.0, "s"),
    # tissue's answer
    "hematocrit": fixed(0.45, note="large vessels"),
    "hematocrit_factor": fixed(0.733, note="k_H, (1 − H large)/(1 − H small)"),
    "r2v_relative": log_uniform(0.6, 1.7, "of the default", usual=1.0),
    "spin_echo_ratio": uniform(0.20, 0.35, usual=0.27, note="r2 of a spin echo over r2* of a gradient echo"),
    "kappa_ex": uniform(0.0, 0.20, "", "D", usual=0.1, note="water exchange over an intact barrier"),
    "r2e": log_uniform(3.0, 40.0, "1/(s·mM)", "D", usual=12.0),
    "preload": _series(0.40),
    "preload_plasma": uniform(0.2, 0.6, "mM"),
    "preload_minutes": uniform(4.0, 10.0, "min", usual=6.0),
    "arterial_kappa": log_uniform(3.0, 10.0, "1/(s·mM)", "D", usual=5.0),
    "periarterial_cbv": fixed(
        4.0, "ml/100 ml", "D", note="of the tissue in a voxel on which the artery acts linearly"
    ),
    "inflow_t1_share": fixed(0.0, "", "D", note="agent in large vessels that shortens T1: blood is replaced"),
    "spiky_fraction": fixed(0.15, "", "D", note="blood from which the complex sum is spiky"),
    "artery_spacing": fixed(20.0, "mm", note="between control points of the arteries' ways to act"),
    "gyromagnetic_ratio": fixed(42.577e6, "Hz/T", "V", note="of the proton, CODATA"),
    "molar_susceptibility": fixed(
        0.3209e-6, "SI per mM", "V", note="gadolinium: de Rochefort 2008, doi 10.1002/mrm.21710"
    ),
    # artefacts
    "snr": log_uniform(20.0, 200.0, "", "D"),
    "noise_fwhm": uniform(0.0, 1.5, "voxel"),
    "bias": uniform(0.0, 0.30, "fraction"),
    "bias_spacing": fixed(70.0, "mm"),
    "drift": uniform(-0.03, 0.03, "fraction"),
    "physiology": uniform(0.003, 0.015, "fraction"),
    "physiology_spacing": fixed(40.0, "mm"),
    "respiration_frequency": uniform(0.2, 0.4, "Hz", usual=0.25),
    "heart_frequency": uniform(0.8, 1.2, "Hz", usual=1.1),
    "dropout": uniform(40.0, 120.0, "1/s"),
    "dropout_radius": uniform(8.0, 15.0, "mm", "D", usual=15.0),
    "source_jitter": spread(4.0, "mm", note="of the susceptibility sources"),
    "epi_shift": uniform(0.0, 3.0, "voxel"),
    "shifted": _series(0.5),
    "shift_radius": fixed(24.0, "mm", note="reach of the geometric shift around a source"),
    "least_shift": fixed(0.05, "voxel", "D", note="below which nothing is moved"),
    "unmoved_shift": fixed(0.02, "voxel", "D", note="below which a voxel stays where it is"),
    "moving": _series(0.5),
    "walk": uniform(0.1, 0.3, "mm and degrees a volume"),
    "walk_pull": fixed(0.97, "", "D", note="share of the way that is left a volume later"),
    "n_jumps": uniform(0, 3, "jumps"),
    "jump": uniform(1.0, 4.0, "mm and degrees"),
    "still": fixed(0.02, "mm and degrees", "D", note="below which an image is left as it is"),
    "sparse_slices": fixed(10.0, "mm", "D", note="spacing beyond which only motion in plane is shown"),
    "ghosting": _series(0.3),
    "ghost": uniform(0.0, 0.05, "fraction"),
    "spiking": _series(0.10),
    "n_spikes": uniform(1, 2, "volumes"),
    "spike": uniform(0.05, 0.30, "fraction"),
    "dropping": _series(0.02),
    "scale": log_uniform(50.0, 4000.0, "stored units", usual=1000.0),
    "int16": _series(0.5),
}

CHOICES: dict[str, Choice] = {
    "flip_angle": Choice(
        dict.fromkeys((30.0, 35.0, 60.0, 70.0, 72.0, 80.0, 90.0), 1 / 7),
        "degree",
        "M",
        "70 and 72 are held out of training; 30 and 60: " + _BOXERMAN,
    ),
    "dose": Choice({1.0: 0.7, 0.5: 0.1, 1.5: 0.1, 2.0: 0.1}, "", "M"),
    "generator": Choice({"gamma-variate": 0.6, "parker": 0.2, "cardiac-output": 0.2}, "", "M"),
    "dispersion_kind": Choice({"exponential": 0.5, "gamma": 0.5}, "", "M", "of the dispersed ones"),
    "residue_family": Choice(
        {"gamma": 0.8, "box": 0.07, "linear": 0.07, "lorentzian": 0.06}, "", "M", "Lorentzian is held out"
    ),
    "artery_mode": Choice({"linear": 0.50, "complex": 0.35, "saturated": 0.15}, "", "D"),
    "slice_order": Choice({"sequential": 0.5, "interleaved": 0.5}, "", "M", "where not simultaneous"),
    "multiband": Choice({1: 0.7, 2: 0.1, 3: 0.1, 4: 0.1}, "slices at a time", "M"),
}

USUAL_FLIP_ANGLE = fixed(60.0, "degree", "V", note="where none is drawn: " + _BOXERMAN)

HELD_OUT: dict[str, Prior] = {
    "echo_time": uniform(0.037, 0.040, "s", "D"),
    "flip_angle": uniform(65.0, 72.0, "degree", "D"),
    "kappa_ex": uniform(0.14, 0.18, "", "D"),
    "snr": uniform(24.0, 30.0, "", "D"),
}
"""Ranges (limits included) that no training series has."""
HELD_OUT_RESIDUE = "lorentzian"

R2V: dict[float, Prior] = {
    3.0: fixed(
        50.0, "1/(s·mM)", "D", note="intravascular agent in tissue; static dephasing bounds it by 90.8"
    ),
    1.5: fixed(30.0, "1/(s·mM)", "D", note="intravascular agent in tissue; bound 45.4"),
}
R2E_FIELD_FACTOR: dict[float, Prior] = {3.0: fixed(1.0), 1.5: fixed(0.7)}
_VAN_OSCH = "van Osch 2003, Magn Reson Med 49:1067"
BLOOD_LINEAR: dict[float, Prior] = {
    3.0: fixed(0.493, "1/(s·mM)"),
    1.5: fixed(7.6, "1/(s·mM)", "V", note=_VAN_OSCH),
}
BLOOD_QUADRATIC: dict[float, Prior] = {
    3.0: fixed(2.62, "1/(s·mM²)"),
    1.5: fixed(0.574, "1/(s·mM²)", "V", note=_VAN_OSCH),
}


def _r1(at_30: float, at_15: float) -> dict[float, Prior]:
    note = "Rohrer 2005, doi 10.1097/01.rli.0000184756.66360.d3"
    return {
        3.0: fixed(at_30, "1/(s·mM)", "V", note=note),
        1.5: fixed(at_15, "1/(s·mM)", "V", note=note),
    }


R1_RELAXIVITY: dict[str, dict[float, Prior]] = {
    "gadobutrol": _r1(5.0, 5.2),
    "gadoterate": _r1(3.5, 3.6),
    "gadodiamide": _r1(4.0, 4.3),
    "gadopentetate": _r1(3.7, 4.1),
    "gadobenate": _r1(5.5, 6.3),
    "gadoteridol": _r1(3.7, 4.1),
}
"""The agents, equally often."""

SUSCEPTIBILITY_SOURCES = Places(
    ((0.0, 38.0, -28.0), (-44.0, -22.0, -34.0), (44.0, -22.0, -34.0)),
    "x y z",
    "mm MNI",
    "M",
    note="sphenoid sinus and petrous bones",
)


def _parker() -> dict[str, Row]:
    """Parker's population curve: the numbers stand beside the formula."""
    note = "Parker 2006, doi 10.1002/mrm.21066"
    rows: dict[str, Row] = {}
    for n, (area, centre, width) in enumerate(
        zip(aif.PARKER_AREA, aif.PARKER_CENTRE, aif.PARKER_WIDTH, strict=True), start=1
    ):
        rows[f"parker.area {n}"] = fixed(area, "mM·min", "V", note=note)
        rows[f"parker.centre {n}"] = fixed(centre, "min", "V", note=note)
        rows[f"parker.width {n}"] = fixed(width, "min", "V", note=note)
    rows["parker.alpha"] = fixed(aif.PARKER_ALPHA, "mM", "V", note=note)
    rows["parker.beta"] = fixed(aif.PARKER_BETA, "1/min", "V", note=note)
    rows["parker.slope"] = fixed(aif.PARKER_SLOPE, "1/min", "V", note=note)
    rows["parker.tau"] = fixed(aif.PARKER_TAU, "min", "V", note=note)
    return rows


def acquisition_rows() -> dict[str, Row]:
    """Rows of this file by name; what depends on the field is named with it."""
    rows: dict[str, Row] = {f"acquisition.{name}": row for name, row in (ACQUISITION | CHOICES).items()}
    rows |= {f"held_out.{name}": prior for name, prior in HELD_OUT.items()}
    by_field = {
        "r2v": R2V,
        "r2e_factor": R2E_FIELD_FACTOR,
        "blood.linear": BLOOD_LINEAR,
        "blood.quadratic": BLOOD_QUADRATIC,
    } | {f"r1.{agent}": table for agent, table in R1_RELAXIVITY.items()}
    for name, table in by_field.items():
        rows |= {f"relaxivity.{name} at {tesla:g} T": prior for tesla, prior in table.items()}
    rows["acquisition.usual_flip_angle"] = USUAL_FLIP_ANGLE
    rows["acquisition.susceptibility_sources"] = SUSCEPTIBILITY_SOURCES
    return rows | _parker()
