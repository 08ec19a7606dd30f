"""niwaki.from_onnx: what a file becomes, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnx", reason="the extra niwaki[onnx] is not installed")

import onnx
from onnx import TensorProto, helper, numpy_helper

import niwaki
from niwaki.cli import main

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def model_of(
    nodes: list[Any],
    inputs: dict[str, tuple[int, Any]],
    constants: dict[str, Any] | None = None,
    outputs: tuple[str, ...] = ("y",),
    opset: int = 17,
    domains: tuple[str, ...] = (),
) -> Any:
    """A model of these nodes."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def f32(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


CONV = {"w": f32(4, 3, 3, 3), "b": f32(4, seed=1)}
IMAGE = {"x": (FLOAT, ["n", 3, "h", "w"])}


def conv_model() -> Any:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="/body/conv1/Conv", pads=[1, 1, 1, 1])
    return model_of([node], IMAGE, CONV)


def refusal(model: Any, **options: Any) -> str:
    with pytest.raises(niwaki.NiwakiError) as caught:
        niwaki.from_onnx(model, **options)
    return str(caught.value)


# What it becomes.


def test_layers_have_the_names_and_weights_of_the_file() -> None:
    module = niwaki.from_onnx(conv_model())
    layer = module.get_submodule("body.conv1")
    assert isinstance(layer, torch.nn.Conv2d) and not module.training
    x = torch.randn(2, 3, 8, 9)
    wanted = torch.nn.functional.conv2d(x, torch.from_numpy(CONV["w"]), torch.from_numpy(CONV["b"]), padding=1)
    assert torch.equal(module(x), wanted)


def test_a_path_bytes_and_a_model_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(conv_model(), path)
    x = torch.randn(1, 3, 5, 5)
    answers = [niwaki.from_onnx(each)(x) for each in (path, str(path), path.read_bytes(), conv_model())]
    assert all(torch.equal(answers[0], answer) for answer in answers)


def test_nodes_that_share_their_weights_are_one_layer() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="/one/MatMul"),
        helper.make_node("MatMul", ["a", "w"], ["y"], name="/two/MatMul"),
    ]
    module = niwaki.from_onnx(model_of(nodes, {"x": (FLOAT, ["n", 4])}, {"w": f32(4, 4)}))
    assert sum(isinstance(each, torch.nn.Linear) for each in module.modules()) == 1


def test_a_product_and_a_bias_are_one_linear_layer() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="/fc/MatMul"),
        helper.make_node("Add", ["b", "a"], ["y"], name="/fc/Add"),
    ]
    weights = {"w": f32(4, 5), "b": f32(5)}
    module = niwaki.from_onnx(model_of(nodes, {"x": (FLOAT, ["n", "t", 4])}, weights))
    layer = module.get_submodule("fc")
    assert isinstance(layer, torch.nn.Linear) and layer.bias is not None
    x = torch.randn(2, 3, 4)
    wanted = x @ torch.from_numpy(weights["w"]) + torch.from_numpy(weights["b"])
    torch.testing.assert_close(module(x), wanted)


def test_a_name_below_a_layer_s_is_another_name() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="/attention/MatMul"),
        helper.make_node("MatMul", ["a", "v"], ["y"], name="/attention/out/MatMul"),
    ]
    module = niwaki.from_onnx(model_of(nodes, {"x": (FLOAT, ["n", 4])}, {"w": f32(4, 4), "v": f32(4, 4, seed=2)}))
    names = [name for name, each in module.named_modules() if isinstance(each, torch.nn.Linear)]
    assert names == ["attention", "attention_out"]


def test_shapes_stay_free() -> None:
    """x.reshape(n, h * w, 3): shapes are computed with sizes, not with tensors."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Shape", ["t"], ["s"]),
        helper.make_node("Slice", ["s", "zero", "one"], ["n"]),
        helper.make_node("Slice", ["s", "one", "three"], ["hw"]),
        helper.make_node("ReduceProd", ["hw"], ["p"], axes=[0], keepdims=1),
        helper.make_node("Concat", ["n", "p", "three"], ["shape"], axis=0),
        helper.make_node("Reshape", ["t", "shape"], ["y"]),
    ]
    constants = {"zero": np.array([0]), "one": np.array([1]), "three": np.array([3])}
    module = niwaki.from_onnx(model_of(nodes, IMAGE, constants))
    assert "tensor_of" not in module.code
    for shape in ((2, 3, 4, 5), (1, 3, 7, 2)):
        x = torch.randn(shape)
        assert torch.equal(module(x), x.permute(0, 2, 3, 1).reshape(shape[0], -1, 3))
    exported = torch.export.export(
        module, (torch.randn(2, 3, 4, 5),), dynamic_shapes=({0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO},)
    )
    assert exported.module()(torch.randn(3, 3, 6, 5)).shape == (3, 30, 3)


@pytest.mark.parametrize(("factor", "height"), [(2.0, 7), (0.5, 9), (1.5, 5)])
def test_sizes_computed_in_floats(factor: float, height: int) -> None:
    """As exporters write it: shape, to float, times a factor, floor, to int64."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "two", "three"], ["h"]),
        helper.make_node("Cast", ["h"], ["f"], to=FLOAT),
        helper.make_node("Mul", ["f", "factor"], ["m"]),
        helper.make_node("Floor", ["m"], ["r"]),
        helper.make_node("Cast", ["r"], ["i"], to=INT64),
        helper.make_node("ConstantOfShape", ["i"], ["y"]),
    ]
    constants = {"two": np.array([2]), "three": np.array([3]), "factor": np.array([factor], dtype=np.float32)}
    module = niwaki.from_onnx(model_of(nodes, IMAGE, constants))
    assert module(torch.zeros(1, 3, height, 4)).shape == (int(height * factor),)


