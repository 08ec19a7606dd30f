"""Products of float32 values and recurrent layers, at sizes that only the run knows.

Near torch's, and the same bits from every instruction set.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

import core_node
import core_operators
import pytest
import torch

from niwaki import _core

ROUNDS = 25


def size(most: int = 6) -> int:
    return random.randint(1, most)


def check(
    op: str,
    inputs: Sequence[torch.Tensor],
    attributes: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor] | None = None,
    tolerance: float = 1e-5,
) -> list[torch.Tensor]:
    """What the core makes of the inputs: near torch's, and the same with any instruction set and number of threads."""
    wanted = core_operators.compute(op, list(inputs), attributes, tensors or {}, [], [])
    first = core_node.run(op, inputs, attributes, tensors)
    for found, other in zip(first, wanted, strict=True):
        assert found.shape == other.shape and found.dtype == other.dtype, (op, attributes, found.shape, other.shape)
        torch.testing.assert_close(found, other, rtol=tolerance, atol=tolerance, equal_nan=True)
    for isa, threads in itertools.product(_core.isas(), (1, 3)):
        again = core_node.run(op, inputs, attributes, tensors, isa, threads)
        for found, other in zip(again, first, strict=True):
            torch.testing.assert_close(found, other, rtol=0, atol=0, equal_nan=True)
    return first


def broadcast(shape: Sequence[int]) -> list[int]:
    """A shape that is broadcast to this one: fewer axes, and 1 instead of some sizes."""
    kept = list(shape)[random.randint(0, len(shape)) :]
    return [each if random.random() < 0.7 else 1 for each in kept]


def test_matmul() -> None:
    for _ in range(ROUNDS):
        rows, depth, columns = size(40), size(70), size(60)
        batch = [size(3) for _ in range(random.randint(0, 3))]
        transposed = random.random() < 0.5
        a = torch.randn([*broadcast(batch), rows, depth])
        b = torch.randn([*broadcast(batch), columns, depth] if transposed else [*broadcast(batch), depth, columns])
        check("matmul", [a, b], {"transpose_b": int(transposed)})


def test_matmul_of_vectors() -> None:
    row, matrix = torch.randn(30), torch.randn(3, 30, 7)
    check("matmul", [row, matrix], {})
    check("matmul", [matrix.mT.contiguous(), row], {})
    check("matmul", [row, row], {})
    check("matmul", [torch.randn(2, 1, 1, 30), matrix], {})
    check("matmul", [torch.randn(2, 4, 17, 30), torch.randn(30, 1)], {})
    check("matmul", [torch.randn(2, 4, 17, 30), torch.randn(1, 30)], {"transpose_b": 1})


@pytest.mark.parametrize("shapes", [((3, 0), (0, 4)), ((0, 3), (3, 4)), ((2, 0, 3), (3, 4)), ((5, 2, 0), (5, 0, 2))])
def test_matmul_of_nothing(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    check("matmul", [torch.randn(shapes[0]), torch.randn(shapes[1])], {})


@pytest.mark.parametrize("masked", ["", "bool", "float"])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(masked: str, causal: bool) -> None:
    for _ in range(ROUNDS):
        heads = [size(3) for _ in range(random.randint(0, 2))]
        queries, keys, width = size(40), size(60), random.choice([1, 8, 32, 33])
        inputs = [
            torch.randn(*heads, queries, width),
            torch.randn(*heads, keys, width),
            torch.randn(*heads, keys, size(40)),
        ]
        if masked:
            mask = torch.rand([*broadcast(heads), random.choice([1, queries]), random.choice([1, keys])])
            inputs.append(mask > 0.2 if masked == "bool" else mask.masked_fill(mask > 0.8, float("-inf")))
        check("attention", inputs, {"causal": int(causal), "scale": random.choice([width**-0.5, 0.3])})


def test_attention_of_rows_that_see_nothing() -> None:
    """Zeros where a bool or minus infinity hides every key. The lowest number is no mask: all keys count alike."""
    q, k, v = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 4)
    hidden = torch.ones(3, 5, dtype=torch.bool)
    hidden[1] = False
    for mask in (hidden, torch.zeros(3, 5).masked_fill(~hidden, float("-inf"))):
        (found,) = check("attention", [q, k, v, mask], {"causal": 0, "scale": 0.5})
        assert not found[:, 1].any() and found[:, 0].all()
    lowest = torch.zeros(3, 5).masked_fill(~hidden, torch.finfo(torch.float32).min)
    (found,) = check("attention", [q, k, v, lowest], {"causal": 0, "scale": 0.5})
    torch.testing.assert_close(found[:, 1], v.mean(-2))
    (found,) = check("attention", [q, k[:, :0], v[:, :0]], {"causal": 0, "scale": 0.5})
    assert not found.any()


