"""The patterns that options name layers with, and the names that they may match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from niwaki.modules.layer import layer_of, named_layers

RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)
CELLS = (nn.LSTMCell, nn.GRUCell, nn.RNNCell)


def recurrent_names(layer: nn.RNNBase | nn.RNNCellBase) -> list[str]:
    """The names of the weights and biases of a recurrent layer, or of a cell, in torch's order."""
    if isinstance(layer, nn.RNNBase):
        return list(layer._flat_weights_names)
    return ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if layer.bias else [])]


def named_tables(model: nn.Module) -> Iterator[tuple[str, nn.Embedding]]:
    """Every embedding once, but for those that change their table while they run."""
    for name, module in model.named_modules():
        own = isinstance(module, nn.Embedding) and type(module).forward is nn.Embedding.forward
        if own and module.max_norm is None:
            yield name, module


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a layer's name matches one of the patterns ('fc', 'layer1.*', '*.downsample.*')."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def sharing_skipped(model: nn.Module, patterns: tuple[str, ...]) -> dict[str, str]:
    """Layers, recurrent ones too, that have a weight of a part that is skipped, and which that is, by their names."""
    parts = dict(model.named_modules())
    skipped = {weight: name for name, part in parts.items() if matches(name, patterns) for weight in _weights(part)}
    found: dict[str, str] = {}
    for name, part in parts.items():
        if not matches(name, patterns) and (layer_of(part) is not None or isinstance(part, (*RECURRENT, *CELLS))):
            shared = [skipped[weight] for weight in _weights(part) if weight in skipped]
            if shared:
                found[name] = shared[0]
    return found


def _weights(part: nn.Module) -> list[int]:
    """The ids of the weights of a part."""
    named = part._parameters.items()
    return [id(each) for name, each in named if each is not None and name.startswith("weight")]


def check_patterns(value: Any, field: str) -> tuple[str, ...]:
    """A tuple of name patterns from what a config was given."""
    if isinstance(value, str):
        raise TypeError(
            f"{field} must be a tuple of layer names or patterns, not a string; write {field}=('{value}',)."
        )
    try:
        patterns = tuple(value)
    except TypeError:
        patterns = (value,)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError(f"{field} must be a tuple of layer names or patterns such as ('fc', 'layer1.*').")
    return patterns


def check_skips(model: nn.Module, patterns: tuple[str, ...], what: str) -> None:
    """Raises ValueError for a pattern that matches no layer: most likely a slip; names are given that are close."""
    check_names(model, {"skip": patterns}, f"niwaki.{what}")


def check_names(model: nn.Module, patterns: Mapping[str, Iterable[str]], where: str) -> None:
    """As `check_skips`, for the patterns of several options; `dynamic` is about linear layers alone."""
    names = [name for name, _ in named_layers(model)]
    names += [name for name, module in model.named_modules() if isinstance(module, (*RECURRENT, *CELLS, nn.Embedding))]
    linear = [name for name, layer in named_layers(model) if layer.may_be_dynamic]
    for option, listed in patterns.items():
        known, kind = (linear, "linear layer") if option == "dynamic" else (names, "convolution or linear layer")
        for pattern in listed:
            if not any(fnmatchcase(name, pattern) for name in known):
                inside = next((name for name in known if name.startswith(f"{pattern}.")), None)
                if inside is not None:
                    raise ValueError(
                        f"{where}: {option} pattern '{pattern}' matches no {kind}; for all of those inside, such as "
                        f"'{inside}', write '{pattern}.*'."
                    )
                close = difflib.get_close_matches(pattern, known, cutoff=0.5) or known[:3]
                raise ValueError(
                    f"{where}: {option} pattern '{pattern}' matches no {kind}; "
                    f"close names are {', '.join(repr(name) for name in close) or '(there are none)'}."
                )
