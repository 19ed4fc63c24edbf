"""Slices as training meets them."""

import numpy as np
import pytest
import torch

from perfmap.engine.batches import Batch, batches, scramble, to_tensors
from perfmap.engine.dataset import Stack
from perfmap.engine.train_config import TrainConfig, default_inputs
from perfmap.preprocess.features import SCALARS, T1_SCALARS, channel_maps, context_length


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
    assert torch.equal(moved.inside, batch.inside)
    outside = batch.inside == 0
    assert torch.equal(moved.target[outside], batch.target[outside])
    corners = moved.target[0, ::edge, ::edge]
    assert torch.equal(moved.target[0, edge - 1 :: edge, edge - 1 :: edge], corners + 25 * (edge - 1))


def test_a_matrix_that_cannot_be_cut_stays_whole() -> None:
    batch = one_slice()
    assert scramble(batch, 7, np.random.default_rng(0)) is batch


def test_pieces_at_the_edge_of_the_brain_stay() -> None:
    batch = one_slice()
    batch.inside[:, 4] = 0.0  # the first row of pieces of 4 is no longer all brain
    moved = scramble(batch, 4, np.random.default_rng(0))
    assert torch.equal(moved.inside, batch.inside)
    assert torch.equal(moved.target[:, :8], batch.target[:, :8])
    assert not torch.equal(moved.target[:, 8:12], batch.target[:, 8:12])


def test_now_and_then_training_does_without_echo_time_or_flip_angle_and_field() -> None:
    inputs = default_inputs("voxel-unet")
    config = TrainConfig(name="x", architecture="voxel-unet", inputs=inputs)
    edge = np.ones((1, 8, 8), dtype=np.float16)
    n_channels = inputs.n_times + len(channel_maps(inputs))
    stack = Stack(
        curves=edge[:, None].repeat(n_channels, axis=1),
        valid=np.full(context_length(inputs), 0.5, dtype=np.float32),
        target=edge,
        coverage=edge,
        tissue=edge > 0,
        lesion=edge < 0,
        white=edge > 0,
        white_level=1.0,
    )
    rng = np.random.default_rng(0)
    told = np.stack([to_tensors(stack, np.array([0]), config, rng).context[0].numpy() for _ in range(400)])
    echo = told[:, [inputs.n_times + SCALARS.index(name) for name in ("echo_time", "echo_time_known")]]
    t1 = told[:, -len(T1_SCALARS) :]
    for numbers in (echo, t1):
        known = numbers.all(axis=1)
        assert (known | ~numbers.any(axis=1)).all()  # all of them or none
        assert known.mean() == pytest.approx(0.85, abs=0.06)
    assert (echo.all(axis=1) != t1.all(axis=1)).any()
    assert (stack.valid == 0.5).all()
    assert to_tensors(stack, np.array([0]), config).context[0, -1] == 0.5  # validation is told everything


def test_training_scrambles_the_share_that_it_is_told() -> None:
    number = np.arange(16 * 16, dtype=np.float16).reshape(1, 16, 16)
    stack = Stack(
        curves=number[:, None].repeat(20, axis=1),
        valid=np.ones(20, dtype=np.float32),
        target=number,
        coverage=np.ones_like(number),
        tissue=number >= 0,
        lesion=number < 0,
        white=number < 0,
        white_level=0.0,
    )

    def target(share: float) -> torch.Tensor:
        config = TrainConfig(
            name="x", architecture="unet-gru", batch=1, target_limit=None, scrambled=share, balanced=False
        )
        (batch,) = batches([stack], config, np.random.default_rng(3), 1)
        return batch.target

    whole = torch.from_numpy(number.astype(np.float32))
    assert any(torch.equal(target(0.0), image) for image in (whole, whole.flip(-2)))
    moved = target(1.0)
    assert not any(torch.equal(moved, image) for image in (whole, whole.flip(-2)))
    assert torch.equal(moved.flatten().sort().values, whole.flatten())


def stack_of(target: list[list[float]], *, n_channels: int, n_context: int, is_lesion: bool) -> Stack:
    """One slice of tissue."""
    image = np.array([target], dtype=np.float16)
    everywhere, nowhere = np.ones(image.shape, dtype=bool), np.zeros(image.shape, dtype=bool)
    return Stack(
        curves=np.zeros((1, n_channels, *image.shape[1:]), dtype=np.float16),
        valid=np.ones(n_context, dtype=np.float32),
        target=image,
        coverage=np.ones_like(image),
        tissue=everywhere,
        lesion=everywhere if is_lesion else nowhere,
        white=nowhere,
        white_level=0.0,
    )


def test_references_below_zero_weigh_like_zero() -> None:
    stack = stack_of([[-1.5, -1.0], [0.0, 1.0]], n_channels=20, n_context=20, is_lesion=False)
    batch = to_tensors(stack, np.array([0]), TrainConfig(name="x", architecture="unet-gru"))
    assert batch.weight.flatten().tolist() == [2.0, 2.0, 2.0, 1.0]


def test_a_network_that_corrects_a_map_leaves_the_levels_to_its_loss() -> None:
    """No voxel is divided by the level of its truth."""
    inputs = default_inputs("voxel-unet")
    n_channels, n_context = inputs.n_times + len(channel_maps(inputs)), context_length(inputs)
    stack = stack_of([[0.0, 1.0], [3.0, 9.0]], n_channels=n_channels, n_context=n_context, is_lesion=True)
    config = TrainConfig(name="x", architecture="voxel-unet", inputs=inputs, lesion_weight=3.0)
    assert (to_tensors(stack, np.array([0]), config).weight == 3.0).all()
