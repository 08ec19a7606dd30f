"""Types and shapes of what a node makes, as ONNX itself infers them: node by node, from what is known by then."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import numpy_helper

from niwaki.onnx.call import Type
from niwaki.onnx.dtypes import INT4, INT8, UINT4, UINT8
from niwaki.onnx.values import Dims, Value

_MOST_DATA = 64  # elements of an input whose values shapes may follow from
_MOST_FLOATS = 8  # such as scales


def type_of(value: Value) -> Any:
    """ONNX's description of a value's type."""
    if value.items is not None:
        inner = type_of(value.items[0]) if value.items else onnx.helper.make_tensor_type_proto(value.elem, None)
        return onnx.helper.make_sequence_type_proto(inner)
    return onnx.helper.make_tensor_type_proto(value.elem, value.dims)


def dims_of(tensor_type: Any) -> Dims | None:
    """A shape of ONNX: None for sizes that have no number."""
    if not tensor_type.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor_type.shape.dim)


def _read(found: Any) -> Type | None:
    if not found.HasField("tensor_type") or not found.tensor_type.elem_type:
        return None
    return found.tensor_type.elem_type, dims_of(found.tensor_type)


def infer(node: Any, schema: Any, inputs: list[Value | None], opsets: dict[str, int], ir: int) -> list[Type | None]:
    """For each output its type and shape; None where ONNX does not know them."""
    types: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for name, value in zip(node.input, inputs, strict=True):
        if not name or value is None:
            continue
        types[name] = type_of(value)
        # Four bits are eight here: they have no tensors of their own.
        if value.constant and not value.carried and value.elem not in (INT4, UINT4, INT8, UINT8):
            whole = not value.dtype.is_floating_point
            wide = value.dtype.itemsize >= 4
            if value.data.numel() <= (_MOST_DATA if whole else _MOST_FLOATS) and (whole or wide):
                data[name] = numpy_helper.from_array(value.data.numpy())
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    try:
        found = onnx.shape_inference.infer_node_outputs(schema, node, types, data, None, imports, ir)
    except Exception:  # what it cannot infer, it may refuse in many ways; the node itself is judged elsewhere
        return [None] * len(node.output)
    return [_read(found[name]) if name in found else None for name in node.output]
