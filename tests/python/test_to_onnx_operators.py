"""Each operator of the core as ONNX, beside the core's own answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra niwaki[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

import onnx
import plain_graphs
import small_graphs
from onnx_written import core, inputs_of, rebuilt, runtime

from niwaki import NiwakiError, _core
from niwaki.onnx_file import registry
from niwaki.onnx_file.model import to_model

REFUSED = {"cumprod": "axes", "cumextreme": "axes", "sequence_lengths": "recurrent"}  # and a graph that has it
REFUSED_CALLS = {
    "elements": ("binary.12", "ONNX has no atan2"),
    "values": ("linspace.4", "the number of its steps depends on free sizes"),
    "windows": (
        "adaptive_pool.6",
        "its windows depend on free sizes; compile the network for one size of its inputs",
    ),
    "resized": ("resize.5", "it has a scale for some of its axes alone"),
}
GRAPHS = {**small_graphs.GRAPHS, **plain_graphs.GRAPHS}


def sizes_of(graph: _core.Graph, more: int) -> dict[str, int]:
    return {each["name"]: (each["hint"] or 4) + (2 if each["name"] == "batch" else 10) * more for each in graph.sizes}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("more", [0, 1])
def test_graph(name: str, more: int) -> None:
    graph = rebuilt(GRAPHS[name](), {*REFUSED, *REFUSED_CALLS.get(name, ())})
    model = to_model(graph)
    onnx.checker.check_model(model, full_check=True)
    given = inputs_of(graph, sizes_of(graph, more))
    wanted, found = core(graph, given), runtime(model, given)
    assert list(found) == list(wanted)
    for output, value in wanted.items():
        assert found[output].shape == value.shape, output
        assert found[output].dtype == value.dtype, output
        apart = difference(found[output], value)
        # A step, what attention in 8 bits is off by (ONNX's is in float32), or rounding.
        most = 0.0501 if name in small_graphs.GRAPHS else 0.0201 if name == "heads" else 2e-5
        assert apart <= most, (output, apart)


def difference(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    """The largest difference, over what it is of where that is above 1; not-a-numbers are alike."""
    if not wanted.size:
        return 0.0
    if wanted.dtype == bool:
        return float(np.max(found != wanted))
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):
        apart = np.abs(found.astype(np.float64) - wanted) / np.maximum(1, np.abs(wanted.astype(np.float64)))
    return float(np.where(same, 0, apart).max())


def test_every_operator_is_written_or_refused() -> None:
    ops = {each["name"] for each in _core.operators()}
    assert set(registry.known()) | REFUSED.keys() == ops
    assert not set(registry.known()) & REFUSED.keys()
    seen = {node["op"] for make in GRAPHS.values() for node in make().nodes()}
    assert ops - seen == set()


def test_what_the_core_shows_of_a_graph() -> None:
    graph = plain_graphs.GRAPHS["tokens"]()
    (tokens,) = (value for value in graph.values() if value["dtype"] == "int32" and len(value["dims"]) == 2 and 0 not in
                 value["dims"])  # fmt: skip
    assert tokens == {"dtype": "int32", "quantization": None, "dims": [("size", 0), ("size", 1)]}
    shapes = [node["attributes"]["shape"] for node in graph.nodes(trees=True) if node["op"] == "reshape"]
    assert shapes == [[("size", 0), ("size", 1), 1]]
    assert graph.guards[0]["trees"][0] == [(("%", ("size", 1), 2), "==", 0)]
    places = {node["name"]: place for place, node in enumerate(graph.nodes())}
    assert graph.tensor(places["constant.0"], "value").shape == (9, 4)
    with pytest.raises(ValueError, match=r"constant\.0: there is no tensor 'weight'"):
        graph.tensor(places["constant.0"], "weight")
    with pytest.raises(ValueError, match="no number 99"):
        graph.tensor(99, "weight")


@pytest.mark.parametrize("op", sorted(REFUSED))
def test_what_is_refused_is_named(op: str) -> None:
    graph = rebuilt(plain_graphs.GRAPHS[REFUSED[op]]())
    with pytest.raises(NiwakiError, match=rf"a test cannot be written as an ONNX file: .*{op}\.\d+: ONNX has no"):
        to_model(graph, "a test")


def test_what_nobody_asked_for_is_refused() -> None:
    """Else a new attribute or input of an operator would be left out in silence."""
    entry = next(node for node in plain_graphs.GRAPHS["products"]().nodes(trees=True) if len(node["inputs"]) == 4)
    attributes = registry.Attributes({**entry["attributes"], "causal": [1]})
    node = registry.Node(0, "attention", "a", registry.Inputs(entry["inputs"]), (9,), attributes, frozenset())
    assert node.leftover() == "its causal and scale cannot be written"
    assert (node.integer("causal"), node.number_of("scale")) == (1, 0.35)
    assert [node.given(index) for index in (0, 1, 2, 4)] == [True] * 3 + [False]
    assert node.leftover() == "its input 3 cannot be written"
    assert node.inputs[3] >= 0 and not node.leftover()


@pytest.mark.parametrize("name", REFUSED_CALLS)
def test_calls_that_are_refused(name: str) -> None:
    with pytest.raises(NiwakiError, match=": ".join(REFUSED_CALLS[name])):
        to_model(rebuilt(GRAPHS[name]()))


def one(function: str, kind: str, dtype: str, **numbers: float) -> _core.Graph:
    graph = _core.Graph()
    size = graph.add_size("n", 0, 2**31 - 1, 7)
    inputs = [graph.add_input(name, dtype, [size]) for name in ("a", "b")[: 2 if kind == "binary" else 1]]
    (made,) = graph.add_node(kind, function, inputs, {"function": function, **numbers})
    graph.add_output(made, "y")
    return graph


def words(op: str) -> list[str]:
    (rule,) = (each for each in _core.operators() if each["name"] == op)
    return [word for each in rule["attributes"] if each["name"] == "function" for word in each["words"]]


NUMBERS = {
    "leaky_relu": {"alpha": 0.1}, "elu": {"alpha": 0.7}, "celu": {"alpha": 1.3},
    "softplus": {"alpha": 2.0, "beta": 5.0}, "hardshrink": {"alpha": 0.5}, "softshrink": {"alpha": 0.5},
    "threshold": {"alpha": 0.3, "beta": -2.0}, "clamp": {"alpha": -1.0, "beta": 1.5},
}  # fmt: skip
REALS = np.array(
    [-9.5, -3.0, -1.0, -0.75, -0.5, -0.3, -1e-4, -1e-6, 0.0, 1e-6, 1e-4, 0.25, 0.5, 0.9, 1.0, 1.5, 2.5, 3.5, 7.0, 30.0],
    np.float32,
)
WHOLE = np.array([-7, -6, -3, -2, -1, 1, 2, 3, 5, 7])


@pytest.mark.parametrize("function", sorted(set(words("unary")) - {"logical_not"}))
def test_function_of_an_element(function: str) -> None:
    graph = one(function, "unary", "float32", **NUMBERS.get(function, {}))
    given = {"a": REALS}
    wanted, found = core(graph, given)["y"], runtime(to_model(graph), given)["y"]
    tiny = np.abs(REALS) < 1e-3  # where digits are lost that a difference over 1 does not show
    assert difference(found, wanted) < 3e-6
    # ONNX Runtime's own exp(x) - 1 of Selu, and x - tanh(x), which is nothing there.
    lost = 2e-2 if function == "selu" else 1e-4
    close = np.isclose(found.astype(float), wanted.astype(float), rtol=lost, atol=2e-11, equal_nan=True)
    assert close[tiny].all(), (found[tiny], wanted[tiny])


@pytest.mark.parametrize("function", ["abs", "neg", "sign", "square", "relu", "clamp"])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_function_of_an_integer(function: str, dtype: str) -> None:
    numbers = {"alpha": -2, "beta": 5} if function == "clamp" else {}
    graph, given = one(function, "unary", dtype, **numbers), {"a": WHOLE.astype(dtype)}
    np.testing.assert_array_equal(runtime(to_model(graph), given)["y"], core(graph, given)["y"])


def there_is(function: str, dtype: str) -> bool:
    try:
        one(function, "binary", dtype)
    except ValueError:
        return False
    return True


TYPES = ["float32", "int64", "int32", "bool"]


@pytest.mark.parametrize(
    ("function", "dtype"), [(word, each) for word in words("binary") for each in TYPES if there_is(word, each)]
)
def test_function_of_two_elements(function: str, dtype: str) -> None:
    graph = one(function, "binary", dtype)
    a, b = np.meshgrid(REALS if dtype == "float32" else WHOLE, REALS if dtype == "float32" else WHOLE)
    a, b = a.ravel(), b.ravel()
    if function in ("floor_div", "trunc_div", "remainder", "fmod"):
        a, b = a[np.abs(b) >= 0.25], b[np.abs(b) >= 0.25]
    if function == "pow":
        a, b = np.abs(a), np.abs(b) % 5
    given = {"a": a.astype(dtype), "b": b.astype(dtype)} if dtype != "bool" else {"a": a > 1, "b": b > 0}
    if function == "atan2":
        with pytest.raises(NiwakiError, match="atan2: ONNX has no atan2"):
            to_model(graph)
        return
    wanted, found = core(graph, given)["y"], runtime(to_model(graph), given)["y"]
    assert difference(found, wanted) < 3e-6


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("scale", [0.0, 1.7, 3.0])
def test_the_nearest_pixel_is_the_same(mode: str, free: bool, scale: float) -> None:
    for before, after in ((34, 16), (36, 16), (35, 16), (7, 20), (5, 5), (30, 25), (13, 26)):
        after = int(before * scale) if scale else after
        graph = _core.Graph()
        size: Any = graph.add_size("n", 0, 2**31 - 1, before) if free else before
        x = graph.add_input("x", "float32", [1, 1, size])
        (made,) = graph.add_node("interpolate", mode, [x], {"mode": mode, "size": [after], "scales": [scale]})
        graph.add_output(made, "y")
        given = {"x": np.arange(before, dtype=np.float32).reshape(1, 1, -1)}
        np.testing.assert_array_equal(runtime(to_model(graph), given)["y"], core(graph, given)["y"], str(before))


def test_sizes_that_the_core_refuses_are_refused_by_name() -> None:
    graph = _core.Graph()
    size = graph.add_size("n", 2, 5)
    x = graph.add_input("x", "float32", [3, size])
    graph.add_guard([[(size % 2, "==", 0)], [(size, "<", 4), (size, "!=", 2)]], "Input 'x': n must be even, or 3.")
    (made,) = graph.add_node("unary", "square", [x], {"function": "square"})
    graph.add_output(made, "y")
    model = to_model(graph)
    for n in (2, 3, 4):
        given = {"x": np.ones((3, n), np.float32)}
        np.testing.assert_array_equal(runtime(model, given)["y"], core(graph, given)["y"])
    for n, sentence in ((1, "n must be at least 2"), (5, "n must be even, or 3"), (6, "n must be at most 5")):
        with pytest.raises(Exception, match=sentence):
            runtime(model, {"x": np.ones((3, n), np.float32)})
