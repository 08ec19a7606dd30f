"""What torch does otherwise while a network is captured: a size of 1 is a size, and memory is nobody's business."""

from __future__ import annotations

import builtins
import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import _prims_common as prims
from torch._dynamo import config as dynamo_config
from torch.fx.experimental import _config as symbolic_config
from torch.fx.experimental import proxy_tensor


@contextlib.contextmanager
def settings(any_size: bool) -> Iterator[None]:
    """The context of torch.export. `any_size`: a size of 1 is a size like any other.

    Then an example of one image does not tie the network to one image.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(symbolic_config.patch(backed_size_oblivious=any_size))  # type: ignore[attr-defined]
        # To know a tensor again costs more than to infer its sizes once more, where sizes are expressions.
        stack.enter_context(dynamo_config.patch(fake_tensor_cache_enabled=False))
        # How tensors lie in memory, which nobody reads, takes two thirds of the time.
        stack.enter_context(mock.patch.object(proxy_tensor, "_extract_tensor_metadata", _nothing))
        stack.enter_context(mock.patch.object(prims, "is_contiguous", _is_contiguous))
        # len(x) of Python is a number, which ties the graph to it.
        stack.enter_context(mock.patch.object(builtins, "len", _length))
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch warns of its own plans, logs what failed and prints its graph; the error that follows says it."""
    logger = logging.getLogger("torch")
    level = logger.level
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


def _nothing(*args: Any, **kwargs: Any) -> None:
    """In place of what would keep tensors, as a mock's notes of its calls do."""


def _is_contiguous(tensor: Any, false_if_dde: bool = False, _asked: Callable[..., bool] = prims.is_contiguous) -> bool:
    """Whether a tensor lies in memory row by row for the example's sizes.

    Where torch asks for a guess, it may be one: proofs for all sizes are expressions of expressions of sizes.
    """
    if not false_if_dde:
        return _asked(tensor)
    expected = 1
    for size, stride in zip(reversed(tensor.shape), reversed(tensor.stride()), strict=True):
        if isinstance(size, int) and size == 1:
            continue
        if hint(stride) != expected:
            return False
        expected *= hint(size)
    return True


def hint(size: Any) -> Any:
    """What a size is in the example."""
    return size.node.hint if isinstance(size, torch.SymInt) else size


def _length(value: Any, /, _len: Callable[[Any], int] = len) -> Any:
    return value.shape[0] if isinstance(value, torch.Tensor) and value.dim() else _len(value)
