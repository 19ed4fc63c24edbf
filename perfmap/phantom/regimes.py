"""The regimes: named sets of fixed parameters, and the one that training draws from.

A regime fixes numbers (or narrows their ranges); everything else follows the priors. The table in
``docs/simulator.md`` is printed from `REGIMES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perfmap.errors import ConfigError
from perfmap.phantom.drawing import DrawOptions, options_of
from perfmap.phantom.priors.acquisition import HELD_OUT, HELD_OUT_RESIDUE
from perfmap.phantom.protocol import AcquisitionParameters

Fixed = Mapping[str, Any]

_CLEAN: dict[str, Any] = {
    "artefacts.drift": (0.0, 0.0),
    "artefacts.physiology": (0.0, 0.0),
    "artefacts.dropout": 0.0,
    "artefacts.epi_shift": 0.0,
    "artefacts.ghost": 0.0,
    "artefacts.spikes": (),
    "artefacts.dropped": None,
    "artefacts.noise_fwhm": 0.0,
    "artefacts.bias": 0.15,
    "artefacts.int16": False,
    "artefacts.scale": 1000.0,
    "motion.walk": 0.0,
    "motion.jumps": (),
}
_PLAIN: dict[str, Any] = {
    **_CLEAN,
    "sequence": "gradient-echo",
    "field_strength": 3.0,
    "echo_time": 0.030,
    "repetition_time": 1.5,
    "pulses_per_volume": 1,
    "flip_angle": 60.0,
    "n_times": 60,
    "n_dummies": 4,
    "slice_order": "interleaved",
    "multiband": 1,
    "agent": "gadobutrol",
    "dose": 1.0,
    "arterial.arrival": (14.0, 26.0),
    "residue_family": "gamma",
    "r2v_relative": 1.0,
    "kappa_ex": 0.10,
    "r2e": 12.0,
    "preload_plasma": 0.0,
    "b1_spread": 0.05,
    "artefacts.snr": 100.0,
}


@dataclass(frozen=True)
class Regime:
    """What a regime fixes.

    Attributes
    ----------
    purpose : str
        One sentence: which factor is tried, and how.
    acquisition : mapping
        Fixed values and ranges for `perfmap.phantom.acquisition.draw_acquisition`.
    subject : DrawOptions or None
        Subjects to draw; None: those that `perfmap.phantom.drawing.options_of` has for the regime's name.
    trainable : bool
        Whether networks may learn from it.
    """

    purpose: str
    acquisition: Fixed = field(default_factory=dict)
    subject: DrawOptions | None = None
    trainable: bool = False


_SCORED = options_of("training").model_copy(update={"r2v_spread": 0.0, "most_foci": 0})


def _plain(purpose: str, **changes: Any) -> Regime:
    """The plain regime with a few changes; ``__`` in a name stands for the dot."""
    acquisition = {**_PLAIN, **{name.replace("__", "."): value for name, value in changes.items()}}
    return Regime(purpose, acquisition)


REGIMES: dict[str, Regime] = {
    "training": Regime("everything random, wider than physiology, held-out ranges left out", trainable=True),
    "plain": _plain("3 T, TE 30 ms, TR 1.5 s, 60°, SNR 100, no artefacts"),
    "noisy": _plain("SNR 20", artefacts__snr=20.0),
    "t1-leak": _plain(
        "leaked agent shortens T1 above all: no preload, 80°, low r2e",
        flip_angle=80.0,
        echo_time=0.025,
        r2e=(3.0, 5.0),
    ),
    "t2s-leak": _plain(
        "leaked agent shortens T2* above all: preload, 30°, high r2e",
        flip_angle=30.0,
        r2e=(30.0, 40.0),
        preload_plasma=(0.3, 0.5),
    ),
    "fast-long": _plain(
        "TR 1 s, 120 volumes", repetition_time=1.0, n_times=120, arterial__arrival=(20.0, 45.0)
    ),
    "slow-short": _plain(
        "TR 2.5 s, 30 volumes", repetition_time=2.5, n_times=30, arterial__arrival=(15.0, 25.0)
    ),
    "early-bolus": _plain("bolus starts after 7–10 s, few baseline points", arterial__arrival=(7.0, 10.0)),
    "late-bolus": _plain("bolus starts after 45–60 s", n_times=75, arterial__arrival=(45.0, 60.0)),
    "with-skull": _plain("skull, scalp, eyes and muscle around the brain"),
    "moving": _plain(
        "random walk of 0.2 mm and ° a volume, two jumps",
        motion__walk=0.2,
        motion__jumps=((0.3, 2.0), (0.7, 3.0)),
    ),
    "upenn-like": _plain(
        "45 volumes, skull-stripped, whole numbers, the minimum between 20 and 66 % of the series",
        repetition_time=(1.5, 2.1),
        n_times=45,
        arterial__arrival=(17.0, 26.0),
        echo_time=(0.025, 0.036),
        slice_order="sequential",
        artefacts__snr=(40.0, 120.0),
        artefacts__noise_fwhm=(0.5, 1.2),
        artefacts__int16=True,
        artefacts__stripped=True,
    ),
    "stroke": _plain("an infarct with its penumbra: delays of 3–12 s, transit times to 24 s", n_times=80),
    "weak-dose": _plain("half of the dose", dose=0.5),
    "field15": _plain("1.5 T, TE 45 ms", field_strength=1.5, echo_time=0.045),
    "spin-echo": _plain("spin echo, TE 80 ms", sequence="spin-echo", echo_time=0.080),
    "treatment-effect": _plain("an enhancing rim whose blood volume is half that of white matter"),
    "no-lesion": _plain("healthy subjects"),
    "linearity": _plain("lesion CBV drawn independently of the lesion's looks"),
    "ood-te": Regime(
        "held out: TE 37–40 ms", {"sequence": "gradient-echo", "echo_time": (0.037, 0.040)}, _SCORED
    ),
    "ood-fa": Regime(
        "held out: 70° and 72°", {"sequence": "gradient-echo", "flip_angle": (70.0, 72.0)}, _SCORED
    ),
    "ood-residue": Regime("held out: Lorentzian residue function", {"residue_family": "lorentzian"}, _SCORED),
    "ood-kex": Regime("held out: κ_ex 0.14–0.18", {"kappa_ex": (0.14, 0.18)}, _SCORED),
    "ood-snr": Regime("held out: SNR 24–30", {"artefacts.snr": (24.0, 30.0)}, _SCORED),
}

COHORTS: dict[str, Regime] = {
    "paper-cohort": Regime(
        "one scanner and one protocol, for the networks of the paper; see perfmap.phantom.cohort",
        {
            **REGIMES["upenn-like"].acquisition,
            "echo_time": 0.030,
            "repetition_time": 1.8,
            "arterial.arrival": (17.0, 25.0),
            "r2v_relative": (0.85, 1.15),
            "kappa_ex": (0.06, 0.13),
            "r2e": (5.0, 25.0),
            "preload_plasma": (0.0, 0.4),
            "b1_spread": (0.0, 0.10),
            "artefacts.snr": (50.0, 120.0),
            "artefacts.scale": (300.0, 1500.0),
            "artefacts.bias": (0.05, 0.20),
            "artefacts.physiology": (0.004, 0.006),
            "motion.walk": (0.0, 0.05),
        },
        options_of("upenn-like"),
        trainable=True,
    ),
}
"""Regimes of whole cohorts, which are no test regimes: networks may learn from them."""


def find_regime(name: str) -> Regime:
    """Regime of a name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    known = REGIMES | COHORTS
    if name not in known:
        raise ConfigError(f"unknown regime '{name}'; wanted one of {' '.join(REGIMES)}")
    return known[name]


