"""docs/file-format.md suffices: a reader made from it alone reads what niwaki writes, in every form and coding."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import file_reader
import numpy as np
import plain_graphs
import pytest
import small_graphs
import torch
from torch import nn

import niwaki
from niwaki import _core

GRAPHS = small_graphs.GRAPHS | plain_graphs.GRAPHS

OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "min": min,
    "max": max,
}


@pytest.fixture
def tensors(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, np.ndarray]]:
    """The tensors of each node that is added to a graph from now on: the core does not show them."""
    added: list[dict[str, np.ndarray]] = []
    add_node = _core.Graph.add_node

    def spy(self, op, name, inputs, attributes, tensors, *quantizations) -> list[int]:
        values = add_node(self, op, name, inputs, attributes, tensors, *quantizations)
        added.append({key: np.array(tensor) for key, tensor in tensors.items()})
        return values

    monkeypatch.setattr(_core.Graph, "add_node", spy)
    return added


def evaluate(expression: file_reader.Expression, sizes: dict[str, int]) -> int:
    """What it is where the free sizes are these."""
    if isinstance(expression, int):
        return expression
    if isinstance(expression, str):
        return sizes[expression]
    operation, left, right = expression
    numbers = evaluate(left, sizes), evaluate(right, sizes)
    return int(OPERATIONS[operation](*numbers))


def same_number(found: file_reader.Expression, wanted: int | str, sizes: dict[str, int]) -> bool:
    """An integer or an expression against what the core says: a number, or an expression as people write it."""
    number = wanted if isinstance(wanted, int) else eval(wanted, {"min": min, "max": max}, dict(sizes))
    return evaluate(found, sizes) == number


def check_attribute(found: list[Any] | str, wanted: Sequence[Any], sizes: dict[str, int]) -> None:
    if isinstance(found, str):
        assert found == wanted
        return
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one == other if isinstance(other, float) else same_number(one, other, sizes)


def check(path: Path, graph: _core.Graph, tensors: list[dict[str, np.ndarray]]) -> file_reader.ReadFile:
    """Everything in the file against what the core says of the graph, and the tensors that went in."""
    found = file_reader.read(path.read_bytes())
    sizes = {size["name"]: 7 + 3 * place for place, size in enumerate(graph.sizes)}
    assert found.metadata == dict(graph.metadata)
    assert found.sizes == [(size["name"], size["low"], size["high"], size["hint"]) for size in graph.sizes]
    kinds = [(name, "uint8" if kind == "byte" else kind) for name, kind, _ in found.inputs]
    assert kinds == [(port["name"], port["dtype"]) for port in graph.input_ports]
    for (_, _, dims), port in zip(found.inputs, graph.input_ports, strict=True):
        assert len(dims) == len(port["dims"])
        for dim, wanted in zip(dims, port["dims"], strict=True):
            assert same_number(dim, wanted, sizes)
    assert [name for _, name in found.outputs] == graph.outputs
    nodes = graph.nodes()
    assert len(found.nodes) == len(nodes) == len(tensors)
    for read, node, wanted in zip(found.nodes, nodes, tensors, strict=True):
        assert (read.op, read.name) == (node["op"], node["name"])
        assert read.attributes.keys() == node["attributes"].keys()
        for name, attribute in node["attributes"].items():
            check_attribute(read.attributes[name], attribute, sizes)
        assert read.outputs == list(node["quantizations"])
        assert read.tensors.keys() == wanted.keys() == node["tensors"].keys()
        for name, tensor in wanted.items():
            assert read.tensors[name].dtype == tensor.dtype, name
            np.testing.assert_array_equal(read.tensors[name], tensor, err_msg=f"{read.name}: {name}", strict=True)
    return found


@pytest.mark.parametrize("name", GRAPHS)
def test_small_graphs(name: str, tensors: list[dict[str, np.ndarray]], tmp_path: Path) -> None:
    graph = GRAPHS[name]()
    path = tmp_path / "a.niwaki"
    graph.save(str(path))
    check(path, graph, tensors)


def test_all_operators_are_covered() -> None:
    made = {node["op"] for make in GRAPHS.values() for node in make().nodes()}
    assert made == {rule["name"] for rule in _core.operators()}


def test_all_storage_is_covered(tmp_path: Path) -> None:
    """The graphs above meet every form, every coding of values, and every coding of a mask."""
    stored = set()
    for make in GRAPHS.values():
        make().save(str(tmp_path / "a.niwaki"))
        stored |= set(file_reader.read((tmp_path / "a.niwaki").read_bytes()).storage)
    assert {form for form, _, _ in stored} == {0, 1, 2}
    assert {(min(form, 1), values) for form, values, _ in stored} == {(a, b) for a in (0, 1) for b in (0, 1, 2)}
    assert {mask for _, _, mask in stored} == {0, 1, 2}


def test_a_compressed_network(tensors: list[dict[str, np.ndarray]], tmp_path: Path) -> None:
    """From torch to the file, with the mean and std of images."""
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.randn(2, 3, 12, 12)
    small, _ = niwaki.compress(model.eval(), [x], sparsity=0.8, progress=False)
    tensors.clear()  # of the layers' own graphs
    net = niwaki.compile(small, (x,), threads=1)
    path = tmp_path / "a.niwaki"
    net.save(path, image=niwaki.ImageConfig(mean=(0.5,) * 3, std=(0.25,) * 3))
    found = check(path, _core.Graph.load(str(path)), tensors)
    assert found.metadata["image.std"] == "0.25,0.25,0.25"
    assert [node.tensors["weight"].shape for node in found.nodes if node.op == "conv2d"] == [
        (16, 3, 3, 3),
        (32, 16, 3, 3),
    ]


def test_every_prefix_and_flip_is_refused_by_both(tmp_path: Path) -> None:
    """Shorter, or with one byte changed: neither takes it. All 255 changes of a byte go by way of the checksums."""
    path = tmp_path / "a.niwaki"
    GRAPHS["depthwise"]().save(str(path))
    data = path.read_bytes()
    other = tmp_path / "b.niwaki"
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        for wrong in (data[:at], bytes(changed)):
            other.write_bytes(wrong)
            with pytest.raises(_core.NiwakiError, match=r"b\.niwaki: "):
                _core.Graph.load(str(other))
            with pytest.raises(file_reader.RefusedError):
                file_reader.read(wrong)


def test_thousands_of_nodes_without_weights_are_read_again(tmp_path: Path) -> None:
    """Each takes some bytes of the file, and a kilobyte in memory; a reader takes no more than some times the file."""
    graph = _core.Graph()
    value = graph.add_input("x", "float32", [3])
    for place in range(3000):
        value = graph.add_node("unary", f"f{place % 7}", [value], {"function": "tanh"}, {}, [])[0]
    graph.add_output(value, "y")
    graph.save(str(tmp_path / "x.niwaki"))
    net = niwaki.load(tmp_path / "x.niwaki")
    x = np.array([0.1, -2.0, 7.0], np.float32)
    expected = x
    for _ in range(3000):
        expected = np.tanh(expected)
    np.testing.assert_allclose(net(x), expected, rtol=1e-3)
