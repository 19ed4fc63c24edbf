"""The page that shows what was measured: ``docs/evidence.md``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType

from benchmarks.evidence.methods import CHEATS
from benchmarks.evidence.run import Figure, Result, Run, Table

Groups = Sequence[tuple[ModuleType, Result]]

HEAD = """# Evidence

Made by `make evidence` from the shipped weights; nothing on this page is written by hand.{mode}

Research use only. All of it is simulated, but for the row of the real slice: figures on patients are not known.

- **Targets** were set before the networks were trained; they are not moved. *Missed* is printed as such.
- **Networks**: {networks}.
- **Conventional methods**: {conventional}; what they compute stands in [conventional.md](conventional.md).
- **Two cheats** show what the page catches. `paint` knows the true tissue of every voxel, fills in that class's mean
  of the priors and measures nothing. `blur` is the first-pass map under a Gaussian of 0.6 pixel.
- No subject of this page was seen in training, and no other table shares them.
- Every series comes with what a sidecar says of it: its times, flip angle and field strength. Of the real slice
  the interval alone is known.

"""


def page_of(groups: Groups, run: Run, *, missing: Sequence[ModuleType]) -> str:
    """The whole page as Markdown; `missing` are the groups that were never run."""
    quick = [module.TITLE for module, result in groups if result.quick]
    part = [
        f"{module.TITLE} ({100 * result.share:.0f} %)"
        for module, result in groups
        if result.share < 1 and not result.quick
    ]
    mode = f" From a **quick run** (few subjects, rough figures): {', '.join(quick)}." if quick else ""
    mode += f" From a **share of the subjects** of a full run: {', '.join(part)}." if part else ""
    if missing:
        mode += f" **Not measured yet**: {', '.join(module.TITLE for module in missing)}."
    networks = ", ".join(f"`{name}`" + (" (default)" if name == run.default else "") for name in run.networks)
    parts = [
        HEAD.format(
            mode=mode,
            networks=networks,
            conventional=", ".join(f"`{name}`" for name in run.setup.conventional),
        )
    ]
    parts.append(summary(groups, run))
    parts.append(caught(groups))
    parts += [section(module, result, run, groups) for module, result in groups]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def summary(groups: Groups, run: Run) -> str:
    """Every target: the value of the default, or of the network that a group judges, and whether it is met."""
    lines = [
        "## Targets",
        "",
        f"| row | figure | target | {run.default}, or the one named | | first pass | BSW | paint | blur |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for module, result in groups:
        for figure in module.FIGURES:
            if not figure.has_target:
                continue
            judged = getattr(module, "JUDGED", run.default)
            value = _value(result, judged, figure)
            verdict = {True: "met", False: "**missed**", None: "–"}[met(figure, result, judged, groups)]
            if value is None and not result.figures:
                verdict = result.notes[0].split(":")[0].lower()
            others = [cell(figure, result, m, groups) for m in ("first pass", "BSW", *CHEATS)]
            whose = "" if judged == run.default else f" (`{judged}`)"
            lines.append(
                f"| {module.TITLE} | {figure.title} | {figure.target} | {_number(value, figure.form)}{whose} | "
                f"{verdict} | " + " | ".join(others) + " |"
            )
    lines += ["", "A value that misses its target has a ✗ behind it."]
    return "\n".join(lines)


def caught(groups: Groups) -> str:
    """Which rows catch the cheats."""
    lines = ["## The cheats", ""]
    for cheat in CHEATS:
        missed = [
            f"{module.TITLE} ({figure.title})"
            for module, result in groups
            for figure in module.FIGURES
            if met(figure, result, cheat, groups) is False
        ]
        rows = len({entry.split(" (")[0] for entry in missed})
        lines.append(
            f"- `{cheat}` misses {len(missed)} targets in {rows} rows: {'; '.join(missed) or 'none'}."
        )
    return "\n".join(lines)


def section(module: ModuleType, result: Result, run: Run, groups: Groups) -> str:
    """One group: what was done, its figures for every method, its tables, its notes."""
    lines = [f"## {module.TITLE}", "", module.INTRO, ""]
    methods = [m for m in dict.fromkeys((*run.networks, *run.ap_models, *run.methods)) if m in result.figures]
    if methods:
        lines.append("| | target | " + " | ".join(methods) + " |")
        lines.append("|---|---|" + "---|" * len(methods))
        for figure in module.FIGURES:
            cells = [cell(figure, result, method, groups) for method in methods]
            lines.append(f"| {figure.title} | {figure.target} | " + " | ".join(cells) + " |")
        lines.append("")
    for table in result.tables:
        lines += [f"### {table.title}", "", _table(table, run), ""]
    lines += [note if note.endswith(".") else note + "." for note in result.notes]
    return "\n".join(lines)


def _table(table: Table, run: Run) -> str:
    known = (*run.networks, *run.methods)
    methods = [m for m in dict.fromkeys(known) if any(m in row for row in table.rows.values())]
    lines = ["| | " + " | ".join(methods) + " |", "|---|" + "---|" * len(methods)]
    for name, row in table.rows.items():
        cells = [_number(row.get(m), table.form) for m in methods]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def met(figure: Figure, result: Result, method: str, groups: Groups) -> bool | None:
    """Whether a method meets a target, with all of those that it is bound to; None where there is nothing to judge."""
    own = figure.met(_value(result, method, figure))
    bound = [
        other.met(_value(found, method, other))
        for module, found in groups
        if figure.holding == module.TITLE
        for other in module.FIGURES
    ]
    return own and False not in bound


def cell(figure: Figure, result: Result, method: str, groups: Groups) -> str:
    """A value in its format, with a mark where the target is missed."""
    text = _number(_value(result, method, figure), figure.form)
    return text + (" ✗" if met(figure, result, method, groups) is False else "")


def _value(result: Result, method: str, figure: Figure) -> float | None:
    value = result.figures.get(method, {}).get(figure.key)
    return None if value is None or not math.isfinite(value) else value


def _number(value: float | None, form: str) -> str:
    return "–" if value is None or not math.isfinite(value) else format(value, form)