def describe_fixed(name: str) -> str:
    """What a regime fixes, in words; for the variants of ``plain`` only what differs from it.

    ``subject.`` stands before the options of the subjects, where they differ from those of ``plain``.

    Returns
    -------
    str
        ``"echo_time 0.025, r2e 3–5"``: values in the units of `AcquisitionParameters`, ranges with a dash.
    """
    acquisition = find_regime(name).acquisition
    base = _PLAIN if name != "plain" and acquisition.keys() >= _PLAIN.keys() else {}
    changed = {key: value for key, value in acquisition.items() if key not in base or base[key] != value}
    usual = options_of("plain").model_dump()
    subject = subject_options(name).model_dump()
    changed |= {f"subject.{key}": value for key, value in subject.items() if value != usual[key]}
    return ", ".join(f"{key} {_words(key, value)}" for key, value in changed.items()) or "nothing"


_PAIRS = ("artefacts.drift", "artefacts.physiology")


def _words(key: str, value: Any) -> str:
    if key == "artefacts.dropped" and value is None:
        return "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "any"}[value]
    if isinstance(value, tuple):
        if not value:
            return "none"
        if any(isinstance(part, tuple) for part in value):
            return " and ".join("/".join(f"{number:g}" for number in part) for part in value)
        if isinstance(value[0], str):
            return "/".join(value)
        return ("/" if key in _PAIRS else "–").join(f"{number:g}" for number in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def subject_options(name: str) -> DrawOptions:
    """Subjects that a regime draws."""
    own = find_regime(name).subject
    return options_of(name) if own is None else own


def held_out_numbers(acquisition: AcquisitionParameters) -> list[str]:
    """Names of the numbers of an acquisition that are held out of training.

    Parameters
    ----------
    acquisition : AcquisitionParameters
        Of any origin: a replay can leave the ranges of the regime whose name it bears.

    Returns
    -------
    list of str
        Empty for whatever the regime ``training`` draws.
    """
    values = {
        "echo_time": acquisition.echo_time,
        "flip_angle": acquisition.flip_angle,
        "kappa_ex": acquisition.kappa_ex,
        "snr": acquisition.artefacts.snr,
    }
    names = [
        name
        for name, value in values.items()
        if value is not None and HELD_OUT[name].low <= value <= HELD_OUT[name].high
    ]
    return names + (["residue_family"] if acquisition.residue_family == HELD_OUT_RESIDUE else [])


def require_trainable(name: str) -> None:
    """Refuse a regime that no network may learn from.

    Raises
    ------
    ConfigError
        If `name` is a test regime or does not exist.
    """
    if not find_regime(name).trainable:
        raise ConfigError(
            f"regime '{name}' is kept for tests and refused as training data; train on 'training'"
        )
