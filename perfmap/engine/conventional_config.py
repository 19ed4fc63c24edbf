"""Settings of the conventional engine, and which maps each method can give."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from perfmap.errors import ConfigError

Method = Literal[
    "firstpass",
    "full",
    "gamma",
    "bsw",
    "bidirectional",
    "dual-echo",
    "captk",
    "ssvd",
    "csvd",
    "osvd",
    "tikhonov",
]
Window = Literal["first-pass", "full"]

DECONVOLUTION_METHODS = ("ssvd", "csvd", "osvd", "tikhonov")
LEAKAGE_METHODS = ("bsw", "bidirectional", "dual-echo")
HEMATOCRIT_FACTOR = 0.733
"""(1 − 0.45)/(1 − 0.25), large to small vessels."""

_RELATIVE = ("nrcbv", "rcbv", "ttp", "bat")
FLOW_MAPS = ("cbf", "mtt", "tmax")


def available_maps(method: str) -> tuple[str, ...]:
    """Maps that a method can give; `cbv` wants an arterial input given, `cbf` and its like find one.

    Parameters
    ----------
    method : str

    Returns
    -------
    tuple of str
    """
    if method == "captk":
        return ("ap_rcbv", "psr", "ph", "nrcbv")
    leakage = ("k2",) if method in LEAKAGE_METHODS else ()
    return (*_RELATIVE, "cbv", *(FLOW_MAPS if method in DECONVOLUTION_METHODS else ()), *leakage)


class ConventionalConfig(BaseModel):
    """Settings that change the maps; saved beside them.

    Attributes
    ----------
    method : str
        What the volume maps are computed with.
    window : str or None
        What is integrated: ``first-pass`` or ``full``; None takes the method's own: full for ``full`` and the
        leakage corrections, first-pass for the rest. Leakage is always fitted over the whole series.
    maps : tuple of str
        Identifiers of `perfmap.quantities`; empty takes the method's own.
    hematocrit_factor : float
        kH of the absolute maps.
    aif_method : str
        How an arterial input is looked for: ``score`` or ``k-means``.
    venous_rescaling : bool
        Scale the arterial input to the area of a vein.
    motion_correction : str
        ``auto``, ``on`` or ``off``.
    mask_method : str
        How the brain is looked for.
    seed : int
        Of the k-means.
    bolus : int or None
        Which bolus of a series with several is read, counted from 1; None takes the last full one.
    grid : {"acquired", "stored"}
        On which grid images that the scanner interpolated are computed; maps lie on the stored one always.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = "firstpass"
    window: Window | None = None
    maps: tuple[str, ...] = ()
    hematocrit_factor: float = Field(default=HEMATOCRIT_FACTOR, gt=0, le=1.5)
    aif_method: Literal["score", "k-means"] = "score"
    venous_rescaling: bool = False
    motion_correction: Literal["auto", "on", "off"] = "off"
    mask_method: str = "otsu"
    seed: int = Field(default=0, ge=0)
    bolus: int | None = Field(default=None, ge=1)
    grid: Literal["acquired", "stored"] = "acquired"

    @model_validator(mode="after")
    def _maps_fit_method(self) -> ConventionalConfig:
        unknown = [name for name in self.maps if name not in available_maps(self.method)]
        if unknown:
            raise ConfigError(
                f"method {self.method} gives no map {', '.join(unknown)}, wanted some of "
                f"{', '.join(available_maps(self.method))}; choose another --method or leave the map out"
            )
        return self

    @property
    def chosen_window(self) -> Window:
        """The window in force."""
        full = self.method == "full" or self.method in LEAKAGE_METHODS
        return self.window or ("full" if full else "first-pass")

    @property
    def chosen_maps(self) -> tuple[str, ...]:
        """The maps in force."""
        if self.maps:
            return self.maps
        return ("ap_rcbv", "psr", "ph") if self.method == "captk" else ("nrcbv", "rcbv")


def make_config(**settings: Any) -> ConventionalConfig:
    """Settings from plain values, with a refusal of one line.

    Raises
    ------
    ConfigError
        If a value is not one of those that `ConventionalConfig` takes.
    """
    try:
        return ConventionalConfig.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + "-".join(str(part) for part in first["loc"]).replace("_", "-")
        wanted = str(first["msg"]).removeprefix("Input should be ")
        raise ConfigError(f"{option} is {first['input']!r}, wanted {wanted}") from error
