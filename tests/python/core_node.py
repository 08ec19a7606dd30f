"""One operator of the core by itself, run at sizes that are known only when it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from niwaki import _core

_NAMES = {torch.float32: "float32", torch.int64: "int64", torch.int32: "int32", torch.bool: "bool"}


def run(
    op: str,
    inputs: Sequence[torch.Tensor],
    attributes: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor] | None = None,
    isa: str | None = None,
    threads: int = 1,
) -> list[torch.Tensor]:
    """The values that the operator makes of the inputs, every dim of which is a free size."""
    graph = _core.Graph()
    values = []
    for i, value in enumerate(inputs):
        dims = [graph.add_size(f"size{i}_{axis}") for axis in range(value.dim())]
        values.append(graph.add_input(f"input{i}", _NAMES[value.dtype], dims))
    arrays = {name: tensor.numpy() for name, tensor in (tensors or {}).items()}
    made = graph.add_node(op, "node", values, attributes, arrays)
    for i, value in enumerate(made):
        graph.add_output(value, f"output{i}")
    session = _core.Session(_core.Model(graph, isa), threads)
    held = [value.contiguous().numpy() for value in inputs]
    results = [
        np.empty(shape, port["dtype"])
        for shape, port in zip(session.output_shapes([each.shape for each in held]), graph.output_ports, strict=True)
    ]
    session.run([(each.ctypes.data, each.shape) for each in held], [each.ctypes.data for each in results])
    return [torch.from_numpy(each) for each in results]
