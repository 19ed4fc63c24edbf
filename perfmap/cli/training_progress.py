"""What a training run shows: a bar within the epoch, a line after it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from perfmap.engine.train import Progress
    from perfmap.engine.trained_card import Fitting


def epoch_line(progress: Progress) -> str:
    """One epoch in one line: losses, what is left."""
    assert progress.scores is not None
    left = progress.seconds / progress.epoch * (progress.epochs - progress.epoch)
    if progress.budget is not None:
        left = min(left, max(progress.budget - progress.seconds, 0.0))
    return (
        f"epoch {progress.epoch}/{progress.epochs}  loss {progress.loss:.5f}  validation {progress.scores.loss:.5f}  "
        f"MAE {progress.scores.mae:.4f}  nrmse_tissue {progress.scores.nrmse_tissue:.4f}"
        f"{'  best' if progress.is_best else ''}  ({progress.seconds / 60:.1f} min, at most {left / 60:.0f} left)"
    )


def fitting_line(fitting: Fitting) -> str:
    """What happens after the last epoch, in one line."""
    return f"fitting the {fitting.what} to {fitting.subjects} subjects of the validation part"


@contextmanager
def training_progress(*, quiet: bool) -> Iterator[Callable[[Progress | Fitting], None]]:
    """Give the function that shows a training run's progress on stderr."""
    import logging

    from perfmap.engine.trained_card import Fitting

    logger = logging.getLogger("perfmap")
    if quiet or not sys.stderr.isatty():

        def show_line(progress: Progress | Fitting) -> None:
            if isinstance(progress, Fitting):
                line = "" if progress.subject else fitting_line(progress)
            else:
                line = "" if progress.scores is None else epoch_line(progress)
            if line:
                logger.info(line)
                if not quiet:
                    typer.echo(line, err=True)

        yield show_line
        return

    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("simulating the first subjects", total=None, loss="")

        def show(progress: Progress | Fitting) -> None:
            if isinstance(progress, Fitting):
                words = f"fitting the {progress.what}"
                bar.update(
                    task, description=words, total=progress.subjects, completed=progress.subject, loss=""
                )
                return
            bar.update(
                task,
                description=f"epoch {progress.epoch}/{progress.epochs}",
                total=progress.steps,
                completed=progress.step,
                loss=f"loss {progress.loss:.5f}",
            )
            if progress.scores is not None:
                logger.info(epoch_line(progress))
                bar.console.print(epoch_line(progress), highlight=False)

        yield show
