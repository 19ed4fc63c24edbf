"""One thread inside every computation, however many run side by side: results must not depend on their number."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


class _Limit:
    """The limit of a process, shared by all blocks that are open in it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n_open = 0
        self.torch_before = 1
        self.others: threadpool_limits | None = None

    def open(self) -> None:
        with self.lock:
            if self.n_open == 0:
                self.torch_before, self.others = torch.get_num_threads(), threadpool_limits(1)
                torch.set_num_threads(1)
            self.n_open += 1

    def close(self) -> None:
        with self.lock:
            self.n_open -= 1
            if self.n_open == 0 and self.others is not None:
                self.others.restore_original_limits()
                torch.set_num_threads(self.torch_before)


_limit = _Limit()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """PyTorch, BLAS and OpenMP compute with one thread while any such block runs; restored after the last.

    PyTorch keeps its number thread by thread: the thread that opened the first block has to close the last.

    Besides, threads that wait for each other by spinning cost more time than they save on small arrays.
    """
    _limit.open()
    try:
        yield
    finally:
        _limit.close()
