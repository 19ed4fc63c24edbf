"""A network run over the slices of a prepared series, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from perfmap.preprocess.features import rescale
from perfmap.preprocess.pipeline import Prepared, network_slice
from perfmap.preprocess.resample import brain_box, from_matrix
from perfmap.series import FloatArray

# Slices computed together. Fixed, so that a map does not depend on the number of threads.
_BLOCK = 4
_MULTIPLE = 8  # of the edges of a cropped slice


def run_network(
    network: nn.Module,
    prepared: Prepared,
    slices: Sequence[int],
    *,
    device: torch.device,
    threads: int,
    white_level: float | None = None,
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
        Blocks of slices computed side by side, one thread each; the result does not depend on it.
    white_level : float, optional
        Mean first-pass integral of white matter, s, where it is known: the network then reads the series in units
        of it. For networks that read the maps beside the curves.
    on_slice : callable
        Called with the number of slices done.

    Returns
    -------
    ndarray, float32, shape (len(slices), c, rows, columns)
        c = 1 for networks that give a map alone.
    """
    blocks = [list(slices[i : i + _BLOCK]) for i in range(0, len(slices), _BLOCK)]
    done, images = 0, []
    with _one_thread_each(), ThreadPoolExecutor(max(threads, 1)) as pool:
        for block, image in zip(
            blocks,
            pool.map(lambda b: _run_block(network, prepared, b, device, white_level), blocks),
            strict=True,
        ):
            images.append(image)
            done += len(block)
            on_slice(done)
    return np.concatenate(images)


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
    block: list[int],
    device: torch.device,
    white_level: float | None,
) -> FloatArray:
    inputs = prepared.inputs
    read = [network_slice(prepared, k) for k in block]
    channels = np.stack([image for image, _ in read])  # (b, c, h, w)
    context = prepared.context
    if white_level is not None:
        channels, context = rescale(
            channels,
            context,
            prepared.scale / white_level,
            n_times=inputs.n_times,
            white_matter_known=True,
        )
    whole = channels.shape[-1]
    box: tuple[slice, slice] = (slice(None), slice(None))
    if inputs.features == "curves+maps":  # such networks are trained on slices cropped to the brain
        covered = np.any([coverage > 0 for _, coverage in read], axis=0)
        box = brain_box(covered, multiple=_MULTIPLE)
    cropped = torch.from_numpy(np.ascontiguousarray(channels[..., box[0], box[1]]))
    told = torch.from_numpy(np.repeat(context[None], len(block), axis=0))
    with torch.inference_mode():
        output = network(cropped.to(device), told.to(device)).float().cpu().numpy()
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


def filled_slices(mask: NDArray[np.bool_], axis: int) -> list[int]:
    """Slices that hold brain."""
    return [k for k, plane in enumerate(np.moveaxis(mask, axis, 0)) if plane.any()]


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """PyTorch computes with one thread inside, as many blocks run side by side; restored afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
