"""ONNX's own tests of its operators, run through niwaki.from_onnx."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from niwaki import NiwakiError
from niwaki.onnx import from_onnx


@dataclasses.dataclass(frozen=True)
class Case:
    """A model of one node (or what a function expands to), inputs and the outputs that they make.

    Attributes:
        name: ONNX's, without "test_".
        model: the model.
        sets: inputs and outputs, as arrays.
        rtol, atol: how close answers have to be.
    """

    name: str
    model: Any
    sets: Any
    rtol: float
    atol: float

    @property
    def operators(self) -> list[str]:
        return sorted({node.op_type for node in self.model.graph.node})

    def data(self) -> Iterator[tuple[list[Any], list[Any]]]:
        """Sets of inputs and outputs; raises NotImplementedError for those that are no tensors."""
        for given, wanted in self.sets:
            yield _tensors(given, inputs_of(self.model)), _tensors(wanted, self.model.graph.output)


def inputs_of(model: Any) -> list[Any]:
    """Inputs that the caller gives: in old files, weights are inputs, too."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _tensors(arrays: Any, values: Any) -> list[Any]:
    found = []
    for array, value in zip(arrays, values, strict=True):
        if value.type.WhichOneof("value") != "tensor_type":
            raise NotImplementedError(f"'{value.name}' is no tensor")
        if isinstance(array, onnx.TensorProto):
            found.append(array)
            continue
        array = np.asarray(array)
        tensor = numpy_helper.from_array(array) if array.dtype != object else onnx.TensorProto(data_type=8)
        if tensor.data_type != value.type.tensor_type.elem_type and tensor.data_type != 8:
            tensor.data_type = value.type.tensor_type.elem_type
        found.append(tensor)
    return found


def cases(kind: str = "node") -> list[Case]:
    """All of them that the installed onnx has: "node", or those in files, such as "pytorch-operator"."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of overflows in how ONNX computes what it expects
        loaded = load_model_tests(kind=kind)
    for case in loaded:
        model, sets = case.model, case.data_sets
        if case.model_dir is not None:
            model = onnx.load(Path(case.model_dir) / "model.onnx")
            sets = [
                tuple(
                    [_read(path) for path in sorted(folder.glob(f"{what}_*.pb"), key=_number)]
                    for what in ("input", "output")
                )
                for folder in sorted(Path(case.model_dir).glob("test_data_set_*"))
            ]
        found.append(Case(case.name.removeprefix("test_"), model, sets, case.rtol, case.atol))
    return found


def _number(path: Path) -> int:
    return int(path.stem.rpartition("_")[2])


def _read(path: Path) -> Any:
    return onnx.TensorProto.FromString(path.read_bytes())


def baked(model: Any, given: list[Any], names: set[str]) -> Any:
    """The model with some of its inputs as constants."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    for value, tensor in zip(inputs_of(model), given, strict=True):
        if value.name in names:
            constant = copied.graph.initializer.add()
            constant.CopyFrom(tensor)
            constant.name = value.name
    kept = [value for value in copied.graph.input if value.name not in names]
    del copied.graph.input[:]
    copied.graph.input.extend(kept)
    return copied


def run(case: Case, *, constant: bool = False) -> str:
    """Runs a case. Inputs that have to be constants are made so; `constant` makes all of them so.

    Returns:
        Which inputs were constants.

    Raises:
        NiwakiError: it is not supported.
        AssertionError: an answer is wrong.
    """
    for given, wanted in case.data():
        names = [value.name for value in inputs_of(case.model)]
        every = ("all", set(names))
        ways = [every] if constant else [("none", set[str]()), ("later", set(names[1:])), every]
        refused: Exception | None = None
        for how, chosen in ways:  # noqa: B007 (it is what is returned)
            try:
                module = from_onnx(baked(case.model, given, chosen))
            except NiwakiError as error:
                refused = refused or error
                continue
            break
        else:
            assert refused is not None
            raise refused
        tensors = [torch_of(tensor) for name, tensor in zip(names, given, strict=True) if name not in chosen]
        with torch.no_grad():
            found = module(*tensors)
        found = list(found) if isinstance(found, (tuple, list)) else [found]
        assert len(found) == len(wanted), f"{len(found)} outputs instead of {len(wanted)}"
        for index, (a, b) in enumerate(zip(found, wanted, strict=True)):
            compare(a, b, f"output {index} (constants: {how})", case)
    return how


def torch_of(tensor: Any) -> torch.Tensor:
    """A tensor of a file."""
    from niwaki.onnx.dtypes import from_numpy

    return from_numpy(numpy_helper.to_array(tensor), tensor.data_type)


def compare(found: torch.Tensor, wanted: Any, where: str, case: Case) -> None:
    """Raises AssertionError where an output is not what it is to be."""
    expected = torch_of(wanted)
    assert found.dtype == expected.dtype, f"{where}: {found.dtype} instead of {expected.dtype}"
    assert found.shape == expected.shape, f"{where}: {tuple(found.shape)} instead of {tuple(expected.shape)}"
    if expected.is_floating_point():
        a, b = found.detach().to(torch.float64).numpy(), expected.to(torch.float64).numpy()
        # Of half floats, sums in another order differ by a unit in the last place or two.
        rtol = max(case.rtol, 2 * torch.finfo(expected.dtype).eps)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=case.atol, err_msg=where)
    else:
        assert torch.equal(found, expected), f"{where}: {found.flatten()[:8]} instead of {expected.flatten()[:8]}"
