"""A batch on the terminal: the live table while it runs, and the table at its end."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Group

    from perfmap.engine.batch import Progress
    from perfmap.engine.summary import Row, Summary

_logger = logging.getLogger("perfmap")
_MOST_ROWS = 40
_LAST = 5


@contextmanager
def batch_progress(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Show where a batch stands, on stderr, while the block runs; the log gets a line a case."""
    logged = 0

    def record(state: Progress) -> None:
        nonlocal logged
        for row in state.rows[logged:]:
            bad = row.status in ("failed", "incomplete")
            level = logging.WARNING if bad else logging.INFO
            _logger.log(level, "%s: %s%s", row.case, row.status, f": {row.reason}" if row.reason else "")
        logged = len(state.rows)

    if quiet or not sys.stderr.isatty():
        yield record
        return

    from rich.console import Console
    from rich.live import Live

    began = time.monotonic()
    with Live(console=Console(stderr=True), transient=True, refresh_per_second=2) as live:

        def update(state: Progress) -> None:
            record(state)
            live.update(_live_table(state, time.monotonic() - began))

        yield update


def time_left(rows: list[Row], total: int, elapsed: float) -> float | None:
    """Seconds that the rest of a batch takes if it goes on as so far; None before the first case is computed.

    Skipped cases cost next to nothing and say nothing about the others.
    """
    computed = sum(row.status in ("done", "failed") for row in rows)
    return elapsed / computed * (total - len(rows)) if computed else None


def _live_table(state: Progress, elapsed: float) -> Group:
    from rich import box
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("case", "status", "quality", "seconds"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left", overflow="ellipsis")
    for row in state.rows[-_LAST:]:
        table.add_row(Text(row.case), row.status, row.qc, f"{row.seconds:.1f}")
    for name in state.running[:_LAST]:
        table.add_row(Text(name), "running", "", "")
    left = time_left(state.rows, state.total, elapsed)
    rest = "" if left is None else f", about {_clock(left)} left"
    line = f"{len(state.rows)} of {state.total} cases after {_clock(elapsed)}{rest}"
    return Group(
        table, ProgressBar(total=max(state.total, 1), completed=len(state.rows), width=60), Text(line)
    )


def print_summary(summary: Summary, where: str) -> None:
    """Print counts and every case that is not well, on stdout."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.width = max(console.width, 120)
    worth = [
        row
        for row in summary.rows
        if row.status in ("failed", "incomplete") or row.qc.startswith(("WARN", "FAIL"))
    ]
    if worth:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in ("case", "status", "quality", "reason"):
            table.add_column(heading, overflow="fold")
        for row in worth[:_MOST_ROWS]:
            table.add_row(Text(row.case), row.status, Text(row.qc), Text(row.reason))
        console.print(table)
    hidden = f" ({len(worth) - _MOST_ROWS} more lines in the summary)" if len(worth) > _MOST_ROWS else ""
    counts = ", ".join(f"{n} {status}" for status, n in summary.counts.items() if n)
    left_out = f", {len(summary.left_out)} files left out" if summary.left_out else ""
    console.print(f"{counts or 'no case'}{left_out}{hidden}; {where}", markup=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
