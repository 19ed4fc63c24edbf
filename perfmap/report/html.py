"""One HTML file to look through: pictures inside, nothing loaded from anywhere, equal input to equal bytes."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import perfmap
from perfmap.io.files import atomic_output
from perfmap.quantities import RESEARCH_ONLY

_TEMPLATE = "report.html.j2"
_CAMEL = re.compile(r"(?<=[a-z])[A-Z](?=[a-z])")
_UNIT = re.compile(r"_(s|mm)$")
_HASH = re.compile(r"[0-9a-f]{40,64}")


@dataclass(frozen=True)
class Picture:
    """A picture of the report.

    Parameters
    ----------
    png : bytes
        As drawn for a light page, or for any.
    alt : str
        What it shows, for those who cannot see it.
    caption : str
        Line below it.
    dark_png : bytes or None
        As drawn for a dark page, where that differs.
    """

    png: bytes
    alt: str
    caption: str
    dark_png: bytes | None = None


def render_report(
    *,
    title: str,
    subtitle: str = "",
    facts: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    pictures: Sequence[Picture] = (),
    tables: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """Render a report as one HTML page.

    Parameters
    ----------
    title, subtitle : str
        Name of the map, and what made it.
    facts : mapping
        A few figures shown large at the top.
    warnings : sequence of str
        What a reader must know; shown before the pictures.
    pictures : sequence of Picture
    tables : mapping of mapping
        Heading to rows. Numbers, texts, lists and None ("not known") may be values, keys of a sidecar names
        (``time_step_s`` is shown as "Time step, s"); all text is escaped.

    Returns
    -------
    str
        HTML5 without script, style sheet or picture from elsewhere, and a policy that forbids them.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["is_hash"] = lambda text: bool(_HASH.fullmatch(text))
    return environment.get_template(_TEMPLATE).render(
        title=title,
        subtitle=subtitle,
        facts=_as_text(facts or {}),
        warnings=list(warnings),
        pictures=list(pictures),
        tables={heading: _as_text(rows) for heading, rows in (tables or {}).items()},
        warning=RESEARCH_ONLY,
        version=perfmap.__version__,
    )


def write_report(
    path: Path,
    *,
    title: str,
    subtitle: str = "",
    facts: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    pictures: Sequence[Picture] = (),
    tables: Mapping[str, Mapping[str, Any]] | None = None,
    overwrite: bool = False,
) -> None:
    """Write `render_report` to a file, atomically.

    Raises
    ------
    ConfigError
        If the file exists and `overwrite` is False.
    InputError
        If it cannot be written.
    """
    page = render_report(
        title=title, subtitle=subtitle, facts=facts, warnings=warnings, pictures=pictures, tables=tables
    )
    with atomic_output(path, overwrite=overwrite) as stream:
        stream.write(page.encode("utf-8"))


def _as_text(rows: Mapping[str, Any]) -> dict[str, str]:
    return {_label(str(name)): _text(value) for name, value in rows.items()}


def _label(name: str) -> str:
    """Words for a key of a sidecar: ``time_step_s`` becomes ``Time step, s``, ``TrainingData`` ``Training data``."""
    words = _UNIT.sub(r", \1", name).replace("_", " ")
    words = _CAMEL.sub(lambda match: " " + match[0].lower(), words)
    return words if words.startswith("sha256") else words[:1].upper() + words[1:]


def _text(value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value) or "none"
    return str(value)


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
