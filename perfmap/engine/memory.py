"""How much memory a case needs, and how much there is."""

from __future__ import annotations

import ctypes
import math
from pathlib import Path

from perfmap.engine.cases import Case
from perfmap.errors import InputError
from perfmap.io.nifti_header import opened_nifti, shape_of

_PER_SERIES = 1.6  # peak over the size of the series in float32, see docs/batch.md
_BESIDE = 250e6  # bytes: activations of the network, maps
_SHARE = 0.8  # of what is free
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_OLDER_LIMIT = 2**25  # bytes: what glibc before 2.35 takes at the most


def memory_needed(case: Case) -> float:
    """Bytes that a case needs, judged by its headers; 0 where they cannot be read, as the case ends there."""
    if case.dicom is not None:
        n_values = sum(frame.rows * frame.columns for one in case.dicom.series for frame in one.frames)
        return 4.0 * n_values * _PER_SERIES + _BESIDE
    try:
        with opened_nifti(case.path) as (header, _):
            return 4.0 * math.prod(shape_of(header, case.path)) * _PER_SERIES + _BESIDE
    except InputError:
        return 0.0


def memory_free() -> float:
    """Bytes that may be used now: of the machine, the control group and the process's own limits."""
    return _SHARE * min(_of_machine(), _of_group(), _of_limits())


def memory_hint(case: Case) -> str:
    """One line for a case that memory did not suffice for."""
    needed, free = memory_needed(case), memory_free()
    room = f", about {free / 1e9:.1f} GB are free" if math.isfinite(free) else ""
    return (
        f"out of memory: {case.name} needs about {needed / 1e9:.1f} GB{room}; "
        "end other programs, or give fewer --threads or --workers"
    )


def keep_freed_memory() -> None:
    """Let glibc keep large arrays that were freed, for the next ones; elsewhere nothing happens.

    By default it hands arrays above 32 MB back to the system at once and has every page of the next one filled with
    zeros: a third of the time of a training step of ConvLSTM2D. Only for processes that compute the same step again
    and again; the peak of memory rises by about a tenth.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    if mallopt(_M_MMAP_THRESHOLD, 2**31 - 1) or mallopt(_M_MMAP_THRESHOLD, _OLDER_LIMIT):
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _of_machine() -> float:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return 1024.0 * float(line.split()[1])
    return math.inf


def _of_group() -> float:
    limit, used = (_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit and used and limit[0].isdigit():
        return float(limit[0]) - float(used[0])
    return math.inf


def _of_limits() -> float:
    try:
        import resource
    except ImportError:
        return math.inf
    status = {
        key: value.split() for key, _, value in (line.partition(":") for line in _lines("/proc/self/status"))
    }
    free = math.inf
    for limit, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        soft = resource.getrlimit(limit)[0]
        if soft != resource.RLIM_INFINITY and name in status:
            free = min(free, soft - 1024.0 * float(status[name][0]))
    return free


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except OSError:
        return []
