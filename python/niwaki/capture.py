"""A module as a graph: the one place where torch.export is called."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from niwaki.errors import NiwakiError, first_sentence


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in eval mode and without gradients; each part gets its own mode back afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        for part, _ in modes:
            part.training = False
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch.export warns of its own plans and logs what failed; the error that follows says it."""
    logger = logging.getLogger("torch")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


def shapes_of(args: Any, kwargs: Any = None) -> tuple[Any, ...]:
    """What a captured graph is bound to: structure, shapes and dtypes of the inputs. Hashable."""
    leaves, structure = pytree.tree_flatten((tuple(args), dict(kwargs or {})))
    keys = [(tuple(x.shape), str(x.dtype)) if isinstance(x, torch.Tensor) else repr(x) for x in leaves]
    return (str(structure), *keys)


def capture(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> ExportedProgram:
    """Captures the module in eval mode for these inputs, with all shapes as they are.

    Names of nodes follow from the module alone: captured again, at another batch or image size, equal values have equal
    names (as long as the module's own Python code does not branch on sizes). The ranges of a compressed network rely on
    it.

    Args:
        module: any module on the CPU. It is not changed.
        args: positional inputs.
        kwargs: inputs by name.

    Raises:
        NiwakiError: torch.export cannot capture the module.
        TypeError: args is not a tuple.
    """
    if not isinstance(args, tuple):
        raise TypeError(f"The example inputs must be a tuple such as (x,), not {type(args).__name__}.")
    try:
        with evaluating(module), _quiet():
            return torch.export.export(module, args, dict(kwargs or {}), strict=False)
    except Exception as error:
        raise NiwakiError(
            f"torch.export cannot capture {type(module).__name__} as a graph: {first_sentence(error)}. "
            "Control flow that depends on values and inputs that are not tensors are the usual reasons."
        ) from error
