"""A network run over the slices of a prepared series, each by itself.

One slice at a time stays in the processor's cache, and is cropped to its own brain whatever the device: where a crop
begins decides which pixels the coarser levels of a network join, and with that the last percent of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
        Slices computed side by side, one thread each; the result does not depend on it. Where memory does not suffice
        for that, they are computed one by one.
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

    def run(k: int) -> FloatArray:
        image, coverage = network_slice(prepared, k) if read is None else read(k)
        return _run_slice(network, prepared, image, coverage, device, white_level)

    with one_thread_each():
        images = _side_by_side(run, slices, threads, on_slice)
        return np.stack(images or _side_by_side(run, slices, 1, on_slice))


def memory_layout(inputs: InputContract) -> torch.memory_format:
    """The layout in memory in which a network is fastest; those over time have weights that know no other."""
    return torch.channels_last if inputs.features == "curves+maps" else torch.contiguous_format


def in_layout(network: nn.Module, inputs: InputContract, device: torch.device) -> nn.Module:
    """The network on a device, its weights in the layout of its inputs: they would be copied at every call."""
    moved: nn.Module = network.to(device, memory_format=memory_layout(inputs))  # type: ignore[call-overload]
    return moved


def _side_by_side(
    run: Callable[[int], FloatArray], slices: Sequence[int], threads: int, on_slice: Callable[[int], None]
) -> list[FloatArray]:
    """Every slice's image; nothing where memory did not suffice for more than one thread."""
    images: list[FloatArray] = []

    def collect(found: Iterable[FloatArray]) -> list[FloatArray]:
        for image in found:
            images.append(image)
            on_slice(len(images))
        return images

    if threads <= 1:  # in this thread: to start another can hang Python where memory runs out
        return collect(map(run, slices))
    with ThreadPoolExecutor(threads) as pool:
        try:
            return collect(pool.map(run, slices))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return []


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


def _run_slice(
    network: nn.Module,
    prepared: Prepared,
    image: FloatArray,
    coverage: FloatArray,
    device: torch.device,
    white_level: float | None,
) -> FloatArray:
    """Outputs for one slice on the series' own matrix, shape (c, rows, columns)."""
    inputs, context, whole = prepared.inputs, prepared.context, image.shape[-1]
    box: tuple[slice, slice] = (slice(None), slice(None))
    # Networks that read the maps are trained on crops to a subject's brain.
    if inputs.features == "curves+maps" and coverage.any():
        box = brain_box(coverage > 0, multiple=_MULTIPLE)
    channels = image[:, *box]
    if white_level is not None:
        channels, context = rescale(
            channels,
            context,
            prepared.scale / white_level,
            inputs=inputs,
            white_matter_known=True,
        )
    told = torch.from_numpy(context[None]).to(device)
    seen = torch.from_numpy(channels[None]).contiguous(memory_format=memory_layout(inputs)).to(device)
    with torch.inference_mode():
        output = np.asarray(network(seen, told).float().cpu().numpy())[0]
    planes = np.zeros((len(output) if output.ndim == 3 else 1, whole, whole), dtype=np.float32)
    planes[:, *box] = output
    rows, columns = (int(n) for n in np.delete(prepared.baseline.shape, prepared.axis))
    return np.stack([from_matrix(plane, (rows, columns), inputs.interpolation) for plane in planes])


def filled_slices(mask: NDArray[np.bool_], axis: int) -> list[int]:
    """Slices that hold brain."""
    return [k for k, plane in enumerate(np.moveaxis(mask, axis, 0)) if plane.any()]
