"""Draw an acquisition from the priors, every number with a random stream of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from perfmap.errors import ConfigError
from perfmap.phantom.injection import arterial_concentration
from perfmap.phantom.priors.acquisition import ACQUISITION, CHOICES, HELD_OUT, HELD_OUT_RESIDUE, R1_RELAXIVITY
from perfmap.phantom.protocol import (
    AcquisitionParameters,
    ArtefactParameters,
    ArterialParameters,
    MotionParameters,
)
from perfmap.phantom.randomness import sub_generator
from perfmap.physics.aif import full_width_half_maximum
from perfmap.physics.curves import FINE_STEP

_MAX_DRAWS = 2000
_PER_LITRE = 1000.0  # ml, so that mmol/ml become mM
_ANOTHER = 7919  # from the seed of one attempt to the seed of the next


def draw_acquisition(
    rng: np.random.Generator, *, fixed: Mapping[str, Any] | None = None
) -> AcquisitionParameters:
    """Draw an acquisition from the priors, outside every range that is held out of training.

    Every number has a random stream of its own, so fixing one leaves the others as they would have been.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    fixed : mapping, optional
        Name (dotted for the nested records, ``"artefacts.snr"``) to a value, or to a pair (low, high) for a number
        drawn between them (a tuple of options for a choice). Only this reaches the held-out ranges.

    Returns
    -------
    AcquisitionParameters

    Raises
    ------
    ConfigError
        If a name of `fixed` does not exist, or the times leave no room for a bolus.
    """
    seed = int(rng.integers(2**31))
    return _Drawer(seed, dict(fixed or {})).acquisition()


class _Drawer:
    """Draws by name: a fixed value wins over the prior, and every name has its own generator."""

    def __init__(self, seed: int, fixed: dict[str, Any]) -> None:
        self.seed, self.fixed = seed, fixed
        self.used: set[str] = set()

    def rng(self, name: str) -> np.random.Generator:
        """Generator of one name."""
        return sub_generator(self.seed, name)

    def number(self, name: str, prior: str | None = None, *, whole: bool = False) -> Any:
        """One number by its prior, outside the held-out range of its name."""
        key = prior or name.rpartition(".")[2]
        table = ACQUISITION[key]
        low, high = table.low, table.high
        given = self.fixed.get(name, (low, high))
        self.used.add(name)
        if not isinstance(given, tuple):
            return given
        low, high = given
        rng = self.rng(name)
        hole = None if name in self.fixed else HELD_OUT.get(key)
        for _ in range(_MAX_DRAWS):
            if table.shape == "log_uniform":
                value = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            elif whole:
                value = int(rng.integers(int(low), int(high) + 1))
            else:
                value = float(rng.uniform(low, high))
            if hole is None or not hole.low <= value <= hole.high:
                return value
        raise ConfigError(
            f"prior of {name}, {low} to {high}, lies in the range held out of training; widen it"
        )

    def chance(self, key: str) -> bool:
        """Whether this series belongs to the share that has something."""
        return bool(self.rng(key).random() < ACQUISITION[key].value)

    def sometimes(self, name: str, chance: str) -> float:
        """A number in a share of the series, else 0; always where it is fixed."""
        drawn = float(self.number(name))
        return drawn if name in self.fixed or self.chance(chance) else 0.0

    def choice(self, name: str, shares: Mapping[Any, float]) -> Any:
        """One of the options by their shares; a fixed tuple narrows the options."""
        self.used.add(name)
        if name in self.fixed:
            given = self.fixed[name]
            if not isinstance(given, tuple):
                return given
            shares = {option: shares.get(option, 1.0) for option in given}
        options = list(shares)
        weights = np.array([shares[option] for option in options], dtype=float)
        return options[int(self.rng(name).choice(len(options), p=weights / weights.sum()))]

    def value(self, name: str, drawn: Any) -> Any:
        """A fixed value where there is one, else what was drawn."""
        self.used.add(name)
        return self.fixed.get(name, drawn)

    def acquisition(self) -> AcquisitionParameters:
        """Draw everything; refuse fixed names that nothing has asked for."""
        spin_echo = self.choice("sequence", _shares("spin_echo", "spin-echo", "gradient-echo")) == "spin-echo"
        field = self.choice("field_strength", _shares("three_tesla", 3.0, 1.5))
        flips = {flip: 1.0 for flip in CHOICES["flip_angle"].shares if not _held_flip(flip)}
        flip_angle = self.choice("flip_angle", flips)
        families = {
            name: share
            for name, share in CHOICES["residue_family"].shares.items()
            if name != HELD_OUT_RESIDUE
        }
        shots = self.value("pulses_per_volume", 2 if self.chance("two_shots") else 1)
        repetition_time = self.number("repetition_time") / (1 if "repetition_time" in self.fixed else shots)
        n_times = self.number("n_times", whole=True)
        if "n_times" not in self.fixed and self.chance("n_times_45"):
            n_times = int(ACQUISITION["n_times"].default)
        time_step = repetition_time * shots
        arterial, n_times = self.bolus(time_step, n_times)
        groups = CHOICES["multiband"].shares
        record = AcquisitionParameters(
            sequence="spin-echo" if spin_echo else "gradient-echo",
            field_strength=field,
            echo_time=self.number("echo_time", "spin_echo_echo_time" if spin_echo else None),
            repetition_time=repetition_time,
            pulses_per_volume=shots,
            flip_angle=ACQUISITION["spin_echo_flip_angle"].value if spin_echo else flip_angle,
            n_times=n_times,
            n_dummies=self.value(
                "n_dummies", self.number("_dummies", "n_dummies", whole=True) if self.chance("dummies") else 0
            ),
            slice_order=self.value(
                "slice_order",
                "simultaneous"
                if self.chance("simultaneous_slices")
                else str(self.rng("order").choice(list(CHOICES["slice_order"].shares))),
            ),
            multiband=self.value(
                "multiband",
                int(self.rng("multiband").choice(list(groups), p=list(groups.values()))),
            ),
            agent=self.choice("agent", dict.fromkeys(R1_RELAXIVITY, 1.0)),
            dose=self.choice("dose", CHOICES["dose"].shares),
            arterial=arterial,
            residue_family=self.choice("residue_family", families),
            r2v_relative=self.number("r2v_relative"),
            spin_echo_ratio=self.number("spin_echo_ratio"),
            kappa_ex=self.number("kappa_ex"),
            r2e=self.number("r2e"),
            preload_plasma=self.sometimes("preload_plasma", "preload"),
            preload_minutes=self.number("preload_minutes"),
            arterial_kappa=self.number("arterial_kappa"),
            b1_spread=self.number("b1_spread"),
            artefacts=self.artefacts(),
            motion=self.motion(),
            seed=self.value("seed", self.seed),
        )
        unknown = sorted(set(self.fixed) - self.used)
        if unknown:
            raise ConfigError(
                f"no acquisition parameter is called {', '.join(unknown)}; see the table of priors"
            )
        return record

    def bolus(self, time_step: float, n_times: int) -> tuple[ArterialParameters, int]:
        """Draw until peak and width are in their ranges, then an arrival that leaves room before and after."""
        generator = self.choice("arterial.generator", CHOICES["generator"].shares)
        limits = ACQUISITION
        fine = np.arange(0.0, limits["bolus_window"].value, FINE_STEP)
        for attempt in range(_MAX_DRAWS):
            again = _Drawer(self.seed + attempt * _ANOTHER, self.fixed)
            candidate = again.bolus_shape(str(generator))
            curve = arterial_concentration(fine, candidate.model_copy(update={"arrival": 0.0}))
            width = full_width_half_maximum(curve, time_step=FINE_STEP)
            peak = int(curve.argmax()) * FINE_STEP
            good = limits["peak"].low <= curve.max() <= limits["peak"].high
            if good and limits["width"].low <= width <= limits["width"].high:
                break
        else:
            raise ConfigError(
                "no arterial curve with a peak of 3-12 mM and a width of 4-14 s; widen the fixed values"
            )
        self.used |= again.used
        foot = np.argmax(curve > limits["foot"].value * curve.max()) * FINE_STEP
        earliest = (limits["least_baseline"].value + 2) * time_step - foot
        after, late = limits["least_after_peak"].value, limits["late_tissue"].value
        latest = n_times * time_step - after - peak - late
        low, high = limits["arrival"].low, limits["arrival"].high
        given = self.fixed.get("arterial.arrival", (low, high))
        self.used.add("arterial.arrival")
        if not isinstance(given, tuple):
            return candidate.model_copy(update={"arrival": float(given)}), n_times
        low, high = max(given[0], earliest, 0.0), min(given[1], latest)
        if high < low:
            if "n_times" in self.fixed:
                seconds = n_times * time_step
                raise ConfigError(
                    f"{n_times} images in {seconds:.0f} s leave no room for a bolus that arrives within {given} s; "
                    "take more images or an earlier arrival"
                )
            needed = (low + after + peak + late) / time_step
            n_times, high = int(np.ceil(needed)), low
        arrival = float(self.rng("arterial.arrival").uniform(low, high))
        return candidate.model_copy(update={"arrival": arrival}), n_times

    def bolus_shape(self, generator: str) -> ArterialParameters:
        """Draw a bolus that arrives at once."""
        if generator == "parker":
            area = self.number("arterial.area", "parker_area")
        elif generator == "cardiac-output":
            area = _PER_LITRE * self.number("injected_amount") / self.number("cardiac_output")
        else:
            area = self.number("arterial.area")
        self.used.add("arterial.area")
        dispersed = self.chance("dispersed")
        kind = (
            str(self.rng("dispersion_kind").choice(list(CHOICES["dispersion_kind"].shares)))
            if dispersed
            else "none"
        )
        return ArterialParameters(
            generator=generator,  # type: ignore[arg-type]
            area=self.fixed.get("arterial.area", area),
            alpha=self.number("arterial.alpha"),
            beta=self.number("arterial.beta"),
            injection_duration=self.number("injected_volume") / self.number("injection_rate"),
            transit_time=self.number("arterial.transit_time"),
            n_chambers=self.number("arterial.n_chambers"),
            recirculation_fraction=self.number("arterial.recirculation_fraction"),
            recirculation_delay=self.number("arterial.recirculation_delay"),
            recirculation_tau=self.number("arterial.recirculation_tau"),
            tail=self.number("arterial.tail"),
            dispersion_kind=self.value("arterial.dispersion_kind", kind),
            dispersion_time=self.number("arterial.dispersion_time"),
        )

    def artefacts(self) -> ArtefactParameters:
        """Draw what happens to the images."""
        spikes: tuple[tuple[float, float], ...] = ()
        if self.chance("spiking"):
            rng, table, number = self.rng("spikes"), ACQUISITION["spike"], ACQUISITION["n_spikes"]
            spikes = tuple(
                (float(rng.random()), float(rng.choice([-1, 1]) * rng.uniform(table.low, table.high)))
                for _ in range(int(rng.integers(int(number.low), int(number.high) + 1)))
            )
        dropped = float(self.rng("dropped").random()) if self.chance("dropping") else None
        return ArtefactParameters(
            bias=self.number("artefacts.bias"),
            drift=self.value(
                "artefacts.drift", (self.number("_drift1", "drift"), self.number("_drift2", "drift"))
            ),
            physiology=self.value(
                "artefacts.physiology",
                (self.number("_breath", "physiology"), self.number("_pulse", "physiology")),
            ),
            physiology_frequency=(self.number("respiration_frequency"), self.number("heart_frequency")),
            dropout=self.number("artefacts.dropout"),
            dropout_radius=self.number("artefacts.dropout_radius"),
            epi_shift=self.sometimes("artefacts.epi_shift", "shifted"),
            ghost=self.sometimes("artefacts.ghost", "ghosting"),
            spikes=self.value("artefacts.spikes", spikes),
            dropped=self.value("artefacts.dropped", dropped),
            snr=self.number("artefacts.snr"),
            noise_fwhm=self.number("artefacts.noise_fwhm"),
            scale=self.number("artefacts.scale"),
            int16=self.value("artefacts.int16", self.chance("int16")),
            stripped=self.value("artefacts.stripped", False),
        )

    def motion(self) -> MotionParameters:
        """Draw how the head moves."""
        moving = self.chance("moving")
        rng, table, number = self.rng("jumps"), ACQUISITION["jump"], ACQUISITION["n_jumps"]
        jumps = tuple(
            (float(rng.random()), float(rng.uniform(table.low, table.high)))
            for _ in range(int(rng.integers(int(number.low), int(number.high) + 1)))
        )
        return MotionParameters(
            walk=self.sometimes("motion.walk", "moving"),
            jumps=self.value("motion.jumps", jumps if moving else ()),
        )


def _shares(key: str, option: Any, other: Any) -> dict[Any, float]:
    share = ACQUISITION[key].value
    return {option: share, other: 1.0 - share}


def _held_flip(flip: float) -> bool:
    hole = HELD_OUT["flip_angle"]
    return hole.low <= flip <= hole.high
