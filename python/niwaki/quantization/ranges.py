"""What calibration saw, as a part of the compressed network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

# Where a compressed network keeps its ranges.
RANGES_NAME = "niwaki_ranges"


class Ranges(nn.Module):
    """The range of every value of the captured graph, by the name of its node.

    It computes nothing. Being a module, it travels with the network through copies, pickles and `state_dict`; being
    tensors only, it also fits formats that hold nothing else.

    Attributes:
        values: float32 [n, 2], low and high.
    """

    values: torch.Tensor

    def __init__(self, ranges: Mapping[str, tuple[float, float]] | None = None) -> None:
        super().__init__()
        self._names: tuple[str, ...] = ()
        self.register_buffer("values", torch.zeros(0, 2))
        self.set(ranges or {})

    def set(self, ranges: Mapping[str, tuple[float, float]]) -> None:
        """Replaces all ranges."""
        with torch.inference_mode(False):
            self._names = tuple(ranges)
            self.values = torch.tensor([list(pair) for pair in ranges.values()], dtype=torch.float32).reshape(-1, 2)
        self._index = {name: i for i, name in enumerate(self._names)}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the values, in the order of the graph."""
        return self._names

    def get(self, name: str) -> tuple[float, float] | None:
        """(low, high) of a value; None where calibration did not see it."""
        i = self._index.get(name)
        return None if i is None else (float(self.values[i, 0]), float(self.values[i, 1]))

    def items(self) -> Iterator[tuple[str, tuple[float, float]]]:
        """(name, (low, high)) for each value."""
        return zip(self._names, ((low, high) for low, high in self.values.tolist()), strict=True)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def forward(self, *args: Any) -> Any:
        """What it is given: where the network is an nn.Sequential, it is called as the last step."""
        return args[0] if len(args) == 1 else args

    def extra_repr(self) -> str:
        return f"{len(self)} values"

    def get_extra_state(self) -> torch.Tensor:
        return torch.frombuffer(bytearray("\n".join(self._names).encode() or b"\n"), dtype=torch.uint8).clone()

    def set_extra_state(self, state: Any) -> None:
        text = bytes(state.tolist()).decode()
        self._names = tuple(text.split("\n")) if text.strip() else ()
        self._index = {name: i for i, name in enumerate(self._names)}

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        # Another calibration may have seen another number of values.
        values = state_dict.get(prefix + "values")
        if isinstance(values, torch.Tensor) and values.dim() == 2 and values.shape != self.values.shape:
            with torch.inference_mode(False):
                self.values = torch.zeros(values.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
