"""Attention."""

from __future__ import annotations

from typing import Any

from niwaki.onnx.call import Call
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import transformer
from niwaki.onnx.registry import operator


@operator("Attention", since=23)
def _attention(call: Call) -> Any:
    causal = call.flag("is_causal")
    softcap = call.number("softcap", 0.0)
    call.unused("softmax_precision")  # it is float32 at least
    scale = call.attribute("scale")
    heads = call.integer("q_num_heads", 0), call.integer("kv_num_heads", 0)
    left, right = call.integer("left_window_size", -1), call.integer("right_window_size", -1)
    if call.outputs > 3:
        raise Refusal("its output qk_matmul_output is not supported")
    if call.rank() == 3 and not all(heads):
        raise Refusal("it does not say how many heads it has")
    if call.version < 25 and causal and (call.given(4) or call.given(6)):
        raise Refusal(f"causal attention with a past is not supported in version {call.version}")
    if not call.given(3) and not call.given(4) and not call.given(6) and softcap == 0 and max(left, right) < 0:
        x = [call.x(index) for index in range(3)]
        if call.outputs == 1:
            return call.call(transformer.plain, *x, *heads, None if scale is None else float(scale), causal)
    given = [call.optional(index) for index in range(7)]
    made = call.call(
        transformer.attention, *given, *heads, None if scale is None else float(scale), causal, softcap, left, right
    )
    return [call.call(transformer.item, made, index) for index in range(call.outputs)]
