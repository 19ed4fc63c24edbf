"""Slices as training meets them."""

import numpy as np
import pytest
import torch

from perfmap.engine.batches import Batch, scramble


def one_slice() -> Batch:
    number = torch.arange(16 * 24, dtype=torch.float32).view(1, 16, 24)
    inside = torch.zeros(1, 16, 24)
    inside[:, 4:12, 4:20] = 1.0
    flags = number % 2 > 0
    return Batch(
        number[:, None].repeat(1, 3, 1, 1),
        torch.ones(1, 5),
        number,
        number + 1,
        flags,
        ~flags,
        number,
        inside,
    )


@pytest.mark.parametrize("edge", [1, 2, 4])
def test_pieces_change_places_and_take_everything_with_them(edge: int) -> None:
    batch = one_slice()
    moved = scramble(batch, edge, np.random.default_rng(0))
    assert not torch.equal(moved.target, batch.target)
    assert torch.equal(moved.target.flatten().sort().values, batch.target.flatten())
    assert torch.equal(moved.channels, moved.target[:, None].repeat(1, 3, 1, 1))
    assert torch.equal(moved.weight, moved.target + 1)
    assert torch.equal(moved.tissue, moved.target % 2 > 0)
    assert torch.equal(moved.context, batch.context)
    assert torch.equal(moved.inside, batch.inside)  # pieces of the brain stay in the brain
    outside = batch.inside == 0
    assert torch.equal(moved.target[outside], batch.target[outside])
    corners = moved.target[0, ::edge, ::edge]
    assert torch.equal(moved.target[0, edge - 1 :: edge, edge - 1 :: edge], corners + 25 * (edge - 1))


def test_a_matrix_that_cannot_be_cut_stays_whole() -> None:
    batch = one_slice()
    assert scramble(batch, 7, np.random.default_rng(0)) is batch
