"""What all pictures share: colours, type, and PNG bytes that are equal for equal pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from perfmap.io.files import atomic_output

DPI = 160
_STYLE: dict[str, Any] = {"font.family": ["DejaVu Sans"], "font.size": 8.0}


@dataclass(frozen=True)
class Theme:
    """Colours of a picture; every text keeps a contrast of 4.5 or more against `paper`."""

    paper: str
    ink: str
    faint: str
    line: str
    baseline: str
    first_pass: str


DARK = Theme("#0d0f12", "#e8eaed", "#9aa0a6", "#7db7f0", "#4bc29b", "#f2b134")
LIGHT = Theme("#ffffff", "#1f2328", "#5f6670", "#0b5cad", "#00775a", "#8f5600")


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's defaults and ours while the block runs, whatever a user's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(cast(Any, _STYLE))
        yield


def new_figure(width: float, height: float, theme: Theme) -> Figure:
    """An empty page, inches, on which matplotlib's pyplot has no hold."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=theme.paper)
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Figure) -> bytes:
    """PNG of a figure, without time or software in it."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def write_png(png: bytes, path: Path, *, overwrite: bool = False) -> None:
    """Write a picture, atomically.

    Raises
    ------
    ConfigError
        If the file exists and `overwrite` is False.
    InputError
        If it cannot be written.
    """
    with atomic_output(path, overwrite=overwrite) as stream:
        stream.write(png)
