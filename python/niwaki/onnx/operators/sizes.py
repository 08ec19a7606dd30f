"""Arithmetic of sizes: arrays of integers and nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from niwaki.onnx.values import Sizes


def map_sizes(function: Callable[..., Any], *arrays: Sizes) -> Sizes:
    """A function of the elements of arrays that broadcast."""
    spread = np.broadcast_arrays(*arrays)
    found = np.empty(spread[0].shape, dtype=object)
    flat = [each.reshape(-1) for each in spread]
    found.reshape(-1)[:] = [function(*elements) for elements in zip(*flat, strict=True)]
    return found
