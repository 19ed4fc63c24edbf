"""The rows of the table of priors: a number with its distribution, a choice with its shares, places in space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from perfmap.errors import ConfigError

Source = Literal["V", "D", "M"]
Shape = Literal["uniform", "log_uniform", "normal", "log_normal"]


@dataclass(frozen=True)
class Prior:
    """Distribution of one number; where `low` and `high` are equal, that number.

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
    usual : float, optional
        Value that holds where nothing is drawn.
    note : str
        What it is, or where it was read.
    """

    low: float
    high: float
    unit: str
    source: Source
    shape: Shape = "uniform"
    mean: float = 0.0
    sd: float = 0.0
    usual: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not self.low <= self.high or (self.shape.startswith("log") and self.low <= 0):
            raise ConfigError(
                f"prior has range {self.low}–{self.high} with shape {self.shape}; log needs low > 0"
            )
        if self.usual is not None and not self.low <= self.usual <= self.high:
            raise ConfigError(f"prior has the usual value {self.usual} outside of {self.low}–{self.high}")

    @property
    def value(self) -> float:
        """The number, where the row is one number.

        Raises
        ------
        ConfigError
            If it is a range.
        """
        if self.low != self.high:
            raise ConfigError(f"prior is a range, {self.low}–{self.high} {self.unit}: draw from it")
        return self.low

    @property
    def default(self) -> float:
        """The number that holds where nothing is drawn.

        Raises
        ------
        ConfigError
            If the row names none.
        """
        if self.usual is None:
            raise ConfigError(f"prior {self.low}–{self.high} {self.unit} has no usual value")
        return self.usual


@dataclass(frozen=True)
class Choice:
    """One of several options.

    Attributes
    ----------
    shares : mapping
        Option to its share; the shares add up to 1.
    unit, source, note : str
        As in `Prior`.
    """

    shares: Mapping[Any, float]
    unit: str
    source: Source
    note: str = ""

    def __post_init__(self) -> None:
        if not self.shares or abs(sum(self.shares.values()) - 1.0) > 1e-9:
            raise ConfigError(f"choice has shares {dict(self.shares)}, wanted shares that add up to 1")


@dataclass(frozen=True)
class Places:
    """Points in the template's space, perhaps with radii: a course, a box, an ellipsoid.

    Attributes
    ----------
    points : tuple of tuple of float
        One point each.
    columns : str
        What the numbers of a point are.
    unit, source, note : str
        As in `Prior`.
    mirrored : bool
        The other side is its mirror image at x = 0.
    """

    points: tuple[tuple[float, ...], ...]
    columns: str
    unit: str
    source: Source
    mirrored: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        width = len(self.columns.split())
        if any(len(point) != width for point in self.points):
            raise ConfigError(f"places have points that are no '{self.columns}': {self.points}")


Row = Prior | Choice | Places


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


# --- Short forms for the tables ---------------------------------------------------------------------------


def uniform(
    low: float,
    high: float,
    unit: str = "",
    source: Source = "M",
    *,
    usual: float | None = None,
    note: str = "",
) -> Prior:
    """A range in which every value is equally likely."""
    return Prior(low, high, unit, source, usual=usual, note=note)


def log_uniform(
    low: float,
    high: float,
    unit: str = "",
    source: Source = "M",
    *,
    usual: float | None = None,
    note: str = "",
) -> Prior:
    """A range in which every ratio is equally likely."""
    return Prior(low, high, unit, source, "log_uniform", usual=usual, note=note)


def normal(
    mean: float, sd: float, low: float, high: float, unit: str = "", source: Source = "M", *, note: str = ""
) -> Prior:
    """A bell curve, clipped to a range."""
    return Prior(low, high, unit, source, "normal", mean, sd, note=note)


def spread(sd: float, unit: str, source: Source = "M", *, mean: float = 0.0, note: str = "") -> Prior:
    """A bell curve without limits."""
    return Prior(-np.inf, np.inf, unit, source, "normal", mean, sd, note=note)


def fixed(value: float, unit: str = "", source: Source = "M", *, note: str = "") -> Prior:
    """One number."""
    return Prior(value, value, unit, source, note=note)


def share(value: float, of: str, source: Source = "M", *, note: str = "") -> Prior:
    """How many of something have something."""
    return Prior(value, value, f"share of {of}", source, note=note)