def test_attention_over_shared_keys() -> None:
    """Keys and values of one head for several of queries."""
    q, k, v = torch.randn(2, 6, 9, 16), torch.randn(2, 1, 9, 16), torch.randn(1, 1, 9, 16)
    (found,) = core_node.run("attention", [q, k, v], {"causal": 1, "scale": 0.25})
    (wanted,) = core_node.run(
        "attention", [q, k.expand(2, 6, 9, 16), v.expand(2, 6, 9, 16)], {"causal": 1, "scale": 0.25}
    )
    assert torch.equal(found, wanted)


def test_dynamic_linear() -> None:
    for _ in range(ROUNDS):
        inputs, outputs = size(90), size(70)
        x = torch.randn([size(3) for _ in range(random.randint(0, 2))] + [inputs]) * 10 ** random.uniform(-3, 3)
        weight = torch.randint(-127, 128, (outputs, inputs), dtype=torch.int8)
        tensors = {"weight": weight, "weight_scale": torch.rand(outputs) / 100, "bias": torch.randn(outputs)}
        (found,) = core_node.run("dynamic_linear", [x], {}, tensors)
        (wanted,) = core_operators.compute("dynamic_linear", [x], {}, tensors, [], [])
        # x / scale and x * (1 / scale) may round to neighbouring steps.
        step = (x.amax(-1, keepdim=True).clamp_min(0) - x.amin(-1, keepdim=True).clamp_max(0)) / 255
        assert ((found - wanted).abs() <= 1e-5 * wanted.abs() + 1e-6 + step * tensors["weight_scale"] * 127).all()
        for isa, threads in itertools.product(_core.isas(), (1, 3)):
            assert torch.equal(core_node.run("dynamic_linear", [x], {}, tensors, isa, threads)[0], found)


def layers(kind: str, sizes: Mapping[str, int], bias: bool) -> dict[str, torch.Tensor]:
    """The tensors of recurrent layers, as torch's modules make them."""
    made = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(kind, torch.nn.RNN)
    projected = {"proj_size": sizes["projection"]} if kind == "lstm" else {}
    module = made(
        sizes["inputs"],
        sizes["hidden"],
        sizes["layers"],
        bias=bias,
        bidirectional=sizes["directions"] == 2,
        **projected,
    )
    return {
        name.replace("weight_", "w_").replace("bias_", "b_"): parameter.detach() * 3
        for name, parameter in module.named_parameters()
    }


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_recurrent(kind: str) -> None:
    for _ in range(ROUNDS):
        sizes = {"inputs": size(20), "hidden": size(40) + 1, "layers": size(3), "directions": random.choice([1, 2])}
        sizes["projection"] = random.choice([0, random.randint(1, sizes["hidden"] - 1)]) if kind == "lstm" else 0
        steps, batch, batch_first = size(12), size(4), random.random() < 0.5
        attributes = {
            "kind": kind, "layers": sizes["layers"], "hidden": sizes["hidden"],
            "bidirectional": int(sizes["directions"] == 2), "batch_first": int(batch_first),
        }  # fmt: skip
        inputs = [torch.randn([batch, steps, sizes["inputs"]] if batch_first else [steps, batch, sizes["inputs"]])]
        if random.random() < 0.5:
            states = sizes["layers"] * sizes["directions"]
            inputs.append(torch.randn(states, batch, sizes["projection"] or sizes["hidden"]))
            if kind == "lstm":
                inputs.append(torch.randn(states, batch, sizes["hidden"]))
            if kind == "lstm" and steps and batch and random.random() < 0.5:
                inputs.append(torch.randint(1, steps + 1, (batch,)))
        check("recurrent", inputs, attributes, layers(kind, sizes, random.random() < 0.7), tolerance=1e-4)


def test_recurrent_layers_refuse_no_steps() -> None:
    tensors = layers("gru", {"inputs": 3, "hidden": 4, "layers": 1, "directions": 1, "projection": 0}, True)
    with pytest.raises(ValueError, match="no steps"):
        core_node.run("recurrent", [torch.randn(0, 2, 3)], {"kind": "gru", "hidden": 4}, tensors)
