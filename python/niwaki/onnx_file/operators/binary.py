"""Functions of two elements."""

from __future__ import annotations

from niwaki.onnx_file.operators.unary import trunc
from niwaki.onnx_file.registry import Node, Refusal, writes
from niwaki.onnx_file.writer import Writer

_OPS = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "maximum": "Max", "minimum": "Min",
    "eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater", "ge": "GreaterOrEqual", "logical_and": "And",
    "logical_or": "Or", "logical_xor": "Xor",
}  # fmt: skip


def _remainder(w: Writer, x: str, y: str, *, whole: bool) -> str:
    """What is left of x, of the sign of y."""
    if whole:
        return w.op("Mod", x, y)
    left, zero = w.op("Mod", x, y, fmod=1), w.floats(0.0)
    unlike = w.op("Less", w.op("Mul", w.op("Sign", left), w.op("Sign", y)), zero)
    return w.op("Where", unlike, w.op("Add", left, y), left)


def _floor_div(w: Writer, x: str, y: str, *, whole: bool) -> str:
    exact = w.op("Div", w.op("Sub", x, _remainder(w, x, y, whole=whole)), y)
    return exact if whole else w.op("Round", exact)


@writes("binary")
def _binary(writer: Writer, node: Node) -> None:
    function, dtype = node.word("function"), writer.value(node).dtype
    x, y = writer.read(node), writer.read(node, 1)
    whole = dtype != "float32"
    if dtype == "bool" and function in ("maximum", "minimum"):
        made = writer.op("Or" if function == "maximum" else "And", x, y)
    elif function in _OPS:
        made = writer.op(_OPS[function], x, y)
    elif function == "ne":
        made = writer.op("Not", writer.op("Equal", x, y))
    elif function == "prelu":
        made = writer.op("Where", writer.op("Greater", x, writer.floats(0.0)), x, writer.op("Mul", x, y))
    elif function == "trunc_div":
        made = writer.op("Div", x, y)
        made = made if whole else trunc(writer, made)
    elif function == "fmod":
        made = writer.op("Mod", x, y, fmod=1)
    elif function == "remainder":
        made = _remainder(writer, x, y, whole=whole)
    elif function == "floor_div":
        made = _floor_div(writer, x, y, whole=whole)
    else:
        raise Refusal(f"ONNX has no {function}")
    writer.finish(node, made)


@writes("where")
def _where(writer: Writer, node: Node) -> None:
    condition, a, b = (writer.read(node, index) for index in range(3))
    if writer.made(node).dtype != "bool":
        writer.finish(node, writer.op("Where", condition, a, b))
        return
    chosen, other = writer.op("And", condition, a), writer.op("And", writer.op("Not", condition), b)
    writer.finish(node, writer.op("Or", chosen, other))
