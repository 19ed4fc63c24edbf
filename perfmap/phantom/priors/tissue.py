"""Priors of the tissues: one row a quantity, class and field strength."""

from __future__ import annotations

from dataclasses import dataclass, fields

from perfmap.phantom.priors.row import Prior, Row, Source, fixed, log_uniform, normal, uniform


@dataclass(frozen=True)
class TissuePrior:
    """Distributions of one tissue class; relaxation times by field strength in tesla."""

    cbv: Prior
    mtt: Prior
    delay: Prior
    t1: dict[float, Prior]
    t2star: dict[float, Prior]
    t2: dict[float, Prior]
    proton_density: Prior
    ktrans: Prior
    ve: Prior


def _times(
    at_15: float, at_30: float, *, spread: float, source: Source, note: str = ""
) -> dict[float, Prior]:
    """A relaxation time at both fields, s, with a coefficient of variation between subjects."""
    return {
        field: normal(
            mean, mean * spread, mean * (1 - 3 * spread), mean * (1 + 3 * spread), "s", source, note=note
        )
        for field, mean in ((1.5, at_15), (3.0, at_30))
    }


def _both(low: float, high: float) -> dict[float, Prior]:
    """A wide range in s that holds at both fields."""
    return {1.5: uniform(low, high, "s"), 3.0: uniform(low, high, "s")}


_CBV = "ml/100 ml"
_STANISZ = "means: Stanisz 2005, doi 10.1002/mrm.20605"
_NONE = uniform(0.0, 0.0, "1/min", "D")
_NO_SPACE = uniform(0.2, 0.2, "", "D")
_GM_TIMES = {
    "t1": _times(1.12, 1.82, spread=0.05, source="V", note=_STANISZ),
    "t2star": _times(0.084, 0.066, spread=0.09, source="M"),
    "t2": _times(0.095, 0.085, spread=0.06, source="M"),
}

