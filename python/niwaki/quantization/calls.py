"""Which layers a network calls, and whose weights it reads besides."""

from __future__ import annotations

import itertools
from typing import Any

from torch import nn

from niwaki.capture import evaluating
from niwaki.errors import first_sentence
from niwaki.modules import named_layers, named_tables
from niwaki.quantization.inputs import Batch


def layers_called(model: nn.Module, batch: Batch) -> tuple[set[int], set[int]]:
    """ids of layers and embeddings that are called when the network runs; and of those whose parameters others read.

    Layers that are not called are dead, or their parent reads their weights.
    """
    called: set[int] = set()
    read: set[int] = set()
    layers = itertools.chain(named_layers(model), named_tables(model))
    kinds = {layer: type(layer) for _, layer in layers if "forward" not in vars(layer)}
    batch = batch.copy()
    try:
        # Not with hooks: nn.TransformerEncoderLayer reads its layers' weights, unless one of them has a hook.
        for layer, kind in kinds.items():
            layer.__class__ = _watched(kind, called, read)
        with evaluating(model):
            model(*batch.args, **batch.kwargs)
    except Exception as error:
        raise ValueError(f"{batch}: the network cannot be run with it: {first_sentence(error)}.") from error
    finally:
        for layer, kind in kinds.items():
            layer.__class__ = kind
    return called, read


def _watched(kind: type[Any], called: set[int], read: set[int]) -> type[Any]:
    """The same class, which notes who calls a layer and who else reads its parameters."""
    inside: list[int] = []

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        called.add(id(self))
        inside.append(id(self))
        try:
            return kind.forward(self, *args, **kwargs)
        finally:
            inside.pop()

    def get(self: Any, name: str) -> Any:
        if name in ("weight", "bias") and id(self) not in inside:
            read.add(id(self))
        return kind.__getattr__(self, name)

    return type(kind.__name__, (kind,), {"forward": forward, "__getattr__": get})
