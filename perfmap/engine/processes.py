"""Several processes that train one network together, started by ``torchrun``; one process needs none of this.

Every process holds all slices of a batch and computes its own share of them. The outputs are then exchanged, so that
each process takes the loss over the whole batch, whatever the loss is, and sends back what its own share has to learn;
the gradients are summed. Batch normalisation uses the mean and variance of the whole batch. What comes out is
therefore what one process would have found, but for the order of sums.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from perfmap.engine.device import choose_device
from perfmap.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes
    ----------
    rank, n : int
        Its number, from 0, and how many there are.
    device : torch.device
        Where it computes.
    """

    rank: int
    n: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """Every n-th item, beginning with this process' own."""
        return list(items[self.rank :: self.n])

    def gather(self, mine: Sequence[T]) -> list[T]:
        """Items of which each process has its `share`, in their order; sent one by one to bound the memory."""
        if self.n == 1:
            return list(mine)
        longest = int(self.sum(np.array([len(mine) if self.rank == 0 else 0]))[0])
        items: list[T] = []
        for index in range(longest):
            row: list[Any] = [None] * self.n
            dist.all_gather_object(row, [mine[index]] if index < len(mine) else [])
            items += [item for part in row for item in part]
        return items

    def sum(self, values: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float64]:
        """Sum of the arrays of all processes."""
        total = torch.as_tensor(np.asarray(values, dtype=np.float64), device=self.device)
        if self.n > 1:
            dist.all_reduce(total)
        return np.asarray(total.cpu().numpy())

    def agree(self, value: T) -> T:
        """The first process' value."""
        if self.n == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=self.device)
        return values[0]

    def join(self, outputs: Tensor, n_slices: int) -> Tensor:
        """Outputs of the whole batch; gradients flow to this process' own alone. Shape (n_slices, …)."""
        if self.n == 1:
            return outputs
        longest = -(-n_slices // self.n)
        padded = outputs.new_zeros((longest, *outputs.shape[1:]))
        padded[: len(outputs)] = outputs.detach()
        parts = [torch.empty_like(padded) for _ in range(self.n)]
        dist.all_gather(parts, padded)
        whole = torch.stack(parts, dim=1).flatten(0, 1)[
            :n_slices
        ]  # slice i is the (i // n)-th of process i % n
        own = torch.arange(self.rank, n_slices, self.n, device=outputs.device)
        return whole.index_copy(0, own, outputs)

    def sum_gradients(self, network: nn.Module) -> None:
        """Give every process the sum of all processes' gradients."""
        if self.n == 1:
            return
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.n > 1:
            dist.barrier()


@contextmanager
def together(device: str) -> Iterator[Processes]:
    """The processes of a ``torchrun`` while the block runs; one alone without it.

    Raises
    ------
    ConfigError
        If the device is unknown or there are fewer cards than processes of this machine.
    """
    where = choose_device(device)
    if not dist.is_torchelastic_launched():
        yield Processes(0, 1, where)
        return
    local = int(os.environ["LOCAL_RANK"])  # how torchrun tells its processes apart
    if where.type == "cuda":
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"{torch.cuda.device_count()} CUDA devices for process {local + 1} of this machine; "
                "give --nproc-per-node as many as there are, or --device cpu"
            )
        where = torch.device("cuda", local)
        torch.cuda.set_device(where)
    # The others wait while the first calibrates, and for whoever simulates slowest.
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=timedelta(hours=6))
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), where)
    finally:
        dist.destroy_process_group()


def is_first_process() -> bool:
    """Whether this process may print: the only one, or the first of a ``torchrun``."""
    return not dist.is_torchelastic_launched() or int(os.environ["RANK"]) == 0


class _Sum(torch.autograd.Function):
    """Sum over all processes. Each learns from its own share of the outputs: the gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _sum_over_processes(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the slices of all processes, on any device; shape (b, c, …)."""

    @classmethod
    def like(cls, module: nn.modules.batchnorm._BatchNorm) -> SharedBatchNorm:
        """One with the weights and statistics of another batch normalisation."""
        shared = cls(module.num_features, eps=module.eps, momentum=module.momentum)
        shared.load_state_dict(module.state_dict())
        return shared.train(module.training)

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        dims = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        values = x.float()
        count = values.new_tensor([x.numel() / x.shape[1]])
        sums = _sum_over_processes(torch.cat([values.sum(dims), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = values - mean.view(shape)
        variance = _sum_over_processes((centred**2).sum(dims)) / total
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            share = 0.0 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)  # type: ignore[union-attr]
            self.running_var.lerp_(variance * total / (total - 1).clamp_min(1), share)  # type: ignore[union-attr]
        scaled = centred * torch.rsqrt(variance + self.eps).view(shape)
        result: Tensor = scaled * self.weight.view(shape) + self.bias.view(shape)
        return result.to(x.dtype)


def share_statistics(network: nn.Module) -> nn.Module:
    """Replace every batch normalisation by `SharedBatchNorm`, weights and names kept."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(parent, name, SharedBatchNorm.like(child))
    return network
