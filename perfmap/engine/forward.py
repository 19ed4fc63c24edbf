"""A network run over the slices of a prepared series, block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from perfmap.engine.threads import one_thread_each
from perfmap.errors import is_out_of_memory
from perfmap.models.card import InputContract
from perfmap.preprocess.features import rescale
from perfmap.preprocess.pipeline import Prepared, network_slice
from perfmap.preprocess.resample import brain_box, from_matrix
from perfmap.series import FloatArray

# Slices that share a box around the brain. Fixed, so that a map does not depend on the number of threads.
_BLOCK = 4
_MULTIPLE = 8  # of the edges of a cropped slice
SliceInput = tuple[FloatArray, FloatArray]  # channels and coverage, of `network_slice`


def run_network(
    network: nn.Module,
    prepared: Prepared,
    slices: Sequence[int],
    *,
    device: torch.device,
    threads: int,
    white_level: float | None = None,
    read: Callable[[int], SliceInput] | None = None,
    on_slice: Callable[[int], None] = lambda done: None,
) -> FloatArray:
    """Outputs of a network for some slices, on the series' own matrix.

    Parameters
    ----------
    network : Module
    prepared : Prepared
    slices : sequence of int
    device : torch.device
    threads : int
        Blocks of slices computed side by side, one thread each; the result does not depend on it. Where memory does
        not suffice for that, they are computed one by one.
    white_level : float, optional
        Mean first-pass integral of white matter, s, where it is known: the network then reads the series in units
        of it. For networks that read the maps beside the curves.
    read : callable, optional
        What gives the input of a slice in place of `network_slice`: one who has it already.
    on_slice : callable
        Called with the number of slices done.

    Returns
    -------
    ndarray, float32, shape (len(slices), c, rows, columns)
        c = 1 for networks that give a map alone.
    """
    blocks = [list(slices[i : i + _BLOCK]) for i in range(0, len(slices), _BLOCK)]

    def read_slice(k: int) -> SliceInput:
        return network_slice(prepared, k) if read is None else read(k)

    def run(block: list[int]) -> FloatArray:
        return _run_block(network, prepared, [read_slice(k) for k in block], device, white_level)

    with one_thread_each():
        images = _side_by_side(run, blocks, threads, on_slice)
        return np.concatenate(images or _side_by_side(run, blocks, 1, on_slice))


def memory_layout(inputs: InputContract) -> torch.memory_format:
    """The layout in memory in which a network is fastest; those over time have weights that know no other."""
    return torch.channels_last if inputs.features == "curves+maps" else torch.contiguous_format


def in_layout(network: nn.Module, inputs: InputContract, device: torch.device) -> nn.Module:
    """The network on a device, its weights in the layout of its inputs: they would be copied at every call."""
    moved: nn.Module = network.to(device, memory_format=memory_layout(inputs))  # type: ignore[call-overload]
    return moved


def _side_by_side(
    run: Callable[[list[int]], FloatArray],
    blocks: Sequence[list[int]],
    threads: int,
    on_slice: Callable[[int], None],
) -> list[FloatArray]:
    """Every block's images; nothing where memory did not suffice for more than one thread."""
    images: list[FloatArray] = []
    done = 0
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        try:
            for block, image in zip(blocks, pool.map(run, blocks), strict=True):
                images.append(image)
                done += len(block)
                on_slice(done)
        except Exception as error:
            if threads <= 1 or not is_out_of_memory(error):
                raise
            return []
    return images


def white_matter_probability(outputs: FloatArray) -> FloatArray:
    """Probability of normal-appearing white matter, from the third channel of a network's outputs.

    Parameters
    ----------
    outputs : ndarray, shape (n, 3, rows, columns)

    Returns
    -------
    ndarray, float32, shape (n, rows, columns)
    """
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(outputs[:, 2], -30.0, 30.0))), dtype=np.float32)


def _run_block(
    network: nn.Module,
    prepared: Prepared,
    read: list[SliceInput],
    device: torch.device,
    white_level: float | None,
) -> FloatArray:
    inputs, context = prepared.inputs, prepared.context
    whole = read[0][0].shape[-1]
    box: tuple[slice, slice] = (slice(None), slice(None))
    if inputs.features == "curves+maps":  # such networks are trained on slices cropped to the brain
        covered = np.any([coverage > 0 for _, coverage in read], axis=0)
        box = brain_box(covered, multiple=_MULTIPLE)
    channels = np.stack([image[:, box[0], box[1]] for image, _ in read])  # (b, c, h, w)
    if white_level is not None:
        channels, context = rescale(
            channels,
            context,
            prepared.scale / white_level,
            n_times=inputs.n_times,
            white_matter_known=True,
        )
    layout = memory_layout(inputs)
    # One slice at a time stays in the processor's cache.
    at_once = 1 if device.type == "cpu" else _BLOCK
    parts = [channels[i : i + at_once] for i in range(0, len(channels), at_once)]
    output = np.concatenate([_through(network, part, context, device, layout) for part in parts])
    if output.ndim == 3:
        output = output[:, None]
    images = np.zeros((*output.shape[:2], whole, whole), dtype=np.float32)
    images[..., box[0], box[1]] = output
    rows, columns = (int(n) for n in np.delete(prepared.baseline.shape, prepared.axis))
    return np.stack(
        [
            np.stack([from_matrix(plane, (rows, columns), inputs.interpolation) for plane in image])
            for image in images
        ]
    )


def _through(
    network: nn.Module,
    channels: FloatArray,
    context: FloatArray,
    device: torch.device,
    layout: torch.memory_format,
) -> FloatArray:
    images = torch.from_numpy(channels).contiguous(memory_format=layout).to(device)
    told = torch.from_numpy(np.repeat(context[None], len(channels), axis=0)).to(device)
    with torch.inference_mode():
        return np.asarray(network(images, told).float().cpu().numpy())


def filled_slices(mask: NDArray[np.bool_], axis: int) -> list[int]:
    """Slices that hold brain."""
    return [k for k, plane in enumerate(np.moveaxis(mask, axis, 0)) if plane.any()]
