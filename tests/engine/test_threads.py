"""Inside of a block everything computes with one thread, and the numbers come back after the last of several."""

import torch
from threadpoolctl import threadpool_info

from perfmap.engine.threads import one_thread_each


def numbers() -> list[int]:
    return [torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())]


def test_one_thread_until_the_last_block_ends() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        outside = numbers()
        first, second = one_thread_each(), one_thread_each()
        first.__enter__()
        second.__enter__()
        assert set(numbers()) == {1}
        first.__exit__(None, None, None)
        assert set(numbers()) == {1}
        second.__exit__(None, None, None)
        assert numbers() == outside
    finally:
        torch.set_num_threads(before)
