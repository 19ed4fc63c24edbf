"""The one table: every row of the priors by its name, and how it is printed."""

from __future__ import annotations

import math
from collections import Counter

from perfmap.phantom.priors.acquisition import acquisition_rows
from perfmap.phantom.priors.anatomy import anatomy_rows
from perfmap.phantom.priors.row import Choice, Places, Row
from perfmap.phantom.priors.subject import subject_rows
from perfmap.phantom.priors.tissue import tissue_rows
from perfmap.phantom.priors.vessels import vessel_rows

TABLE: dict[str, Row] = (
    {f"tissue.{name}": row for name, row in tissue_rows().items()}
    | subject_rows()
    | anatomy_rows()
    | vessel_rows()
    | acquisition_rows()
)
"""Everything physical that the simulator draws or takes as given, by name."""

_HEAD = """# Priors of the simulator

Every number that the [simulator](simulator.md) draws or takes as given: {n} rows. Of these, {read} were read in a
published source, which the note names (**V**), {derived} were derived, measured or chosen for this simulator (**D**),
and {remembered} are literature as remembered (**M**: a prior, not a fact). The code reads them from the same table
(`perfmap/phantom/priors/`), and `python benchmarks/make_priors_page.py` prints this page from it. What a regime fixes
instead stands in the table of [regimes](simulator.md#regimes). Pure numbers have no unit; `mm MNI` are places in the
template's space."""
_DRAWN = {"uniform": "uniform", "log_uniform": "log-uniform", "normal": "normal", "log_normal": "log-normal"}


def describe(row: Row) -> tuple[str, str]:
    """The numbers of a row and how they are drawn, in words.

    Returns
    -------
    tuple of str
        ``("3–12", "log-uniform")``; the usual value in brackets behind the range.
    """
    if isinstance(row, Choice):
        numbers = ", ".join(f"{_word(option)} ({100 * part:.3g} %)" for option, part in row.shares.items())
        return numbers, "choice"
    if isinstance(row, Places):
        numbers = "; ".join(" ".join(_word(number) for number in point) for point in row.points)
        return numbers, f"places ({row.columns}{', both sides' if row.mirrored else ''})"
    if row.low == row.high:
        return _word(row.low), "fixed"
    numbers = f"{_word(row.low)} to {_word(row.high)}" if math.isfinite(row.high) else "no limit"
    if row.usual is not None:
        numbers += f" (usually {_word(row.usual)})"
    drawn = _DRAWN[row.shape]
    if row.shape in ("normal", "log_normal"):
        drawn += f", {_word(row.mean)} ± {_word(row.sd)}"
    return numbers, drawn


def _word(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else str(value)


def markdown() -> str:
    """The table as a page of the documentation, a heading for each group."""
    counts = Counter(row.source for row in TABLE.values())
    lines = [
        _HEAD.format(n=len(TABLE), read=counts["V"], derived=counts["D"], remembered=counts["M"]),
    ]
    group = ""
    for name, row in TABLE.items():
        if name.partition(".")[0] != group:
            group = name.partition(".")[0]
            lines += ["", f"## {group}", "", "| name | value | unit | drawn | source | note |"]
            lines += ["|---|---|---|---|---|---|"]
        numbers, drawn = describe(row)
        lines.append(f"| `{name}` | {numbers} | {row.unit} | {drawn} | {row.source} | {row.note} |")
    return "\n".join(lines) + "\n"
