"""Processes that share one training or one scoring, each with its own device: torch.distributed.

Who is who stands in the environment, as every launcher writes it: ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``,
``MASTER_ADDR`` and ``MASTER_PORT``. Without them there is one process, and nothing here communicates.

The first process is where the others meet. Whoever reaches its port can read and write what they exchange there, so it
listens at the address of the job's own network, ``MASTER_ADDR``, and at no other if that can be.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ayt.base.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those that share its work.

    Attributes:
        rank: from 0; the first alone writes files.
        count: how many there are.
        host: the group that sends what does not lie on a GPU; None where there is one process.
    """

    rank: int = 0
    count: int = 1
    host: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, size: int) -> slice:
        """This process's part of ``size`` images.

        Raises:
            UserError: they cannot be shared out evenly.
        """
        if size % self.count:
            raise UserError(f"a batch of {size} images cannot be shared out evenly over {self.count} processes")
        each = size // self.count
        return slice(self.rank * each, (self.rank + 1) * each)

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network, with gradients that are summed over the processes in every backward pass.

        Summed, not averaged: the losses of a batch's parts add up to the batch's.
        """
        if self.count == 1:
            return network
        wrapped = DistributedDataParallel(network)
        # A lambda: PyTorch compares a hook's annotations with its own classes, and cannot read ours.
        wrapped.register_comm_hook(None, lambda _, bucket: _sum_gradients(bucket.buffer()))
        return wrapped

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, on each of them; in place."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sum the parameters' gradients over the processes, in place; all have gradients of the same parameters."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.count == 1 or not gradients:
            return
        summed = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(summed, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def highest(self, value: int) -> int:
        """The highest of the processes' values, on each of them."""
        if self.count == 1:
            return value
        values = torch.tensor(value)
        distributed.all_reduce(values, distributed.ReduceOp.MAX, self.host)
        return int(values)

    def from_first(self, value: T) -> T:
        """The first process's value, on each of them."""
        values = [value]
        if self.count > 1:
            distributed.broadcast_object_list(values, 0, self.host)
        return values[0]

    def wait(self) -> None:
        """Return once every process has come here."""
        if self.count > 1:
            distributed.barrier(self.host)

    def spread(self, number: int, compute: Callable[[int], T]) -> Iterator[T]:
        """``compute(0)``, ``compute(1)``, ... in this order, shared out: the first process gets all, others nothing.

        Tensors in the results must lie in the host's memory.
        """
        for start in range(0, number, self.count):
            index = start + self.rank
            mine = compute(index) if index < number else None
            results = [mine]
            if self.count > 1:
                results = [None] * self.count
                distributed.gather_object(mine, results if self.first else None, 0, self.host)
            if self.first:
                yield from (result for result in results[: number - start] if result is not None)


ALONE = Processes()


def local_rank() -> int:
    """Which of the processes on this machine this one is, from 0.

    Raises:
        UserError: the environment says no such number.
    """
    return _number("LOCAL_RANK", 0)


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Meet the other processes, if there are any, for as long as the block lasts.

    Raises:
        UserError: the environment speaks of others and does not say how to meet them; or they do not come.
    """
    count = _number("WORLD_SIZE", 1)
    if count <= 1:
        yield ALONE
        return
    rank, port, host = _number("RANK", -1), _number("MASTER_PORT", -1), os.environ.get("MASTER_ADDR", "")
    if not (0 <= rank < count and 0 < port < 2**16 and host):
        raise UserError(
            f"WORLD_SIZE = {count} in the environment: speaks of {count} processes, and RANK, MASTER_ADDR and"
            " MASTER_PORT do not say how they find each other; unset it for one process"
        )
    try:
        store = _meet(host, port, rank, count)
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", store=store, rank=rank, world_size=count
        )
    except (RuntimeError, OSError) as error:  # all of torch.distributed's are of the first
        told = str(error).partition("\n")[0][:200]
        problem = f"the processes cannot find each other: {told}"
        raise UserError(f"MASTER_ADDR = {host}, MASTER_PORT = {port}: {problem}") from error
    yield Processes(rank, count, distributed.new_group(backend="gloo"))
    # Not after an error: NCCL would wait for the other processes, and they for this one.
    distributed.destroy_process_group()


def _number(variable: str, default: int) -> int:
    """A whole number in the environment; the default where there is nothing."""
    text = os.environ.get(variable, "").strip()
    if text and not text.isdecimal():
        raise UserError(f"{variable} = {text!r} in the environment: is not a whole number; unset it for one process")
    return int(text) if text else default


def _meet(host: str, port: int, rank: int, count: int) -> Any:
    """The store that the first process has, in each of them."""
    first = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"  # torchrun has one already
    listening = _listen(host, port, count) if first else None
    return distributed.TCPStore(  # type: ignore[attr-defined]
        host, port, count, first, master_listen_fd=None if listening is None else listening.detach()
    )


def _listen(host: str, port: int, count: int) -> socket.socket | None:
    """A socket at the host's address alone; None where that is not known: PyTorch then listens at all of them."""
    all_here = _number("LOCAL_WORLD_SIZE", 0) == count
    for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        where = str(address[0])
        # Machines often call themselves by an address that no other machine can reach.
        if ipaddress.ip_address(where.partition("%")[0]).is_loopback and where != host and not all_here:
            continue
        try:
            return socket.create_server((where, port), family=family)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
    return None


def _sum_gradients(gradients: Tensor) -> torch.futures.Future[Tensor]:
    """Gradients, summed over the processes once they are."""
    future = distributed.all_reduce(gradients, async_op=True).get_future()
    return future.then(lambda done: done.value()[0])
