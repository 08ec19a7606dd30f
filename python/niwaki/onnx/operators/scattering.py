"""Elements written to places."""

from __future__ import annotations

from typing import Any

from niwaki.onnx.call import Call
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import scattering
from niwaki.onnx.registry import operator


@operator("Scatter", since=9, until=9)
@operator("ScatterElements", since=11)
def _scatter_elements(call: Call) -> Any:
    how = call.only("reduction", "none", "add", "mul", "max", "min")
    axis = call.axis(call.integer("axis", 0), call.rank())
    return call.call(scattering.scatter_elements, call.x(0), call.x(1), call.x(2), axis, how)


@operator("ScatterND", since=11)
def _scatter_nd(call: Call) -> Any:
    how = call.only("reduction", "none", "add", "mul", "max", "min")
    dims = call.value(1).dims
    depth = dims[-1] if dims else None
    if depth is None:
        raise Refusal("it is not known how many axes it indexes")
    return call.call(scattering.scatter_nd, call.x(0), call.x(1), call.x(2), depth, how)
