"""One run of the evidence: which methods, how many subjects, by how many processes; and what a group gives back."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.evidence.methods import CHEATS, Setup

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Figure:
    """A number that a group measures for every method.

    Attributes
    ----------
    key, title : str
    form : str
        Format of the value.
    least, most : float or None
        The target; both None: stated without a target.
    aim : str
        Words behind the target.
    holding : str
        Title of a group of whose targets a method must miss none, or it misses this one whatever its value.
    """

    key: str
    title: str
    form: str = ".3f"
    least: float | None = None
    most: float | None = None
    aim: str = ""
    holding: str = ""

    @property
    def has_target(self) -> bool:
        """Whether it is judged."""
        return self.least is not None or self.most is not None

    @property
    def target(self) -> str:
        """The target in words."""
        if self.least is not None and self.most is not None:
            words = f"{self.least:g} to {self.most:g}"
        elif self.least is not None:
            words = f"≥ {self.least:g}"
        elif self.most is not None:
            words = f"≤ {self.most:g}"
        else:
            words = "–"
        return f"{words}{self.aim}"

    def met(self, value: float | None) -> bool | None:
        """Whether a value meets the target; None where there is no value or no target."""
        if value is None or not np.isfinite(value) or not self.has_target:
            return None
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


@dataclass
class Table:
    """A table of its own: rows down, methods across."""

    title: str
    rows: dict[str, dict[str, float]]
    form: str = ".2f"


@dataclass
class Result:
    """What a group measured.

    Attributes
    ----------
    figures : dict
        Method to figure to value.
    tables : list of Table
    notes : list of str
        One sentence each, below the tables.
    quick : bool
        Whether it comes from a quick run.
    share : float
        Share of a full run's subjects that it took.
    """

    figures: dict[str, dict[str, float]]
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    quick: bool = False
    share: float = 1.0


@dataclass(frozen=True)
class Run:
    """Settings of a run.

    Attributes
    ----------
    quick : bool
        Few subjects: to see that everything works.
    share : float
        Share of a full run's subjects, where it is not quick.
    setup : Setup
    ap_models : tuple of str
        Shipped models that give CaPTk's ap-rCBV instead of nrCBV.
    default : str
        The model that `perfmap predict` takes unasked.
    pool : ProcessPoolExecutor or None
        Workers.
    in_vivo : Path or None
    results : Path
        Folder of what was measured.
    """

    quick: bool
    share: float
    setup: Setup
    ap_models: tuple[str, ...]
    default: str
    pool: ProcessPoolExecutor | None
    in_vivo: Path | None
    results: Path

    @property
    def networks(self) -> tuple[str, ...]:
        """Models that give nrCBV, the default first."""
        return tuple(name for name, _ in self.setup.models)

    @property
    def methods(self) -> tuple[str, ...]:
        """Every column."""
        return (*self.networks, *self.setup.conventional, *CHEATS)

    def few(self, full: int, quick: int) -> int:
        """How many subjects this run takes."""
        return quick if self.quick else min(full, max(quick, ceil(self.share * full)))

    def setting(self, full: int, quick: int) -> int:
        """A number that does not depend on the share: slices of a subject, repeats."""
        return quick if self.quick else full

    def each(self, work: Callable[[Item, Setup], Answer], items: Sequence[Item], title: str) -> list[Answer]:
        """`work(item, setup)` of every item, in worker processes, in order, with progress on stderr."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        answers: list[Answer] = []
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(title, total=len(items))
            jobs = None if self.pool is None else [self.pool.submit(work, i, self.setup) for i in items]
            for number, item in enumerate(items):
                answers.append(work(item, self.setup) if jobs is None else jobs[number].result())
                progress.advance(task)
                if not progress.console.is_terminal:
                    progress.console.print(f"{title}: {number + 1} of {len(items)}")
        return answers


def open_pool(workers: int) -> ProcessPoolExecutor | None:
    """Worker processes for a whole run; None for one: the work is then done in this process."""
    if workers <= 1:
        return None
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


def mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of the finite values; NaN where there are none."""
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    return float(array.mean()) if array.size else float("nan")


def by_method(
    methods: Sequence[str], measure: Callable[[str], dict[str, float] | None]
) -> dict[str, dict[str, float]]:
    """Figures of every method that has any."""
    found = {name: measure(name) for name in methods}
    return {name: figures for name, figures in found.items() if figures}


def plain(result: Result) -> dict[str, Any]:
    """A result as JSON holds it."""
    return {
        "figures": result.figures,
        "tables": [{"title": t.title, "rows": list(t.rows.items()), "form": t.form} for t in result.tables],
        "notes": result.notes,
        "quick": result.quick,
        "share": result.share,
    }


def restored(content: dict[str, Any]) -> Result:
    """The result that `plain` wrote down."""
    tables = [Table(t["title"], dict(t["rows"]), t["form"]) for t in content["tables"]]
    return Result(content["figures"], tables, content["notes"], content["quick"], content.get("share", 1.0))
