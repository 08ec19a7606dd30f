"""The accuracy that the caller's function gives, in per cent, of networks as they will run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from niwaki.modules.copies import copy_model
from niwaki.runtime.network import Network

Evaluate = Callable[[nn.Module], float]


class Compiled(nn.Module):
    """A compiled network as a module: for functions that ask for one. What it does not have, the compressed one has.

    Args:
        network: what is called.
        module: the compressed network that it was compiled from.
    """

    def __init__(self, network: Network, module: nn.Module) -> None:
        super().__init__()
        # Not submodules: the weights are the network's.
        self.__dict__["network"], self.__dict__["module"] = network, module

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["module"], name)

    def __getitem__(self, name: str) -> Any:
        return self.network[name]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.network(*args, **kwargs)


class Accuracy:
    """The caller's function, and what it says of the float32 network.

    Args:
        evaluate: takes a network and returns its accuracy in per cent.
        model: the float32 network; a copy of it is evaluated, for the function may change it.

    Attributes:
        reference: of the float32 network, per cent.
        inputs: how many inputs that was measured on: rows of what the network was called with; None where it was not
            called with tensors of one length.

    Raises:
        TypeError, ValueError: what the function returns is no number of per cent.
    """

    def __init__(self, evaluate: Evaluate, model: nn.Module) -> None:
        if not callable(evaluate):
            raise TypeError("niwaki.compress: evaluate must be a function of a network, which returns per cent.")
        self._evaluate = evaluate
        copied = copy_model(model)
        counter = _Counter()
        hook = copied.register_forward_pre_hook(counter, with_kwargs=True)
        try:
            self.reference = check_accuracy(evaluate(copied))
        finally:
            hook.remove()
        self.inputs = counter.inputs
        if 0 < self.reference <= 1:
            raise ValueError(
                f"niwaki.compress: evaluate returned {self.reference:g} for the float32 network, which may be a share "
                "or per cent; it must return per cent: 95.7, not 0.957."
            )

    def of(self, module: nn.Module, network: Network | None) -> float:
        """The accuracy of a compressed network: of what it was compiled to, where it could be."""
        return check_accuracy(self._evaluate(module if network is None else Compiled(network, module)))


class _Counter:
    """A hook that counts the inputs of calls."""

    def __init__(self) -> None:
        self._count = 0
        self._known = True

    def __call__(self, _: nn.Module, args: Any, kwargs: Any) -> None:
        lengths = {len(x) for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor) and x.dim()}
        self._known = self._known and len(lengths) == 1
        self._count += min(lengths, default=0)

    @property
    def inputs(self) -> int | None:
        """How many there were; None where that cannot be said."""
        return self._count if self._known and self._count else None


def check_accuracy(value: Any) -> float:
    """The accuracy that evaluate= gave.

    Raises:
        TypeError, ValueError: it is no number of per cent.
    """
    try:
        accuracy = float(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"niwaki.compress: evaluate must return the accuracy in per cent, a number, not {type(value).__name__}."
        ) from None
    if not math.isfinite(accuracy) or not -1e-9 <= accuracy <= 100 + 1e-6:
        raise ValueError(f"niwaki.compress: evaluate must return the accuracy in per cent, 0 to 100, not {accuracy}.")
    return accuracy
