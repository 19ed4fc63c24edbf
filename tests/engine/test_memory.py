"""Memory: what is freed and kept."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from perfmap.engine.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(3):
    torch.empty(10_000_000).fill_(1.0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    torch.empty(10_000_000).fill_(1.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_arrays_are_not_filled_with_zeros_again() -> None:
    def faults(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    # A small array that lands in the freed room now and then makes the next large one move to fresh pages.
    assert faults("keep") < 0.3 * faults("default")
