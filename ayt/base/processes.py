"""Processes that share one training run or one scoring job, each with its own device: torch.distributed.

Environment variables identify each process, as set by every launcher: ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``,
``MASTER_ADDR`` and ``MASTER_PORT``. Without them there is one process, and nothing here communicates.

The first process hosts the rendezvous. Anyone who can reach its port can read and write what the processes exchange
there, so it listens only on the job's own network address, ``MASTER_ADDR``, if possible.
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
        rank: from 0; only process 0 writes files.
        count: how many there are.
        host: the process group for values that are not on a GPU; None if there is one process.
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
            UserError: they cannot be divided evenly.
        """
        if size % self.count:
            raise UserError(f"a batch of {size} images cannot be divided evenly among {self.count} processes")
        each = size // self.count
        return slice(self.rank * each, (self.rank + 1) * each)

    def parallel(self, network: nn.Module) -> nn.Module:
        """Wrap the network so that every backward pass sums gradients over the processes.

        Summed, not averaged: the losses of a batch's parts add up to the loss of the batch.
        """
        if self.count == 1:
            return network
        wrapped = DistributedDataParallel(network)
        # A lambda: PyTorch checks a hook's annotations against its own classes, and cannot read ours.
        wrapped.register_comm_hook(None, lambda _, bucket: _sum_gradients(bucket.buffer()))
        return wrapped

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the processes, in place; every process gets the result."""
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
        """The maximum over the processes; every process gets it."""
        if self.count == 1:
            return value
        values = torch.tensor(value)
        distributed.all_reduce(values, distributed.ReduceOp.MAX, self.host)
        return int(values)

    def from_first(self, value: T) -> T:
        """The first process's value; every process gets it."""
        values = [value]
        if self.count > 1:
            distributed.broadcast_object_list(values, 0, self.host)
        return values[0]

    def wait(self) -> None:
        """Return once every process has called this."""
        if self.count > 1:
            distributed.barrier(self.host)

    def spread(self, number: int, compute: Callable[[int], T]) -> Iterator[T]:
        """Run ``compute(0)``, ``compute(1)``, ... on all processes; the first yields all results in order, others none.

        Tensors in the results must be in host memory.
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
    """The index of this process among those on this machine, from 0.

    Raises:
        UserError: the environment variable is not a whole number.
    """
    return _number("LOCAL_RANK", 0)


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Connect to the other processes, if there are any, for the duration of the block.

    Raises:
        UserError: the environment announces others but not how to reach them, or they cannot be reached.
    """
    count = _number("WORLD_SIZE", 1)
    if count <= 1:
        yield ALONE
        return
    rank, port, host = _number("RANK", -1), _number("MASTER_PORT", -1), os.environ.get("MASTER_ADDR", "")
    if not (0 <= rank < count and 0 < port < 2**16 and host):
        raise UserError(
            f"WORLD_SIZE = {count} in the environment: announces {count} processes, but RANK, MASTER_ADDR and"
            " MASTER_PORT do not say how they find each other; unset it for one process"
        )
    try:
        store = _meet(host, port, rank, count)
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", store=store, rank=rank, world_size=count
        )
    except (RuntimeError, OSError) as error:  # torch.distributed raises RuntimeErrors only
        told = str(error).partition("\n")[0][:200]
        problem = f"the processes cannot find each other: {told}"
        raise UserError(f"MASTER_ADDR = {host}, MASTER_PORT = {port}: {problem}") from error
    yield Processes(rank, count, distributed.new_group(backend="gloo"))
    # Not after an error: NCCL and the other processes would wait for each other.
    distributed.destroy_process_group()


def _number(variable: str, default: int) -> int:
    """A whole number from the environment, or the default if the variable is not set."""
    text = os.environ.get(variable, "").strip()
    if text and not text.isdecimal():
        raise UserError(f"{variable} = {text!r} in the environment: is not a whole number; unset it for one process")
    return int(text) if text else default


def _meet(host: str, port: int, rank: int, count: int) -> Any:
    """Connect to the store hosted by the first process."""
    first = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"  # torchrun has one already
    listening = _listen(host, port, count) if first else None
    return distributed.TCPStore(  # type: ignore[attr-defined]
        host, port, count, first, master_listen_fd=None if listening is None else listening.detach()
    )


def _listen(host: str, port: int, count: int) -> socket.socket | None:
    """A socket bound to the host's address only; None if that is unknown: PyTorch then binds to all addresses."""
    all_here = _number("LOCAL_WORLD_SIZE", 0) == count
    for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        where = str(address[0])
        # Machines often resolve their own name to an address that no other machine can reach.
        if ipaddress.ip_address(where.partition("%")[0]).is_loopback and where != host and not all_here:
            continue
        try:
            return socket.create_server((where, port), family=family)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
    return None


def _sum_gradients(gradients: Tensor) -> torch.futures.Future[Tensor]:
    """A future of the gradients summed over the processes."""
    future = distributed.all_reduce(gradients, async_op=True).get_future()
    return future.then(lambda done: done.value()[0])