def test_sizes_that_float32_rounds_are_refused() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Cast", ["s"], ["f"], to=FLOAT),
        helper.make_node("Mul", ["f", "factor"], ["m"]),
        helper.make_node("Cast", ["m"], ["i"], to=INT64),
        helper.make_node("Resize", ["x", "", "", "i"], ["y"], mode="nearest"),
    ]
    module = niwaki.from_onnx(model_of(nodes, IMAGE, {"factor": np.float32([1, 1, 0.7, 0.7])}))
    # 10 * 0.7f is 7 in float32 and 6.9999999 in float64: values decide, so the numbers are those of float32.
    assert module(torch.zeros(1, 3, 10, 10)).shape == (1, 3, 7, 7)


def test_an_embedding_counts_negative_indices_from_the_end() -> None:
    table = f32(10, 4)
    module = niwaki.from_onnx(
        model_of([helper.make_node("Gather", ["t", "i"], ["y"])], {"i": (INT64, ["n"])}, {"t": table})
    )
    assert any(isinstance(each, torch.nn.Embedding) for each in module.modules())
    np.testing.assert_array_equal(module(torch.tensor([0, -1, 3])).detach().numpy(), table[[0, -1, 3]])
    with pytest.raises(IndexError):
        module(torch.tensor([10]))


@pytest.mark.parametrize("taken", [True, False])
def test_branches_that_constants_decide(taken: bool) -> None:
    def branch(name: str, operator: str) -> Any:
        out = helper.make_empty_tensor_value_info(name)
        return helper.make_graph([helper.make_node(operator, ["x"], [name])], name, [], [out])

    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("a", "Relu"), else_branch=branch("b", "Neg"))
    module = niwaki.from_onnx(model_of([node], {"x": (FLOAT, ["n"])}, {"c": np.array(taken)}))
    x = torch.tensor([-1.0, 2.0])
    assert torch.equal(module(x), x.relu() if taken else -x)


def test_fixed_inputs_and_sizes() -> None:
    nodes = [
        helper.make_node("Equal", ["rate", "k"], ["c"]),
        helper.make_node(
            "If",
            ["c"],
            ["y"],
            then_branch=helper.make_graph(
                [helper.make_node("Relu", ["x"], ["a"])], "t", [], [helper.make_empty_tensor_value_info("a")]
            ),
            else_branch=helper.make_graph(
                [helper.make_node("Neg", ["x"], ["b"])], "e", [], [helper.make_empty_tensor_value_info("b")]
            ),
        ),
    ]
    model = model_of(nodes, {"x": (FLOAT, ["n"]), "rate": (INT64, [])}, {"k": np.array(16000)})
    assert "branches that do are not supported" in refusal(model)
    module = niwaki.from_onnx(model, fixed={"rate": 8000, "n": 2})
    x = torch.tensor([-1.0, 2.0])
    assert torch.equal(module(x), -x)
    with pytest.raises(ValueError, match=r"must have the shape \[2\], not \[3\]"):
        module(torch.zeros(3))
    with pytest.raises(ValueError, match=r"has no input and no free size 'rata'; it has 'n', 'rate', 'x'"):
        niwaki.from_onnx(model, fixed={"rata": 1})
    with pytest.raises(ValueError, match=r"the input 'x' has the shape \[None\] in the file, not \[1, 2\]"):
        niwaki.from_onnx(model, fixed={"rate": 1}, shapes={"x": (1, 2)})


def test_inputs_are_checked() -> None:
    module = niwaki.from_onnx(conv_model())
    with pytest.raises(ValueError, match=r"Input 'x' must have the shape \[any, 3, any, any\], not \[1, 4, 8, 8\]"):
        module(torch.zeros(1, 4, 8, 8))
    with pytest.raises(TypeError, match=r"Input 'x' must be float32, not float64; convert it with \.to\(torch.float32"):
        module(torch.zeros(1, 3, 8, 8, dtype=torch.float64))


def test_weights_in_another_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(conv_model(), path, save_as_external_data=True, location="m.bin", size_threshold=0)
    x = torch.randn(1, 3, 5, 5)
    assert torch.equal(niwaki.from_onnx(path)(x), niwaki.from_onnx(conv_model())(x))
    (tmp_path / "m.bin").unlink()
    assert "keeps weights in 'm.bin', which is not in its folder" in refusal(path)


