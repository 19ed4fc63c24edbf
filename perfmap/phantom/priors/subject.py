"""Priors of the subjects: what kinds there are, how many lesions they have, and how much blood."""

from __future__ import annotations

import math

from perfmap.phantom.priors.row import Choice, Prior, Row, fixed, log_uniform, share, spread, uniform

SUBJECT: dict[str, Prior] = {
    "three_tesla": share(0.65, "the subjects", note="where no acquisition decides"),
    "skull": share(0.5, "the subjects", note="with skull, scalp, eyes and muscle"),
    "bright_scalp": share(0.3, "the subjects"),
    "bright_scalp_density": uniform(0.7, 1.2, note="proton density where fat suppression failed"),
    "gm_wm_ratio": uniform(1.2, 3.0, "", "D", note="CBV of grey over that of white matter"),
    "patchwork": share(0.2, "the training subjects", "D", note="whose CBV follows no anatomy"),
    "r2v_spread": fixed(
        0.05, "", "D", note="SD of the relaxivity factor between classes, training alone; scored sets 0"
    ),
    "r2v_factor": uniform(0.4, 1.6, "", "D", note="limits of that factor"),
}

N_LESIONS = Choice({0: 0.2, 1: 0.5, 2: 0.2, 3: 0.1}, "lesions", "M")

LESION_BLOOD: dict[str, Prior] = {
    "invisible": share(0.15, "the training lesions", "D", note="that look like white matter"),
    "nrcbv": log_uniform(
        0.3, 12.0, "", "D", note="CBV over that of white matter where truth is independent of looks"
    ),
    "necrosis_as_table": share(
        0.5, "the necroses", "D", note="with the blood of the table, where truth is independent of looks"
    ),
    "unevenness": uniform(0.15, 0.45, note="coefficient of variation of CBV inside one compartment"),
    "infarct_white": uniform(0.4, 0.8, note="CBV of an infarct's white matter over that of its grey matter"),
    "treatment_effect": Prior(
        0.3, 0.8, "", "D", "log_normal", 0.5, 0.2, note="nrCBV of a rim without blood: necrosis by radiation"
    ),
}

FOCUS: dict[str, Prior] = {
    "most": fixed(
        6.0,
        "foci",
        "D",
        note="in a training subject with a lesion; from none up to this many, equally likely",
    ),
    "radius": log_uniform(2.0, 7.0, "mm", "D"),
    "invisible": share(0.7, "the foci", "D", note="that look like white matter"),
}
"""Small balls in training subjects: what a network has not seen this small, it takes for noise and smooths away."""

LESION_RADIUS: dict[str, Prior] = {
    "glioblastoma": log_uniform(8.0, 28.0, "mm"),
    "low_grade": log_uniform(8.0, 28.0, "mm"),
    "meningioma": log_uniform(6.0, 22.0, "mm"),
    "infarct": log_uniform(18.0, 36.0, "mm"),
    "sphere": log_uniform(4.0, 12.0, "mm", "D"),
}
"""Mean radius of each kind of lesion."""

IRREGULARITY: dict[str, Prior] = {
    "glioblastoma": uniform(0.12, 0.30),
    "low_grade": uniform(0.15, 0.35),
    "meningioma": uniform(0.03, 0.10),
    "infarct": uniform(0.20, 0.40),
    "sphere": uniform(0.0, 0.0, "", "D"),
}
"""SD of the boundary's noise over the mean radius."""

LESION: dict[str, Prior] = {
    "stretch": spread(0.18, "SD of ln radius", note="of each axis"),
    "turn": uniform(0.0, math.pi, "rad", "D", note="about the axis through the slices"),
    "rim": uniform(0.15, 0.7, note="median thickness of the rim over the radius"),
    "swelling": share(0.8, "the glioblastomas and meningiomas", note="with oedema"),
    "reach": uniform(4.0, 22.0, "mm", note="of oedema beyond the tumour"),
    "push": uniform(0.0, 0.35, note="mass effect: share of the displacement at the centre"),
    "push_reach": fixed(1.2, "", "D", note="SD of the mass effect over the radius"),
    "slow_spacing": fixed(0.55, "", "D", note="of the boundary's slow noise over the radius"),
    "least_slow_spacing": fixed(7.0, "mm", "D"),
    "fast_spacing": fixed(2.3, "", "D", note="spacing of the slow noise over that of the fast"),
    "least_fast_spacing": fixed(5.0, "mm", "D"),
    "slow_amplitude": fixed(0.85, "", "D", note="of the boundary's noise"),
    "fast_amplitude": fixed(0.53, "", "D", note="SD 1 together with the slow one"),
    "rim_unevenness": fixed(0.5, "SD of ln thickness", "D"),
    "rim_limits": uniform(-1.5, 1.5, "ln of thickness over its median", "D"),
    "reach_unevenness": fixed(0.6, "", "D", note="SD of the reach over its mean"),
    "edge": fixed(1.0, "mm", "D", note="width of a tumour's edge"),
    "low_grade_edge": fixed(4.0, "mm", "D"),
    "core_edge": fixed(3.0, "mm", "D", note="between infarct core and penumbra"),
    "necrosis_edge": fixed(1.5, "mm", "D"),
    "oedema_edge": fixed(3.0, "mm", "D"),
    "oedema_in_grey": fixed(0.25, note="share of oedema in grey matter, 1 in white"),
    "csf_spared": fixed(0.7, note="share of the CSF that a low-grade tumour leaves free"),
    "hemisphere_edge": fixed(4.0, "mm", "D", note="ramp at the midline that an infarct does not cross"),
    "tentorium_y": fixed(-34.0, "mm MNI", note="cerebellum and brain stem lie behind"),
    "tentorium_z": fixed(-10.0, "mm MNI", note="and below"),
}
"""Bodies of lesions."""

PLACE: dict[str, Prior] = {
    "tumour_depth": fixed(0.5, "", "D", note="least depth below the hull over the radius"),
    "meningioma_depth": uniform(0.25, 0.7, "", "D", note="depth of the centre over the radius"),
    "meningioma_z": fixed(-30.0, "mm MNI", note="lowest"),
    "infarct_depth": fixed(12.0, "mm", note="least depth below the hull"),
    "infarct_side": fixed(22.0, "mm MNI", note="least distance from the midline"),
    "infarct_y": uniform(-55.0, 25.0, "mm MNI", note="territory of the middle cerebral artery"),
    "infarct_z": fixed(0.0, "mm MNI", note="lowest"),
    "beside_stack": fixed(4.0, "mm", "D", note="least distance of the centre from the stack's sides"),
    "beyond_stack": fixed(0.3, "", "D", note="how far it may lie above or below, over the radius"),
}
"""Where lesions lie."""


def subject_rows() -> dict[str, Row]:
    """Rows of this file by name."""
    rows: dict[str, Row] = {f"subject.{name}": prior for name, prior in SUBJECT.items()}
    rows["subject.n_lesions"] = N_LESIONS
    rows |= {f"lesion.{name}": prior for name, prior in (LESION_BLOOD | LESION).items()}
    rows |= {f"lesion.focus.{name}": prior for name, prior in FOCUS.items()}
    rows |= {f"lesion.radius.{name}": prior for name, prior in LESION_RADIUS.items()}
    rows |= {f"lesion.irregularity.{name}": prior for name, prior in IRREGULARITY.items()}
    rows |= {f"lesion.place.{name}": prior for name, prior in PLACE.items()}
    return rows
