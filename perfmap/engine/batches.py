"""Slices of stacks as tensors: shuffled, mirrored, weighted, and scaled as prediction will find them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from perfmap.engine.dataset import Stack
from perfmap.engine.train_config import TrainConfig
from perfmap.preprocess.features import SCALARS, T1_SCALARS, rescale
from perfmap.series import FloatArray

_ALIKE = 8  # batches whose slices are sorted by size before they are cut
# How prediction's two passes find the scale of a series: shares and spreads (standard deviations of the logarithm).
_SECOND_PASS, _LEVEL_SPREAD, _MEAN_SPREAD = 0.65, 0.03, 0.15
_ECHO_TIME_UNKNOWN, _T1_UNKNOWN = 0.15, 0.15
_PIECES = (1, 1, 2, 4, 8)  # edges of the pieces that a scrambled slice is cut into


@dataclass(frozen=True)
class Batch:
    """Slices as tensors: channels (b, c, h, w), context (b, k), everything else (b, h, w)."""

    channels: Tensor
    context: Tensor
    target: Tensor
    weight: Tensor
    tissue: Tensor
    lesion: Tensor
    white: Tensor
    inside: Tensor


def batches(
    stacks: Sequence[Stack], config: TrainConfig, rng: np.random.Generator, passes: int
) -> Iterator[Batch]:
    """Shuffled batches over all slices, `passes` times, half of them mirrored left to right.

    Cropped slices differ in size: those of a batch are alike and padded to the largest.
    """
    places = [(i, j) for i, stack in enumerate(stacks) for j in range(len(stack))]
    for _ in range(passes):
        order = rng.permutation(len(places))
        groups = [
            sorted(
                order[start : start + _ALIKE * config.batch],
                key=lambda p: stacks[places[p][0]].target[0].size,
            )
            for start in range(0, len(order), _ALIKE * config.batch)
        ]
        chosen = [
            group[start : start + config.batch]
            for group in groups
            for start in range(0, len(group) - config.batch + 1, config.batch) or [0]
        ]
        for n in rng.permutation(len(chosen)):
            parts = [
                to_tensors(stacks[places[p][0]], np.array([places[p][1]]), config, rng) for p in chosen[n]
            ]
            if config.scrambled:
                parts = [
                    scramble(part, int(rng.choice(_PIECES)), rng) if rng.random() < config.scrambled else part
                    for part in parts
                ]
            batch = _join(parts)
            mirrored = torch.from_numpy(rng.random(len(batch.target)) < 0.5)
            for name in Batch.__dataclass_fields__:
                if name == "context":
                    continue
                tensor = getattr(batch, name)
                tensor[mirrored] = tensor[mirrored].flip(-2)  # axis x
            yield batch


def scramble(batch: Batch, edge: int, rng: np.random.Generator) -> Batch:
    """One slice cut into square pieces, of which those that are all brain change places, the truth with them.

    Where a voxel lies and what surrounds it then say nothing of its CBV: a network must read the curve. Slices whose
    matrix cannot be cut so stay whole.

    Parameters
    ----------
    batch : Batch
        Of one slice.
    edge : int
        Edge of a piece, pixels.
    """
    h, w = batch.target.shape[-2:]
    if h % edge or w % edge:
        return batch
    rows, columns = h // edge, w // edge
    brain = nn.functional.avg_pool2d(batch.inside[None], edge)[0].flatten() == 1
    movable = torch.nonzero(brain)[:, 0]
    order = torch.arange(rows * columns)
    order[movable] = movable[torch.from_numpy(rng.permutation(len(movable)))]

    def moved(tensor: Tensor) -> Tensor:
        outer = tensor.shape[:-2]
        pieces = tensor.reshape(*outer, rows, edge, columns, edge).transpose(-3, -2).flatten(-4, -3)
        placed = pieces[..., order, :, :].reshape(*outer, rows, columns, edge, edge)
        return placed.transpose(-3, -2).reshape(tensor.shape)

    fields = {name: getattr(batch, name) for name in Batch.__dataclass_fields__}
    return Batch(**{name: t if name == "context" else moved(t) for name, t in fields.items()})


def _join(parts: Sequence[Batch]) -> Batch:
    """One batch of several, slices padded to the largest."""
    h = max(part.target.shape[-2] for part in parts)
    w = max(part.target.shape[-1] for part in parts)
    joined = {}
    for name in Batch.__dataclass_fields__:
        tensors = [getattr(part, name) for part in parts]
        if name != "context":
            tensors = [
                nn.functional.pad(t, (0, w - t.shape[-1], 0, h - t.shape[-2]))
                if t.shape[-2:] != (h, w)
                else t
                for t in tensors
            ]
        joined[name] = torch.cat(tensors)
    return Batch(**joined)


def to_tensors(
    stack: Stack,
    which: NDArray[np.integer],
    config: TrainConfig,
    rng: np.random.Generator | None = None,
) -> Batch:
    """Some slices of a stack; with `rng` their scale is varied as prediction will find it."""
    channels, context = stack.curves[which].astype(np.float32), stack.valid
    if config.inputs.features == "curves+maps":
        channels, context = _with_scale(channels, context, stack, config, rng)
    coverage = torch.from_numpy(stack.coverage[which].astype(np.float32))
    tissue = torch.from_numpy(stack.tissue[which])
    target = torch.from_numpy(stack.target[which].astype(np.float32))
    if config.target_limit is not None:
        target = target.clamp(max=config.target_limit)
    inside = (coverage > 0.5).float()
    weight = torch.where(tissue, coverage, coverage * config.small_class_weight) * inside
    lesion = torch.from_numpy(stack.lesion[which])
    weight = torch.where(lesion, weight * config.lesion_weight, weight)
    # The loss of a network that corrects a map has relative errors of its own, in lesions alone: it must find the
    # vessels in tissue.
    if config.balanced and config.inputs.features == "curves":
        weight = weight / (0.5 + 0.5 * target.clamp(min=0))
    return Batch(
        torch.from_numpy(channels),
        torch.from_numpy(np.repeat(context[None], len(which), axis=0)),
        target,
        weight,
        tissue,
        lesion,
        torch.from_numpy(stack.white[which]).float(),
        inside,
    )


def _with_scale(
    channels: FloatArray,
    context: FloatArray,
    stack: Stack,
    config: TrainConfig,
    rng: np.random.Generator | None,
) -> tuple[FloatArray, FloatArray]:
    """Scale a slice's channels as one of the two passes of a prediction does.

    The first pass divides by the brain's own mean, the second by the level of white matter that the first one found,
    give or take. Without `rng`: the second, with the true level.
    """
    if rng is not None:
        context = _partly_unknown(context, config, rng)
    if stack.white_level > 0 and (rng is None or rng.random() < _SECOND_PASS):
        error = 0.0 if rng is None else rng.normal(0.0, _LEVEL_SPREAD)
        factor = float(np.exp(error)) / stack.white_level
        return rescale(channels, context, factor, inputs=config.inputs, white_matter_known=True)
    factor = 1.0 if rng is None else float(np.exp(rng.normal(0.0, _MEAN_SPREAD)))
    return rescale(channels, context, factor, inputs=config.inputs, white_matter_known=False)


def _partly_unknown(context: FloatArray, config: TrainConfig, rng: np.random.Generator) -> FloatArray:
    """What is told of a series, of which now and then the echo time, or flip angle and field, are not known."""
    context, protocol = context.copy(), config.inputs.n_times
    if rng.random() < _ECHO_TIME_UNKNOWN:
        for name in ("echo_time", "echo_time_known"):
            context[protocol + SCALARS.index(name)] = 0.0
    if config.inputs.t1_weighting and rng.random() < _T1_UNKNOWN:
        context[-len(T1_SCALARS) :] = 0.0
    return context
