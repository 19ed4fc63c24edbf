"""Many cases: the model loaded once, cases side by side, memory bounded, one bad case never the end of the others.

Every case is read, computed and written by one worker, so that reading and writing one case overlap with computing
another. A case begins only when there is room for it in memory beside those under way.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from perfmap.engine.batch_case import Dropped, Job, Planned, compute_case, failure, known_requests, plan_case
from perfmap.engine.cases import Case, Cases
from perfmap.engine.layout import begin_dataset
from perfmap.engine.memory import memory_free, memory_needed
from perfmap.engine.summary import Row, Summary, write_summary
from perfmap.engine.threads import one_thread_each
from perfmap.io.lock import locked_folder
from perfmap.models.card import ModelCard
from perfmap.models.checkpoint import Checkpoint, load_checkpoint, read_card

_AHEAD = 2  # cases handed out for each worker process, so that none waits for the next
Work = Callable[[Planned, Job], Row]
_Running = dict[Future[Row], tuple[Planned, float]]  # case and the bytes reserved for it


@dataclass(frozen=True)
class Progress:
    """Where a batch stands.

    Attributes
    ----------
    rows : list of Row
        Of the cases that ended, in the order in which they did.
    running : tuple of str
        Names of the cases under way.
    total : int
        Cases in all.
    """

    rows: list[Row]
    running: tuple[str, ...]
    total: int


def run_batch(
    cases: Cases,
    job: Job,
    *,
    lanes: int = 1,
    shard: tuple[int, int] = (1, 1),
    name: str = "",
    pool: Callable[[], AbstractContextManager[tuple[Executor, int]]] | None = None,
    on_change: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    """Make the maps of all cases and write ``summary.csv`` and ``summary.json``.

    Cases whose input, model, settings and version are those of a finished map are skipped, and so is a copy of
    another case's series. The summary is written also when the run is interrupted.

    Parameters
    ----------
    cases : Cases
        The whole list, also for a shard.
    job : Job
    lanes : int
        Cases computed side by side.
    shard : tuple of int
        Number of the shard, from 1, and how many there are.
    name : str
        Of a part of a larger list; runs of different names may share the output folder, as shards do.
    pool : callable, optional
        Opens an executor in other processes, and says how many these are; each loads the model once. Threads of
        this process if not given.
    on_change : callable
        Called whenever a case begins or ends.

    Raises
    ------
    ModelError
        If the model cannot be loaded.
    ConfigError
        If another process works in the output folder, or it is another tool's data set.
    InputError
        If the output folder cannot be written.
    """
    part = cases.shard(*shard)
    rows: list[Row] = []
    running: _Running = {}
    lock = f"{shard[0]}-of-{shard[1]}" if shard[1] > 1 else name
    checkpoint = load_checkpoint(job.model) if pool is None else None
    card = checkpoint.card if checkpoint else read_card(job.model)
    with locked_folder(job.output, part=lock):
        begin_dataset(job.output)
        try:
            if checkpoint is not None:
                with _lanes(checkpoint, lanes) as (executor, work):
                    _run(
                        part, job, card, executor, work, lanes, rows, running, on_change, memory=memory_free()
                    )
            elif pool is not None:
                with pool() as (executor, n):
                    _run(part, job, card, executor, compute_with, _AHEAD * n, rows, running, on_change)
        finally:
            done = {row.case for row in rows}
            rows += [row for row in _ended(running) if row.case not in done]
            done = {row.case for row in rows}
            rows += [_not_reached(case) for case in part.cases if case.name not in done]
            summary = Summary(
                rows=tuple(sorted(rows, key=lambda row: row.case)),
                left_out=tuple((entry.path, entry.reason) for entry in part.left_out),
                list_sha256=cases.fingerprint,
                shard=shard,
                part=name,
            )
            write_summary(summary, job.output)
    return summary


@functools.lru_cache(maxsize=1)
def _loaded(model: str, sha256: str) -> Checkpoint:
    return load_checkpoint(Path(model))


def compute_with(planned: Planned, job: Job) -> Row:
    """Compute a case in a worker process, which loads the model once."""
    return compute_case(planned, job, _loaded(str(job.model), planned.request["model"]["sha256"]))


@contextmanager
def _lanes(checkpoint: Checkpoint, n: int) -> Iterator[tuple[Executor, Work]]:
    """Threads that share one model; what is under way when the block ends by an exception is dropped."""
    stopped = threading.Event()

    def stop(done: int, total: int) -> None:
        if stopped.is_set():
            raise Dropped

    def work(planned: Planned, job: Job) -> Row:
        stop(0, 0)
        return compute_case(planned, job, checkpoint, on_slice=stop)

    executor = ThreadPoolExecutor(n, thread_name_prefix="case")
    with one_thread_each():  # closed after the last thread has closed its own
        try:
            yield executor, work
        except BaseException:
            stopped.set()
            raise
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def _run(
    part: Cases,
    job: Job,
    card: ModelCard,
    executor: Executor,
    work: Work,
    lanes: int,
    rows: list[Row],
    running: _Running,
    on_change: Callable[[Progress], None],
    *,
    memory: float = math.inf,
) -> None:
    """Keep the lanes filled until all cases have a row; cases that memory did not suffice for come last, alone."""
    waiting = iter(part.cases)
    finished = {} if job.force else known_requests(part.cases, job, card)
    postponed: list[Planned] = []

    def tell() -> None:
        names = tuple(planned.case.name for planned, _ in running.values())
        on_change(Progress(rows, names, len(part.cases)))

    def reserved() -> float:
        return sum(needed for _, needed in running.values())

    def begin(planned: Planned, needed: float) -> None:
        running[executor.submit(work, planned, job)] = (planned, needed)
        tell()

    def collect() -> None:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            planned, _ = running[future]
            try:
                rows.append(future.result())
            except MemoryError:
                postponed.append(planned)
            except Exception as error:  # a worker that died again and again, or a row that could not travel
                rows.append(failure(planned.case, error))
            del running[future]  # last: an interrupt before it leaves the row to be found
            del future  # and with it what a failed case still held
        tell()

    for case in waiting:
        planned = plan_case(case, job, card, finished)
        if isinstance(planned, Row):
            rows.append(planned)
            tell()
            continue
        needed = memory_needed(case)
        while len(running) >= lanes or (running and needed + reserved() > memory):
            collect()
        begin(planned, needed)
    while running:
        collect()
    for planned in postponed:
        try:
            rows.append(executor.submit(work, planned, replace(job, threads=1)).result())
        except Exception as error:
            rows.append(failure(planned.case, error))
        tell()


def _ended(running: _Running) -> list[Row]:
    """Rows of cases that ended while an interrupt was already ending the run: their maps are there."""
    ended = [future for future in running if future.done() and not future.cancelled()]
    return [future.result() for future in ended if future.exception() is None]


def _not_reached(case: Case) -> Row:
    return Row(case.name, case.source, status="incomplete", reason="the run ended before this case", code=4)
