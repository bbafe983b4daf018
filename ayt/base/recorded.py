"""The number of an iteration that is recorded once and then replayed for other iterations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class NotRecordableError(Exception):
    """An iteration does something that cannot be replayed for another iteration number."""


class Recorded:
    """Stands in for an iteration's number while it is recorded, and keeps track of everything that depends on it.

    A replay repeats operations on the same tensors and generators. So everything that depends on the number is
    requested here, always in the same order. Before each replay, generators are reseeded, scalars are refilled, and
    constants are compared, as a changed one invalidates the recording. Any other use of the number fails.

    Args:
        device: where scalars are stored.
        at: the iteration that is recorded.

    Attributes:
        generators: all that were requested.
    """

    def __init__(self, device: torch.device, at: int) -> None:
        self._device = device
        self._at = at
        self._asked = {"generator": 0, "scalar": 0, "constant": 0}
        self.generators: list[torch.Generator] = []
        self._seeds: list[Callable[[int], int]] = []
        self._scalars: list[tuple[Callable[[int], float], Tensor]] = []
        self._constants: list[tuple[Callable[[int], Any], Any]] = []

    def move(self, at: int) -> bool:
        """Move to another iteration; False: a constant differs, and the iteration must be recorded again."""
        self._at = at
        self._asked = dict.fromkeys(self._asked, 0)
        for source, seed in zip(self.generators, self._seeds, strict=True):
            source.manual_seed(seed(at))
        for compute, tensor in self._scalars:
            tensor.fill_(compute(at))
        return all(compute(at) == value for compute, value in self._constants)

    def generator(self, seed: Callable[[int], int], device: torch.device | str) -> torch.Generator:
        """A generator at the start of its stream, whose seed is a function of the iteration."""
        index = self._next("generator")
        if index == len(self.generators):
            self.generators.append(torch.Generator(device).manual_seed(seed(self._at)))
            self._seeds.append(seed)
        if self.generators[index].device.type != self._device.type or self._seeds[index](self._at) != seed(self._at):
            raise NotRecordableError("random numbers are drawn on the host, or in a varying order")
        return self.generators[index]

    def scalar(self, compute: Callable[[int], float]) -> Tensor:
        """A function of the iteration as a 0-dim float32 tensor."""
        index = self._next("scalar")
        if index == len(self._scalars):
            self._scalars.append((compute, torch.full((), compute(self._at), device=self._device)))
        return self._scalars[index][1]

    def constant(self, compute: Callable[[int], T]) -> T:
        """A function of the iteration that rarely changes, as a Python value."""
        index = self._next("constant")
        if index == len(self._constants):
            self._constants.append((compute, compute(self._at)))
        found: T = self._constants[index][1]
        return found

    def _next(self, kind: str) -> int:
        self._asked[kind] += 1
        return self._asked[kind] - 1

    def _refuse(self, *_: object) -> Any:
        raise NotRecordableError("the iteration's number is used other than through `ramp` or `stage_at`")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = __pos__ = __abs__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __divmod__ = __rdivmod__ = _refuse
    __pow__ = __rpow__ = __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __lshift__ = __rshift__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _refuse
    __int__ = __index__ = __float__ = __bool__ = __format__ = __hash__ = __str__ = _refuse
