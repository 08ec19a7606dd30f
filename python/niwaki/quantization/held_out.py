"""Parts of calibration that decide nothing, for errors to be measured on; and calls in parts of few inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from niwaki.capture import evaluating
from niwaki.quantization.inputs import Batch

# Of every so many inputs one is held out, up to a number that is enough for an error.
_ONE_OF, MOST = 8, 64
# A few inputs tell whether a network takes them one by one.
_TRIED = 6


class Cutter:
    """Cuts calls of a network into calls of fewer inputs, where that changes no answer.

    It does not where the first dimension is something else than independent inputs (steps of a sequence, the channels
    of a single image), where the batch is fixed, or where the network's answer or its steps hang on the whole batch.

    Args:
        model: the network.
        seed: of what is tried.
    """

    def __init__(self, model: nn.Module, seed: int = 0) -> None:
        self._model = model
        self._generator = torch.Generator().manual_seed(seed)
        self._known: dict[tuple[Any, ...], bool] = {}

    def inputs(self, batch: Batch) -> int:
        """How many inputs a call holds; 1 where it cannot be cut."""
        return len(batch.tensors[0]) if self._cuts(batch) else 1

    def rows(self, batch: Batch, chosen: torch.Tensor) -> Batch:
        """A call with some of the inputs of one that can be cut."""
        return batch.mapped(lambda x: x[chosen])

    def pieces(self, batch: Batch, size: int) -> Iterator[Batch]:
        """The call in parts of at most `size` inputs."""
        if self.inputs(batch) <= size:
            yield batch
            return
        for rows in torch.arange(len(batch.tensors[0])).split(size):
            yield self.rows(batch, rows)

    def _cuts(self, batch: Batch) -> bool:
        lengths = {len(x) if x.dim() else 0 for x in batch.tensors}
        if len(lengths) != 1 or min(lengths) < 2:
            return False
        leaves, structure = pytree.tree_flatten((batch.args, dict(sorted(batch.kwargs.items()))))
        kinds = tuple((x.dtype, x.dim()) if isinstance(x, torch.Tensor) else repr(x) for x in leaves)
        key = (str(structure), kinds)
        if key not in self._known:
            order = torch.randperm(min(lengths), generator=self._generator)
            self._known[key] = self._independent(self.rows(batch, order[:_TRIED]))
        return self._known[key]

    def _independent(self, batch: Batch) -> bool:
        """Whether the last inputs, alone, are answered as they are among the others."""
        count = len(batch.tensors[0])
        rows = torch.arange(count // 2, count)
        try:
            (whole, steps), (part, same) = self._answers(batch), self._answers(self.rows(batch, rows))
        except Exception:  # a network that takes no other batch
            return False
        if len(whole) != len(part) or not whole or steps != same:
            return False
        return all(
            x.dim() > 0 and len(x) == count and y.shape == x[rows].shape and _alike(x[rows], y)
            for x, y in zip(whole, part, strict=True)
        )

    def _answers(self, batch: Batch) -> tuple[list[torch.Tensor], list[Any]]:
        """The tensors that the network returns, and the operators that it is made of: loops over the batch show."""
        copied = batch.copy()
        with evaluating(self._model), _Operators() as steps:
            found = self._model(*copied.args, **copied.kwargs)
        return [x for x in pytree.tree_leaves(found) if isinstance(x, torch.Tensor)], steps.called


class _Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.called: list[Any] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.called.append(func)
        return func(*args, **dict(kwargs or {}))


def _alike(a: torch.Tensor, b: torch.Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    return torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().nan_to_num(0, 0, 0).max()), equal_nan=True)


class HeldOut:
    """Holds a part of a stream of calls out: of every eight inputs one, chosen by seed.

    Args:
        cutter: of the network.
        seed: of the choice.

    Attributes:
        calls: what was held out, as far as the stream was walked through; nothing, of fewer than eight inputs.
        seen: how many inputs the stream had, as far as it was walked through.
    """

    def __init__(self, cutter: Cutter, seed: int = 0) -> None:
        self._cutter = cutter
        self._generator = torch.Generator().manual_seed(seed)
        self.calls: list[Batch] = []
        self.seen = 0

    @property
    def inputs(self) -> int:
        """How many inputs were held out."""
        return sum(self._cutter.inputs(call) for call in self.calls)

    def watch(self, stream: Iterable[Batch]) -> Iterator[Batch]:
        """What is left of the stream. At most eight calls are read ahead."""
        waiting: list[Batch] = []
        count = 0
        first = True
        for batch in stream:
            waiting.append(batch)
            count += self._cutter.inputs(batch)
            self.seen += self._cutter.inputs(batch)
            if count >= _ONE_OF:
                yield from self._split(waiting, first)
                waiting, count, first = [], 0, False
        yield from waiting

    def _split(self, block: list[Batch], first: bool) -> list[Batch]:
        """Takes an eighth of a block of calls out."""
        room = MOST - self.inputs
        if room <= 0:
            return block
        sizes = [self._cutter.inputs(batch) for batch in block]
        # The first call of all is the example that graphs are captured for; of it, some inputs may be held out.
        begin = int(first and len(block) > 1)
        chosen = begin + int(torch.randint(len(block) - begin, (), generator=self._generator))
        taken = min(max(1, sum(sizes) // _ONE_OF), sizes[chosen], room)
        if taken == sizes[chosen]:
            self.calls.append(block[chosen])
            return [batch for index, batch in enumerate(block) if index != chosen]
        order = torch.randperm(sizes[chosen], generator=self._generator)
        self.calls.append(self._cutter.rows(block[chosen], order[:taken].sort().values))
        block[chosen] = self._cutter.rows(block[chosen], order[taken:].sort().values)
        return block
