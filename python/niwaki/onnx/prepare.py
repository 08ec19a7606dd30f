"""What is done to a file before it is converted: functions become the nodes that they stand for."""

from __future__ import annotations

from typing import Any

import onnx
import onnx.inliner

from niwaki.errors import NiwakiError, first_sentence
from niwaki.onnx import operators  # noqa: F401 (fills the table)
from niwaki.onnx.registry import find

_ROUNDS = 4  # functions of ONNX are made of functions, at most so deep


def prepared(name: str, model: Any, opsets: dict[str, int]) -> Any:
    """The model without functions of its own, and without those operators of ONNX that it defines by others."""
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:
            raise NiwakiError(f"{name} has functions that cannot be taken apart: {first_sentence(error)}.") from error
        for each in model.opset_import:
            opsets["" if each.domain == "ai.onnx" else each.domain] = each.version
    for _ in range(_ROUNDS):
        wanted = sorted({node.op_type for node in model.graph.node if _is_composed(node, opsets)})
        if not wanted:
            break
        try:
            model = onnx.inliner.inline_selected_functions(
                _typed(model), [("", each) for each in wanted], exclude=False, inline_schema_functions=True
            )
        except Exception:  # it is refused by its name, then
            break
    return model


def _typed(model: Any) -> Any:
    """The model with the types of all its values, on which it may depend what an operator is made of."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    known = {value.name for value in (*copied.graph.input, *copied.graph.value_info)}
    for tensor in copied.graph.initializer:
        if tensor.name not in known:
            copied.graph.value_info.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    return onnx.shape_inference.infer_shapes(copied)


def _is_composed(node: Any, opsets: dict[str, int]) -> bool:
    """Whether there is no function for the node's operator, but ONNX says what it is made of."""
    if node.domain not in ("", "ai.onnx") or "" not in opsets:
        return False
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets[""], "")
    except Exception:
        return False
    if find("", node.op_type, schema.since_version) is not None:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)
