"""Every number that the simulator draws from: range, unit and where it comes from.

Source tags
-----------
``V``
    Read in a published source.
``D``
    Derived or measured for this simulator.
``M``
    Literature as remembered: a prior, not a fact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from perfmap.errors import ConfigError

Source = Literal["V", "D", "M"]
Shape = Literal["uniform", "log_uniform", "normal", "log_normal"]


@dataclass(frozen=True)
class Prior:
    """Distribution of one quantity.

    Attributes
    ----------
    low, high : float
        Range; nothing outside of it is ever drawn.
    unit : str
        Unit of the quantity, ``""`` for a pure number.
    source : {"V", "D", "M"}
        Where the numbers come from.
    shape : {"uniform", "log_uniform", "normal", "log_normal"}
        Distribution inside the range.
    mean : float
        Mean of ``normal``, median of ``log_normal``.
    sd : float
        SD of ``normal``, SD of the logarithm of ``log_normal``.
    """

    low: float
    high: float
    unit: str
    source: Source
    shape: Shape = "uniform"
    mean: float = 0.0
    sd: float = 0.0

    def __post_init__(self) -> None:
        if not self.low <= self.high or (self.shape.startswith("log") and self.low <= 0):
            raise ConfigError(
                f"prior has range {self.low}–{self.high} with shape {self.shape}; log needs low > 0"
            )


def draw(prior: Prior, rng: np.random.Generator) -> float:
    """Draw one value.

    Parameters
    ----------
    prior : Prior
    rng : numpy.random.Generator

    Returns
    -------
    float
        In ``prior.unit``, inside the range; the two bell curves are clipped to it.
    """
    if prior.shape == "uniform":
        return float(rng.uniform(prior.low, prior.high))
    if prior.shape == "log_uniform":
        return float(np.exp(rng.uniform(np.log(prior.low), np.log(prior.high))))
    bell = rng.standard_normal()
    value = prior.mean + prior.sd * bell if prior.shape == "normal" else prior.mean * np.exp(prior.sd * bell)
    return float(np.clip(value, prior.low, prior.high))


# --- Labels ---------------------------------------------------------------------------------------------

LABELS: dict[str, int] = {
    "background": 0,
    "csf": 1,
    "gm": 2,
    "wm": 3,
    "deep_gm": 4,
    "vessel_artery": 5,
    "vessel_vein": 6,
    "enhancing": 7,
    "necrosis": 8,
    "oedema": 9,
    "low_grade": 10,
    "meningioma": 11,
    "infarct_core": 12,
    "penumbra": 13,
    "skull": 14,
    "scalp": 15,
    "muscle": 16,
    "eye": 17,
}
"""Identifier of every tissue class, in rows and in label volumes."""

HEAD_CLASSES = ("skull", "scalp", "muscle", "eye")
LESION_CLASSES = ("enhancing", "necrosis", "oedema", "low_grade", "meningioma", "infarct_core", "penumbra")
VESSEL_CLASSES = ("vessel_artery", "vessel_vein")
VESSEL_LABEL_FRACTION = 0.08
"""A voxel is called a vessel from this blood fraction upward."""

FIELD_STRENGTHS = (1.5, 3.0)
"""Where relaxation times are known, T."""

# --- Tissue ---------------------------------------------------------------------------------------------


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


def _uniform(low: float, high: float, unit: str = "", source: Source = "M") -> Prior:
    return Prior(low, high, unit, source)


def _normal(mean: float, sd: float, low: float, high: float, unit: str = "", source: Source = "M") -> Prior:
    return Prior(low, high, unit, source, "normal", mean, sd)


def _times(at_15: float, at_30: float, *, spread: float, source: Source) -> dict[float, Prior]:
    """A relaxation time at both fields, s, with a coefficient of variation between subjects."""
    return {
        field: _normal(mean, mean * spread, mean * (1 - 3 * spread), mean * (1 + 3 * spread), "s", source)
        for field, mean in ((1.5, at_15), (3.0, at_30))
    }


def _both(low: float, high: float) -> dict[float, Prior]:
    """A wide range in s that holds at both fields."""
    return {1.5: _uniform(low, high, "s"), 3.0: _uniform(low, high, "s")}


_CBV = "ml/100 ml"
_NONE = _uniform(0.0, 0.0, "1/min", "D")
_NO_SPACE = _uniform(0.2, 0.2, "", "D")
_GM_TIMES = {
    "t1": _times(1.12, 1.82, spread=0.05, source="V"),
    "t2star": _times(0.084, 0.066, spread=0.09, source="M"),
    "t2": _times(0.095, 0.085, spread=0.06, source="M"),
}

TISSUE: dict[str, TissuePrior] = {
    "csf": TissuePrior(
        cbv=_uniform(0.0, 0.1, _CBV),
        mtt=_uniform(5.0, 5.0, "s"),
        delay=_uniform(1.0, 1.0, "s"),
        t1=_times(4.2, 4.2, spread=0.03, source="V"),
        t2star={1.5: _uniform(0.3, 0.5, "s"), 3.0: _uniform(0.2, 0.4, "s")},
        t2=_both(1.0, 2.0),
        proton_density=_normal(1.0, 0.01, 0.97, 1.0),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "gm": TissuePrior(
        cbv=_normal(4.0, 0.8, 2.5, 6.0, _CBV),
        mtt=_normal(4.0, 0.8, 2.0, 7.0, "s"),
        delay=_uniform(0.0, 2.0, "s"),
        **_GM_TIMES,
        proton_density=_normal(0.82, 0.015, 0.77, 0.87),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "wm": TissuePrior(
        cbv=_normal(2.0, 0.5, 1.0, 3.0, _CBV),
        mtt=_normal(5.0, 1.0, 2.5, 8.0, "s"),
        delay=_uniform(0.5, 3.0, "s"),
        t1=_times(0.88, 1.08, spread=0.05, source="V"),
        t2star=_times(0.066, 0.053, spread=0.07, source="M"),
        t2=_times(0.080, 0.070, spread=0.06, source="M"),
        proton_density=_normal(0.70, 0.015, 0.65, 0.75),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "deep_gm": TissuePrior(
        cbv=_normal(3.5, 0.7, 2.0, 5.5, _CBV),
        mtt=_normal(4.0, 0.7, 2.0, 7.0, "s"),
        delay=_uniform(0.0, 1.5, "s"),
        t1=_times(1.10, 1.40, spread=0.06, source="M"),
        t2star=_times(0.055, 0.032, spread=0.10, source="M"),
        t2=_times(0.085, 0.072, spread=0.06, source="M"),
        proton_density=_normal(0.78, 0.015, 0.73, 0.83),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "vessel_artery": TissuePrior(
        cbv=_uniform(100.0, 100.0, _CBV, "D"),
        mtt=_uniform(0.3, 0.8, "s"),
        delay=_uniform(-2.0, 0.0, "s"),
        t1=_times(1.44, 1.63, spread=0.04, source="M"),
        t2star=_times(0.100, 0.050, spread=0.10, source="M"),
        t2=_times(0.200, 0.150, spread=0.10, source="M"),
        proton_density=_normal(0.85, 0.02, 0.79, 0.91),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "vessel_vein": TissuePrior(
        cbv=_uniform(100.0, 100.0, _CBV, "D"),
        mtt=_uniform(2.0, 5.0, "s"),
        delay=_uniform(3.0, 8.0, "s"),
        t1=_times(1.44, 1.63, spread=0.04, source="M"),
        t2star=_times(0.060, 0.025, spread=0.10, source="M"),
        t2=_times(0.100, 0.045, spread=0.10, source="M"),
        proton_density=_normal(0.85, 0.02, 0.79, 0.91),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "enhancing": TissuePrior(
        cbv=Prior(3.0, 18.0, _CBV, "M", "log_normal", 8.0, 0.45),
        mtt=_uniform(4.0, 10.0, "s"),
        delay=_uniform(0.0, 3.0, "s"),
        t1=_both(1.4, 2.0),
        t2star=_both(0.050, 0.090),
        t2=_both(0.090, 0.140),
        proton_density=_normal(0.85, 0.02, 0.79, 0.91),
        ktrans=Prior(0.02, 0.35, "1/min", "M", "log_normal", 0.08, 0.7),
        ve=_uniform(0.1, 0.5),
    ),
    "necrosis": TissuePrior(
        cbv=_uniform(0.0, 0.8, _CBV),
        mtt=_uniform(6.0, 15.0, "s"),
        delay=_uniform(0.0, 5.0, "s"),
        t1=_both(2.0, 3.5),
        t2star=_both(0.080, 0.200),
        t2=_both(0.180, 0.400),
        proton_density=_normal(0.95, 0.02, 0.89, 1.0),
        ktrans=_uniform(0.0, 0.02, "1/min"),
        ve=_uniform(0.3, 0.8),
    ),
    "oedema": TissuePrior(
        cbv=_uniform(1.0, 3.0, _CBV),
        mtt=_uniform(5.0, 8.0, "s"),
        delay=_uniform(0.5, 3.0, "s"),
        t1=_both(1.3, 1.8),
        t2star=_both(0.070, 0.120),
        t2=_both(0.110, 0.170),
        proton_density=_normal(0.88, 0.02, 0.82, 0.94),
        ktrans=_uniform(0.0, 0.01, "1/min"),
        ve=_uniform(0.1, 0.2),
    ),
    "low_grade": TissuePrior(
        cbv=_uniform(1.5, 4.0, _CBV),
        mtt=_uniform(4.0, 8.0, "s"),
        delay=_uniform(0.0, 3.0, "s"),
        **_GM_TIMES,
        proton_density=_normal(0.85, 0.02, 0.79, 0.91),
        ktrans=_NONE,
        ve=_uniform(0.2, 0.5),
    ),
    "meningioma": TissuePrior(
        cbv=_uniform(8.0, 20.0, _CBV),
        mtt=_uniform(4.0, 8.0, "s"),
        delay=_uniform(0.0, 3.0, "s"),
        **_GM_TIMES,
        proton_density=_normal(0.85, 0.02, 0.79, 0.91),
        ktrans=_uniform(0.1, 0.5, "1/min"),
        ve=_uniform(0.2, 0.5),
    ),
    "infarct_core": TissuePrior(
        cbv=_uniform(0.3, 1.5, _CBV),
        mtt=_uniform(10.0, 24.0, "s"),
        delay=_uniform(4.0, 12.0, "s"),
        **_GM_TIMES,
        proton_density=_normal(0.80, 0.02, 0.74, 0.86),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "penumbra": TissuePrior(
        cbv=_uniform(3.0, 6.0, _CBV),
        mtt=_uniform(8.0, 16.0, "s"),
        delay=_uniform(3.0, 8.0, "s"),
        **_GM_TIMES,
        proton_density=_normal(0.78, 0.02, 0.72, 0.84),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
    "skull": TissuePrior(
        cbv=_uniform(1.0, 3.0, _CBV),
        mtt=_uniform(4.0, 10.0, "s"),
        delay=_uniform(0.5, 5.0, "s"),
        t1=_both(0.9, 1.3),
        t2star=_both(0.035, 0.045),
        t2=_both(0.040, 0.060),
        proton_density=_uniform(0.1, 0.2),
        ktrans=_uniform(0.0, 0.05, "1/min"),
        ve=_uniform(0.1, 0.3),
    ),
    "scalp": TissuePrior(
        cbv=_uniform(1.0, 3.0, _CBV),
        mtt=_uniform(5.0, 12.0, "s"),
        delay=_uniform(1.0, 6.0, "s"),
        t1=_both(0.9, 1.3),
        t2star=_both(0.035, 0.045),
        t2=_both(0.050, 0.080),
        proton_density=_uniform(0.2, 0.5),
        ktrans=_uniform(0.02, 0.2, "1/min"),
        ve=_uniform(0.1, 0.3),
    ),
    "muscle": TissuePrior(
        cbv=_uniform(1.0, 3.0, _CBV),
        mtt=_uniform(5.0, 12.0, "s"),
        delay=_uniform(1.0, 6.0, "s"),
        t1=_both(0.9, 1.3),
        t2star=_both(0.035, 0.045),
        t2=_both(0.040, 0.060),
        proton_density=_uniform(0.3, 0.5),
        ktrans=_uniform(0.05, 0.2, "1/min"),
        ve=_uniform(0.1, 0.2),
    ),
    "eye": TissuePrior(
        cbv=_uniform(0.0, 0.0, _CBV),
        mtt=_uniform(5.0, 5.0, "s"),
        delay=_uniform(1.0, 1.0, "s"),
        t1=_both(3.5, 4.2),
        t2star=_both(0.150, 0.300),
        t2=_both(0.600, 1.200),
        proton_density=_normal(0.97, 0.01, 0.94, 1.0),
        ktrans=_NONE,
        ve=_NO_SPACE,
    ),
}
"""The tissue table of the named regimes."""

RELATIVE_SPREAD: dict[str, float] = {
    "cbv": 0.15,
    "mtt": 0.15,
    "t1": 0.03,
    "t2star": 0.06,
    "t2": 0.04,
    "proton_density": 0.02,
    "ktrans": 0.25,
    "ve": 0.10,
}
"""Coefficient of variation inside one class of one subject [M]."""

DELAY_SPREAD = _uniform(0.2, 0.7, "s")
"""SD of the delay inside one class of one subject."""
INDEPENDENT_SHARE = 0.10
"""Part of the variance inside a class that is independent from voxel to voxel; the rest is smooth."""
CORRELATION_LENGTH = _uniform(8.0, 20.0, "mm")
BRIGHT_SCALP = _uniform(0.7, 1.2)
"""Proton density of a bright scalp, where fat suppression failed."""
RESIDUE_LAMBDA = Prior(1.0, 20.0, "", "M", "log_uniform")
"""Shape of the gamma transit-time residue function; 1 is exponential, large is a box."""

LESION_NRCBV = Prior(0.3, 12.0, "", "D", "log_uniform")
"""CBV of a lesion over that of white matter where truth is independent of looks."""
LESION_UNEVENNESS = _uniform(0.15, 0.45)
"""Coefficient of variation of CBV inside one compartment of a lesion."""
LESION_RADIUS: dict[str, Prior] = {
    "glioblastoma": Prior(8.0, 28.0, "mm", "M", "log_uniform"),
    "low_grade": Prior(8.0, 28.0, "mm", "M", "log_uniform"),
    "meningioma": Prior(6.0, 22.0, "mm", "M", "log_uniform"),
    "infarct": Prior(18.0, 36.0, "mm", "M", "log_uniform"),
    "sphere": Prior(4.0, 12.0, "mm", "D", "log_uniform"),
}
"""Mean radius of each kind of lesion."""
INFARCT_WHITE_CBV = _uniform(0.4, 0.8)
"""CBV of an infarct's white matter over that of its grey matter."""
GM_WM_RATIO = _uniform(1.2, 3.0, "", "D")
TREATMENT_EFFECT_NRCBV = Prior(0.3, 0.8, "", "D", "log_normal", 0.5, 0.2)
"""An enhancing rim without blood volume: necrosis after radiation."""

