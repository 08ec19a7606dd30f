"""Recurrent layers: ONNX's LSTM, GRU and RNN, one for each layer, in float32; int8 weights are stored as int8."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from niwaki.onnx_file.registry import Node, Refusal, writes
from niwaki.onnx_file.writer import Writer

# torch has an LSTM's gates as i, f, g, o and a GRU's as r, z, n; ONNX has i, o, f, c and z, r, h.
_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}
_OPS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "RNN", "rnn_relu": "RNN"}


@writes("recurrent")
def _recurrent(writer: Writer, node: Node) -> None:
    kind, layers = node.word("kind"), node.integer("layers")
    if "w_hr_l0" in node.tensors:
        raise Refusal("it is an LSTM with a projection, which ONNX does not have")
    if node.given(3):
        raise Refusal("its sequences have lengths of their own (pack_padded_sequence)")
    node.integer("dynamic")  # float32 there, whatever it is here
    suffixes = ["", "_reverse"] if node.integer("bidirectional") else [""]
    x = writer.read(node)
    if node.integer("batch_first"):
        x = writer.op("Transpose", x, perm=[1, 0, 2])
    begins = [writer.read(node, index) if node.given(index) else "" for index in (1, 2)]
    lasts: list[list[str]] = []
    for layer in range(layers):
        first, last = layer * len(suffixes), (layer + 1) * len(suffixes)
        cut = (writer.integers([first]), writer.integers([last]), writer.integers([0]))
        states = [writer.op("Slice", begin, *cut) if begin and layers > 1 else begin for begin in begins]
        made = _layer(writer, node, kind, [f"_l{layer}{suffix}" for suffix in suffixes], x, states)
        # [steps, directions, batch, hidden] to [steps, batch, directions * hidden]
        x = writer.op("Transpose", made[0], perm=[0, 2, 1, 3])
        x = writer.op("Reshape", x, writer.integers([0, 0, -1]))
        lasts.append(made[1:])
    if node.integer("batch_first"):
        x = writer.op("Transpose", x, perm=[1, 0, 2])
    ends = [each[0] if layers == 1 else writer.op("Concat", *each, axis=0) for each in zip(*lasts, strict=True)]
    for number, name in zip(node.outputs, [x, *ends], strict=True):
        writer.set(number, name)


def _layer(writer: Writer, node: Node, kind: str, names: list[str], x: str, states: list[str]) -> list[str]:
    """What a layer makes: all its hidden states, the last ones, and for an LSTM the last cells."""
    order, hidden = _ORDER[kind], node.integer("hidden")
    weights = [
        _joined(writer, [_weight(writer, node, f"{part}{name}", order) for name in names]) for part in ("w_ih", "w_hh")
    ]
    bias = ""
    if f"b_ih{names[0]}" in node.tensors:
        both = [
            np.concatenate([_gates(writer.tensor(node, f"{part}{name}"), order) for part in ("b_ih", "b_hh")])
            for name in names
        ]
        bias = writer.constant(np.stack(both), "bias")
    given = [x, *weights, bias, "", *(states if kind == "lstm" else states[:1])]
    while not given[-1]:
        given.pop()
    outputs = 3 if kind == "lstm" else 2
    return writer.several(
        _OPS[kind], given, outputs, hidden_size=hidden, direction="bidirectional" if len(names) > 1 else "forward",
        linear_before_reset=1 if kind == "gru" else None,
        activations=["Relu"] * len(names) if kind == "rnn_relu" else None,
    )  # fmt: skip


def _gates(tensor: NDArray[np.generic], order: tuple[int, ...]) -> NDArray[np.generic]:
    """Rows with the gates in ONNX's order."""
    parts = np.split(tensor, len(order))
    return np.concatenate([parts[gate] for gate in order])


def _weight(writer: Writer, node: Node, name: str, order: tuple[int, ...]) -> str:
    stored = writer.constant(_gates(writer.tensor(node, name), order), name)
    if f"{name}_scale" not in node.tensors:
        return stored
    scale = _gates(writer.tensor(node, f"{name}_scale"), order)
    zero = writer.constant(np.zeros(scale.shape, np.int8), "weight_zero_point")
    return writer.op("DequantizeLinear", stored, writer.constant(scale, f"{name}_scale"), zero, axis=0)


def _joined(writer: Writer, weights: list[str]) -> str:
    axes = writer.integers([0])
    apart = [writer.op("Unsqueeze", weight, axes) for weight in weights]
    return apart[0] if len(apart) == 1 else writer.op("Concat", *apart, axis=0)
