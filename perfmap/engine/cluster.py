"""Workers in other processes, on this machine or on others, by Dask distributed."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from typing import Any

from perfmap.errors import ConfigError

# Of local workers. Dask would have freed memory given back at once besides, which took half of the time: every array
# that is made then has to be asked for and cleared anew.
_SURROUNDINGS = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}


@contextmanager
def dask_pool(
    *, scheduler: str | None = None, workers: int | None = None, timeout: float = 20.0
) -> Iterator[tuple[Executor, int]]:
    """An executor whose tasks run on Dask workers, and their number; another worker does what a dead one left.

    Parameters
    ----------
    scheduler : str, optional
        Address of a running scheduler, ``tcp://host:8786``.
    workers : int, optional
        Workers of one thread each to start on this machine, where there is no scheduler.
    timeout : float
        Seconds to wait for the scheduler.

    Raises
    ------
    ConfigError
        If the extra is missing, both or none are given, or the scheduler does not answer.
    """
    if (scheduler is None) == (workers is None):
        raise ConfigError("--scheduler and --workers exclude each other; give one of them")
    if importlib.util.find_spec("distributed") is None:
        raise ConfigError("Dask is not installed; pip install 'perfmap[cluster]'")

    import dask
    import distributed

    dask_distributed: Any = distributed  # not typed
    with ExitStack() as stack:
        settings = {
            "distributed.scheduler.allowed-failures": 3,
            "distributed.nanny.pre-spawn-environ": _SURROUNDINGS,
        }
        stack.enter_context(dask.config.set(settings))
        address: Any = scheduler
        if workers is not None:
            address = stack.enter_context(
                dask_distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=0,  # perfmap bounds its memory itself; a worker is not to be stopped halfway
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )
            )
        try:
            client = stack.enter_context(dask_distributed.Client(address, timeout=timeout))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"scheduler {scheduler} does not answer ({error}); check the address"
            ) from error
        n_workers = sum(client.nthreads().values())
        if not n_workers:
            raise ConfigError(
                f"scheduler {scheduler} has no workers; start some with 'dask worker {scheduler}'"
            )
        executor = client.get_executor(pure=False)
        try:
            yield executor, n_workers
        finally:
            executor.shutdown(wait=False)