# --- Shares of subjects [M] -------------------------------------------------------------------------------

N_LESIONS_SHARES = (0.2, 0.5, 0.2, 0.1)
"""Subjects with no lesion, one, two, three."""
THREE_TESLA_SHARE = 0.65
SKULL_SHARE = 0.5
BRIGHT_SCALP_SHARE = 0.3

# --- Anatomy --------------------------------------------------------------------------------------------

ANATOMY: dict[str, Prior] = {
    "scale": _uniform(0.90, 1.10, "", "D"),
    "shear": _normal(0.0, 0.02, -0.05, 0.05),
    "rotation": _uniform(-10.0, 10.0, "degree", "D"),
    "translation": _uniform(-5.0, 5.0, "mm"),
    "coarse_warp": _uniform(1.0, 3.0, "mm"),
    "fine_warp": _uniform(0.5, 1.1, "mm"),
    "ventricle_growth": _normal(0.5, 1.6, -1.5, 4.5, "mm"),
    "csf_threshold": _normal(0.78, 0.06, 0.62, 0.90),
    "wm_threshold": _normal(0.50, 0.07, 0.35, 0.65),
    "sharpness": _uniform(1.5, 3.0),
    "hull_margin": _uniform(0.5, 2.0, "mm"),
    "vessel_radius_scale": _uniform(0.75, 1.3),
    "artery_share": _uniform(0.4, 1.0),
    "vein_share": _uniform(0.4, 1.0),
    "skull_thickness": _normal(6.0, 1.2, 3.5, 9.0, "mm"),
    "scalp_thickness": _normal(5.0, 1.2, 2.5, 9.0, "mm"),
}
"""How subjects differ in shape. `*_threshold` is the template probability at which one tissue ends."""