# What is refused.


def test_all_that_is_missing_is_named_at_once() -> None:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["a"], name="noise"),
        helper.make_node("Fancy", ["x"], ["b"], name="own", domain="my.domain"),
        helper.make_node("Relu", ["a"], ["c"]),
        helper.make_node(
            "Resize", ["x", "", "s"], ["d"], name="up", mode="linear", coordinate_transformation_mode="odd"
        ),
        helper.make_node("RandomNormalLike", ["b"], ["y"], name="more"),
    ]
    model = model_of(nodes, IMAGE, {"s": np.float32([1, 1, 2, 2])}, domains=("my.domain",))
    text = refusal(model)
    assert "node 'noise' (RandomNormalLike) (and 1 more): operator RandomNormalLike is not supported" in text
    assert "node 'own' (Fancy): operator my.domain.Fancy is not supported" in text
    assert "node 'up' (Resize): its attribute coordinate_transformation_mode = 'odd' is not supported" in text
    assert text.endswith(".") and ". " not in text  # one sentence


def test_attributes_that_nobody_reads_are_refused() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], name="r", consumed_inputs=[0])
    assert "its attribute consumed_inputs is none of Relu of opset 14" in refusal(model_of([node], IMAGE))
    node = helper.make_node("BatchNormalization", ["x", *"sbmv"], ["y"], name="bn", training_mode=1)
    weights = {name: np.ones(3, dtype=np.float32) for name in "sbmv"}
    assert "node 'bn' (BatchNormalization): it is in training mode" in refusal(model_of([node], IMAGE, weights))


def test_every_attribute_of_a_node_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator that forgot one would be wrong in silence."""
    from niwaki.onnx import registry

    entry = registry.find("", "LeakyRelu", 16)
    assert entry is not None
    careless = registry.Entry(lambda call: call.call(torch.relu, call.x()), entry.since, entry.until, moves=False)
    monkeypatch.setitem(registry._table, ("", "LeakyRelu"), [careless])
    node = helper.make_node("LeakyRelu", ["x"], ["y"], name="r", alpha=0.5)
    assert "node 'r' (LeakyRelu): its attribute alpha = 0.5 is not supported" in refusal(model_of([node], IMAGE))


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_files_cut_short(tmp_path: Path, cut: float) -> None:
    path = tmp_path / "m.onnx"
    data = conv_model().SerializeToString()
    path.write_bytes(data[: int(len(data) * cut)])
    assert "is no ONNX file, or is cut short" in refusal(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("hello")
    assert "is no ONNX file" in refusal(path)
    assert "is no ONNX file" in refusal(b"")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        niwaki.from_onnx(tmp_path / "none.onnx")
    with pytest.raises(TypeError, match="model must be the path"):
        niwaki.from_onnx(3)


def test_names_that_are_no_text() -> None:
    data = conv_model().SerializeToString().replace(b"/body/conv1/Conv", b"/body/conv1/Con\xff")
    assert "holds names that are no text" in refusal(data)


def test_without_the_package_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "needs the package onnx; install it with pip install 'niwaki[onnx]'" in refusal("m.onnx")


def test_opsets_to_come_are_refused() -> None:
    model = conv_model()
    model.opset_import[0].version = 99
    assert "uses opset 99" in refusal(model)


def test_damaged_graphs_are_refused() -> None:
    model = model_of([helper.make_node("Relu", ["z"], ["y"], name="r")], IMAGE)
    assert "nothing before it makes its input 'z'" in refusal(model)
    model = model_of([helper.make_node("Relu", ["x"], ["z"])], IMAGE)
    assert "output 'y': nothing makes it" in refusal(model)
    model = model_of([helper.make_node("Loop", ["", "", "x"], ["y"], name="l")], IMAGE)
    assert "node 'l' (Loop): loops are not supported" in refusal(model)


# The command line.


def test_the_command_line_takes_an_onnx_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from niwaki.cli.console import UsageError
    from niwaki.cli.model import load_model

    path = tmp_path / "m.onnx"
    onnx.save(conv_model(), path)
    assert isinstance(load_model(str(path), None, None), torch.fx.GraphModule)
    assert load_model(str(path), '{"n": 2}', None)(torch.zeros(2, 3, 4, 4)).shape == (2, 4, 4, 4)
    with pytest.raises(UsageError, match="there is no file"):
        load_model(str(tmp_path / "no.onnx"), None, None)
    with pytest.raises(UsageError, match="has its own weights"):
        load_model(str(path), None, "w.pt")
    np.save(tmp_path / "x.npy", f32(4, 3, 16, 16))
    out = tmp_path / "out"
    assert main(["compress", str(path), "--calibration", str(tmp_path / "x.npy"), "-o", str(out)]) == 0
    assert "body.conv1" in capsys.readouterr().out