TISSUE: dict[str, TissuePrior] = {
    "csf": TissuePrior(
        cbv=uniform(0.0, 0.1, _CBV),
        mtt=uniform(5.0, 5.0, "s"),
        delay=uniform(1.0, 1.0, "s"),
        t1=_times(4.2, 4.2, spread=0.03, source="V", note="mean: published tables of relaxation times"),
        t2star={1.5: uniform(0.3, 0.5, "s"), 3.0: uniform(0.2, 0.4, "s")},
        t2=_both(1.0, 2.0),
        proton_density=normal(1.0, 0.01, 0.97, 1.0),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "gm": TissuePrior(
        cbv=normal(4.0, 0.8, 2.5, 6.0, _CBV),
        mtt=normal(4.0, 0.8, 2.0, 7.0, "s"),
        delay=uniform(0.0, 2.0, "s"),
        **_GM_TIMES,
        proton_density=normal(0.82, 0.015, 0.77, 0.87),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "wm": TissuePrior(
        cbv=normal(2.0, 0.5, 1.0, 3.0, _CBV),
        mtt=normal(5.0, 1.0, 2.5, 8.0, "s"),
        delay=uniform(0.5, 3.0, "s"),
        t1=_times(0.88, 1.08, spread=0.05, source="V", note=_STANISZ),
        t2star=_times(0.066, 0.053, spread=0.07, source="M"),
        t2=_times(0.080, 0.070, spread=0.06, source="M"),
        proton_density=normal(0.70, 0.015, 0.65, 0.75),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "deep_gm": TissuePrior(
        cbv=normal(3.5, 0.7, 2.0, 5.5, _CBV),
        mtt=normal(4.0, 0.7, 2.0, 7.0, "s"),
        delay=uniform(0.0, 1.5, "s"),
        t1=_times(1.10, 1.40, spread=0.06, source="M"),
        t2star=_times(0.055, 0.032, spread=0.10, source="M"),
        t2=_times(0.085, 0.072, spread=0.06, source="M"),
        proton_density=normal(0.78, 0.015, 0.73, 0.83),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "vessel_artery": TissuePrior(
        cbv=uniform(100.0, 100.0, _CBV, "D"),
        mtt=uniform(0.3, 0.8, "s"),
        delay=uniform(-2.0, 0.0, "s"),
        t1=_times(1.44, 1.63, spread=0.04, source="M"),
        t2star=_times(0.100, 0.050, spread=0.10, source="M"),
        t2=_times(0.200, 0.150, spread=0.10, source="M"),
        proton_density=normal(0.85, 0.02, 0.79, 0.91),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "vessel_vein": TissuePrior(
        cbv=uniform(100.0, 100.0, _CBV, "D"),
        mtt=uniform(2.0, 5.0, "s"),
        delay=uniform(3.0, 8.0, "s"),
        t1=_times(1.44, 1.63, spread=0.04, source="M"),
        t2star=_times(0.060, 0.025, spread=0.10, source="M"),
        t2=_times(0.100, 0.045, spread=0.10, source="M"),
        proton_density=normal(0.85, 0.02, 0.79, 0.91),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "enhancing": TissuePrior(
        cbv=Prior(3.0, 18.0, _CBV, "M", "log_normal", 8.0, 0.45),
        mtt=uniform(4.0, 10.0, "s"),
        delay=uniform(0.0, 3.0, "s"),
        t1=_both(1.4, 2.0),
        t2star=_both(0.050, 0.090),
        t2=_both(0.090, 0.140),
        proton_density=normal(0.85, 0.02, 0.79, 0.91),
        ktrans=Prior(0.02, 0.35, "1/min", "M", "log_normal", 0.08, 0.7),
        ve=uniform(0.1, 0.5),
    ),
    "necrosis": TissuePrior(
        cbv=uniform(0.0, 0.8, _CBV),
        mtt=uniform(6.0, 15.0, "s"),
        delay=uniform(0.0, 5.0, "s"),
        t1=_both(2.0, 3.5),
        t2star=_both(0.080, 0.200),
        t2=_both(0.180, 0.400),
        proton_density=normal(0.95, 0.02, 0.89, 1.0),
        ktrans=uniform(0.0, 0.02, "1/min"),
        ve=uniform(0.3, 0.8),
    ),
    "oedema": TissuePrior(
        cbv=uniform(1.0, 3.0, _CBV),
        mtt=uniform(5.0, 8.0, "s"),
        delay=uniform(0.5, 3.0, "s"),
        t1=_both(1.3, 1.8),
        t2star=_both(0.070, 0.120),
        t2=_both(0.110, 0.170),
        proton_density=normal(0.88, 0.02, 0.82, 0.94),
        ktrans=uniform(0.0, 0.01, "1/min"),
        ve=uniform(0.1, 0.2),
    ),
    "low_grade": TissuePrior(
        cbv=uniform(1.5, 4.0, _CBV),
        mtt=uniform(4.0, 8.0, "s"),
        delay=uniform(0.0, 3.0, "s"),
        **_GM_TIMES,
        proton_density=normal(0.85, 0.02, 0.79, 0.91),
        ktrans=_NONE,
        ve=uniform(0.2, 0.5),
    ),
    "meningioma": TissuePrior(
        cbv=uniform(8.0, 20.0, _CBV),
        mtt=uniform(4.0, 8.0, "s"),
        delay=uniform(0.0, 3.0, "s"),
        **_GM_TIMES,
        proton_density=normal(0.85, 0.02, 0.79, 0.91),
        ktrans=uniform(0.1, 0.5, "1/min"),
        ve=uniform(0.2, 0.5),
    ),
    "infarct_core": TissuePrior(
        cbv=uniform(0.3, 1.5, _CBV),
        mtt=uniform(10.0, 24.0, "s"),
        delay=uniform(4.0, 12.0, "s"),
        **_GM_TIMES,
        proton_density=normal(0.80, 0.02, 0.74, 0.86),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "penumbra": TissuePrior(
        cbv=uniform(3.0, 6.0, _CBV),
        mtt=uniform(8.0, 16.0, "s"),
        delay=uniform(3.0, 8.0, "s"),
        **_GM_TIMES,
        proton_density=normal(0.78, 0.02, 0.72, 0.84),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "skull": TissuePrior(
        cbv=uniform(1.0, 3.0, _CBV),
        mtt=uniform(4.0, 10.0, "s"),
        delay=uniform(0.5, 5.0, "s"),
        t1=_both(0.9, 1.3),
        t2star=_both(0.035, 0.045),
        t2=_both(0.040, 0.060),
        proton_density=uniform(0.1, 0.2),
        ktrans=uniform(0.0, 0.05, "1/min"),
        ve=uniform(0.1, 0.3),
    ),
    "scalp": TissuePrior(
        cbv=uniform(1.0, 3.0, _CBV),
        mtt=uniform(5.0, 12.0, "s"),
        delay=uniform(1.0, 6.0, "s"),
        t1=_both(0.9, 1.3),
        t2star=_both(0.035, 0.045),
        t2=_both(0.050, 0.080),
        proton_density=uniform(0.2, 0.5),
        ktrans=uniform(0.02, 0.2, "1/min"),
        ve=uniform(0.1, 0.3),
    ),
    "muscle": TissuePrior(
        cbv=uniform(1.0, 3.0, _CBV),
        mtt=uniform(5.0, 12.0, "s"),
        delay=uniform(1.0, 6.0, "s"),
        t1=_both(0.9, 1.3),
        t2star=_both(0.035, 0.045),
        t2=_both(0.040, 0.060),
        proton_density=uniform(0.3, 0.5),
        ktrans=uniform(0.05, 0.2, "1/min"),
        ve=uniform(0.1, 0.2),
    ),
    "eye": TissuePrior(
        cbv=uniform(0.0, 0.0, _CBV),
        mtt=uniform(5.0, 5.0, "s"),
        delay=uniform(1.0, 1.0, "s"),
        t1=_both(3.5, 4.2),
        t2star=_both(0.150, 0.300),
        t2=_both(0.600, 1.200),
        proton_density=normal(0.97, 0.01, 0.94, 1.0),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
}
"""The tissue table of the named regimes."""


def _relative(value: float) -> Prior:
    return fixed(value, "coefficient of variation")


RELATIVE_SPREAD: dict[str, Prior] = {
    "cbv": _relative(0.15),
    "mtt": _relative(0.15),
    "t1": _relative(0.03),
    "t2star": _relative(0.06),
    "t2": _relative(0.04),
    "proton_density": _relative(0.02),
    "ktrans": _relative(0.25),
    "ve": _relative(0.10),
}
"""Variation inside one class of one subject."""

VARIATION: dict[str, Prior] = {
    "delay_spread": uniform(0.2, 0.7, "s", note="SD of the delay inside one class of one subject"),
    "independent_share": fixed(
        0.10, note="part of the variance that is independent from voxel to voxel; the rest is smooth"
    ),
    "correlation_length": uniform(8.0, 20.0, "mm"),
    "relative_limits": uniform(0.1, 3.0, note="value of a voxel over the mean of its class"),
    "texture_spacing": fixed(6.0, "mm", "D", note="between control points of the unevenness of lesions"),
    "texture_smooth": fixed(0.6, "", "D", note="amplitude of the smooth part of a lesion's CBV"),
    "texture_fine": fixed(0.8, "", "D", note="amplitude of its fine part: SD 1 together"),
    "least_ve": fixed(0.01, "", "D", note="bound below which ve takes no part in the efflux rate"),
    "residue_lambda": log_uniform(
        1.0, 20.0, note="shape of the gamma residue functions; 1 is exponential, large is a box"
    ),
}
"""How values vary from place to place."""

PATCHWORK: dict[str, Prior] = {
    "spacing": uniform(9.0, 30.0, "mm", "D"),
    "spread": uniform(0.15, 0.7, "SD of ln CBV", "D"),
    "contrast": log_uniform(0.3, 4.0, "", "D", note="CBV of a patch over its surroundings"),
    "threshold": uniform(0.3, 1.5, "SD", "D", note="level of the field above which a patch lies"),
    "steepness": fixed(4.0, "1/SD", "D", note="of the edge of a patch"),
    "cbv": uniform(0.1, 25.0, _CBV, "D", note="limits"),
}
"""CBV that follows no anatomy."""


def tissue_rows() -> dict[str, Row]:
    """Rows of this file by name; relaxation times are named with their field, ``gm.t1 at 3 T``."""
    rows: dict[str, Row] = {}
    for name, tissue in TISSUE.items():
        for field in fields(tissue):
            value = getattr(tissue, field.name)
            if isinstance(value, Prior):
                rows[f"{name}.{field.name}"] = value
            else:
                rows |= {f"{name}.{field.name} at {tesla:g} T": prior for tesla, prior in value.items()}
    rows |= {f"variation.{name}": prior for name, prior in RELATIVE_SPREAD.items()}
    rows |= {f"variation.{name}": prior for name, prior in VARIATION.items()}
    rows |= {f"patchwork.{name}": prior for name, prior in PATCHWORK.items()}
    return rows
