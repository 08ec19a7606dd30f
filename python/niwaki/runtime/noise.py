"""Seeded inputs of a file's network, for those who only want to see it run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from niwaki import _core
from niwaki.errors import NiwakiError


def noise(graph: _core.Graph, batch: int, size: tuple[int, int] | None = None, seed: int = 0) -> list[NDArray[Any]]:
    """An array for each input: normal noise for float32, zeros for whole numbers, which may be indices, ones for bools.

    Args:
        batch: for free sizes of that name.
        size: height and width, for free sizes of these names; by default what the network was made for.
        seed: of the noise.

    Raises:
        NiwakiError: a dim of an input follows from others in a way that only the caller can fill in.
    """
    sizes = {each["name"]: each["hint"] or max(each["low"], 1) for each in graph.sizes}
    given = {"batch": batch} | ({} if size is None else {"height": size[0], "width": size[1]})
    sizes.update({name: number for name, number in given.items() if name in sizes})
    generator = np.random.default_rng(seed)
    arrays: list[NDArray[Any]] = []
    for port in graph.input_ports:
        shape = []
        for dim in port["dims"]:
            if not isinstance(dim, int) and dim not in sizes:
                raise NiwakiError(f"Input '{port['name']}' has a dim of {dim}; give its array yourself.")
            shape.append(dim if isinstance(dim, int) else sizes[dim])
        kind = np.dtype(port["dtype"])
        if kind == np.float32:
            arrays.append(generator.standard_normal(shape, dtype=np.float32))
        else:
            arrays.append(np.ones(shape, kind) if kind == np.bool_ else np.zeros(shape, kind))
    return arrays
