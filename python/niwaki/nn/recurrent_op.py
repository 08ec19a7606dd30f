"""The operator niwaki::dynamic_recurrent: an LSTM, GRU or RNN with int8 weights, run by the native core."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import _VF
from torch.overrides import handle_torch_function, has_torch_function

from niwaki._core import Dim, Graph
from niwaki.nn.sessions import session_for

_SCHEMA = (
    "(Tensor x, Tensor[] states, Tensor[] weights, Tensor[] scales, Tensor[] biases, str kind, int layers, "
    "bool bidirectional, bool batch_first, Tensor? lengths=None) -> Tensor[]"
)


def named_tensors(
    weights: Sequence[torch.Tensor],
    scales: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
    layers: int,
    bidirectional: bool,
) -> tuple[dict[str, torch.Tensor], int]:
    """The tensors of the core's operator by their names, and the number of hidden units; arguments as below."""
    ends = [f"l{layer}{side}" for layer in range(layers) for side in (("", "_reverse") if bidirectional else ("",))]
    kinds = ("w_ih", "w_hh", "w_hr")[: len(weights) // len(ends)]
    names = [f"{kind}_{end}" for end in ends for kind in kinds]
    tensors = dict(zip(names, weights, strict=True))
    tensors |= {f"{name}_scale": scale for name, scale in zip(names, scales, strict=True)}
    if biases:
        tensors |= dict(zip((f"{kind}_{end}" for end in ends for kind in ("b_ih", "b_hh")), biases, strict=True))
    return tensors, tensors[f"{kinds[-1]}_{ends[0]}"].shape[1]


def _graph(
    x: torch.Tensor,
    states: Sequence[torch.Tensor],
    lengths: torch.Tensor | None,
    tensors: dict[str, torch.Tensor],
    attributes: dict[str, int | str],
) -> Graph:
    graph = Graph()
    batch, steps = graph.add_size("batch"), graph.add_size("steps", 1)
    dims: list[int | Dim] = [batch, steps, x.shape[2]] if attributes["batch_first"] else [steps, batch, x.shape[2]]
    inputs = [graph.add_input("x", "float32", dims)]
    for name, state in zip(("h0", "c0"), states, strict=False):
        inputs.append(graph.add_input(name, "float32", [state.shape[0], batch, state.shape[2]]))
    if lengths is not None:
        inputs += [-1] * (3 - len(inputs)) + [graph.add_input("lengths", "int64", [batch])]
    with torch.inference_mode(False), torch.no_grad():
        arrays = {name: tensor.detach().contiguous().numpy() for name, tensor in tensors.items()}
    outputs = graph.add_node("recurrent", "recurrent", inputs, attributes, arrays)
    for name, value in zip(("y", "h_n", "c_n"), outputs, strict=False):
        graph.add_output(value, name)
    return graph


@torch.library.custom_op("niwaki::dynamic_recurrent", mutates_args=(), schema=_SCHEMA)
def dynamic_recurrent(
    x: torch.Tensor,
    states: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    scales: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
    kind: str,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
    lengths: torch.Tensor | None = None,
) -> list[torch.Tensor]:
    """Recurrent layers whose inputs and hidden states are rounded to uint8, each row with its own range.

    Args:
        x: float32 [T, N, I], or [N, T, I] with batch_first.
        states: float32 h [L * D, N, H or P], and c [L * D, N, H] of an LSTM.
        weights: int8, in -127 to 127: of each layer and direction w_ih, w_hh and, of projections, w_hr.
        scales: float32, one for each row of each weight.
        biases: float32: of each layer and direction b_ih and b_hh; or none at all.
        kind: "lstm", "gru", "rnn_tanh" or "rnn_relu".
        layers, bidirectional, batch_first: as in torch.nn.LSTM.
        lengths: int64 [N], each 1 to T: sequences end there; all of them at the last step where it is not given.

    Returns:
        float32: the outputs of all steps, 0 behind a sequence's end, the last h, and the last c of an LSTM.

    Raises:
        TypeError, ValueError: a dtype, device or shape, or a length, does not fit.
    """
    for name, tensor in (("x", x), *(("a state", state) for state in states)):
        if tensor.device.type != "cpu":
            raise ValueError(
                f"niwaki::dynamic_recurrent: {name} is on device '{tensor.device}'; niwaki runs on CPUs, so move it "
                "with .cpu()."
            )
        if tensor.dtype != torch.float32:
            raise TypeError(
                f"niwaki::dynamic_recurrent: {name} must be float32, not {str(tensor.dtype).removeprefix('torch.')}; "
                "convert it with .float()."
            )
    _check(x, weights)
    if x.shape[1 if batch_first else 0] == 0:
        raise ValueError("niwaki::dynamic_recurrent: x has no steps.")
    shapes = _shapes(x, states, bidirectional)
    made = [x.new_empty(shape) for shape in shapes]
    if made[0].numel() == 0:
        return [made[0], *(state.clone() for state in states)]
    attributes: dict[str, int | str] = {
        "kind": kind, "layers": layers, "bidirectional": int(bidirectional), "batch_first": int(batch_first),
        "dynamic": 1,
    }  # fmt: skip
    tensors, attributes["hidden"] = named_tensors(weights, scales, biases, layers, bidirectional)
    others = (*weights[1:], *scales, *biases)
    constants = (int(batch_first), int(bidirectional), layers, int(lengths is not None))
    session = session_for(weights[0], others, constants, lambda: _graph(x, states, lengths, tensors, attributes))
    given = [tensor.detach().contiguous() for tensor in (x, *states, *(() if lengths is None else (lengths,)))]
    session.run([(tensor.data_ptr(), tuple(tensor.shape)) for tensor in given], [out.data_ptr() for out in made])
    return made


def _check(x: torch.Tensor, weights: Sequence[torch.Tensor]) -> None:
    inputs = weights[0].shape[1]
    if x.dim() != 3 or x.shape[2] != inputs:
        raise ValueError(
            f"niwaki::dynamic_recurrent: x must have three axes, the last of {inputs}, not {list(x.shape)}."
        )


def _shapes(x: torch.Tensor, states: Sequence[torch.Tensor], bidirectional: bool) -> list[list[int]]:
    features = states[0].shape[2] * (2 if bidirectional else 1)
    return [[x.shape[0], x.shape[1], features], *(list(state.shape) for state in states)]


@dynamic_recurrent.register_fake
def _(x, states, weights, scales, biases, kind, layers, bidirectional, batch_first, lengths=None):  # type: ignore[no-untyped-def]
    _check(x, weights)
    return [x.new_empty(shape) for shape in _shapes(x, states, bidirectional)]


def dynamic_packed(
    data: torch.Tensor,
    batch_sizes: torch.Tensor,
    states: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    scales: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
    kind: str,
    layers: int,
    bidirectional: bool,
) -> list[torch.Tensor]:
    """`dynamic_recurrent` of a packed sequence, whose data and states are in the order of its sequences' lengths.

    Returns its data, and the last states in that order.
    """
    options = (states, weights, scales, biases, kind, layers, bidirectional)
    if has_torch_function((data, batch_sizes)):  # while it is captured: niwaki/capture/packed.py
        made: list[torch.Tensor] = handle_torch_function(
            dynamic_packed, (data, batch_sizes), data, batch_sizes, *options
        )
        return made
    padded, lengths = _VF._pad_packed_sequence(data, batch_sizes, False, 0.0, -1)
    y, *last = dynamic_recurrent(padded, *options, False, lengths)
    return [_VF._pack_padded_sequence(y, lengths, False)[0], *last]
