"""A network some parts of which stay in torch: native parts and torch's, one after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, NoReturn

import torch

from niwaki import _core
from niwaki.errors import NiwakiError, first_sentence
from niwaki.lower.program import NativeStage, TorchStage
from niwaki.network.unwritable import parts_in_torch, reasons_in_words
from niwaki.runtime.arrays import DTYPES, NUMPY, Inputs, is_torch, plain_array, run
from niwaki.runtime.network import Network, Runner
from niwaki.runtime.plan import PlanStep
from niwaki.runtime.signature import InputInfo, Signature
from niwaki.runtime.threads import check_threads
from niwaki.runtime.torch_tensors import TORCH


class MixedNetwork(Network):
    """A network of stages, which are native or torch's. It has no file.

    Args:
        stages: in the order in which they run; of one that is native alone, `Network` is made.
    """

    def __init__(
        self,
        stages: Sequence[NativeStage | TorchStage],
        signature: Signature,
        *,
        threads: int | None = None,
        isa: str | None = None,
        source: str = "",
        shared: _core.SharedWeights | None = None,
    ) -> None:
        self._stages = tuple(stages)
        graphs = [stage.graph if isinstance(stage, NativeStage) else None for stage in self._stages]
        self._prepare(graphs, signature, check_threads(threads), isa, source, shared)
        self._dtypes_of = [[] if graph is None else [port["dtype"] for port in graph.output_ports] for graph in graphs]
        self._frees = _last_uses(self._stages, signature.results)

    def autotune(self, *args: Any, seconds: float = 1.0, **kwargs: Any) -> Network:
        values = dict(enumerate(self._inputs(args, kwargs).arrays))
        models: list[_core.Model | None] = []
        with torch.no_grad():
            for index, stage in enumerate(self._stages):
                arguments = [values[number] for number in stage.inputs]
                if isinstance(stage, TorchStage):
                    models.append(None)
                    outputs = stage.module(*arguments)
                else:
                    shapes = [tuple(tensor.shape) for tensor in arguments]
                    model = _core.Model.autotuned(stage.graph, shapes, self.isa, self._threads, seconds)
                    models.append(model)
                    last = index == len(self._stages) - 1
                    session = _core.Session(model, self._threads)
                    outputs = [] if last else run(session, Inputs.of(TORCH, arguments), self._dtypes_of[index])
                values.update(zip(stage.outputs, outputs, strict=bool(outputs)))
        self._models, self._last = models, None
        return self

    def stream(self, piece: int | None = None, *, along: str | None = None, **sizes: int) -> NoReturn:
        raise NiwakiError(f"the network can't be streamed, because {self._why_no_file()}")

    def check_native(self, path: str | os.PathLike[str]) -> None:
        raise NiwakiError(f"{os.fspath(path)}: not written, because {self._why_no_file('the network')}")

    def check_file(self, path: str | os.PathLike[str]) -> None:
        if not self._left():
            super().check_file(path)
        raise NiwakiError(f"{os.fspath(path)}: not written, because {self._why_no_file('the network')}")

    def _left(self) -> list[TorchStage]:
        return [stage for stage in self._stages if isinstance(stage, TorchStage)]

    def _why_no_file(self, it: str = "it") -> str:
        left = [(stage.name, stage.reasons) for stage in self._left()]
        return parts_in_torch(left) if left else f"{it} computes nothing."

    def _inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
        """All as torch's tensors, which its parts want; the results are of the library that the caller has."""
        values = self._signature.tensors(args, kwargs)
        infos = self._signature.inputs
        inputs = Inputs.of(TORCH, [_tensor(value, info) for value, info in zip(values, infos, strict=True)])
        if values and not any(map(is_torch, values)):
            inputs.results = NUMPY
        refusal = self._signature.refusal(inputs.arrays)
        if refusal:
            raise ValueError(refusal)
        return inputs

    def _run(self, runner: Runner, inputs: Inputs) -> list[Any]:
        values: dict[int, torch.Tensor] = dict(enumerate(inputs.arrays))
        with torch.no_grad():
            for index, stage in enumerate(self._stages):
                begin = time.perf_counter()
                arguments = [values[number] for number in stage.inputs]
                session = runner.sessions[index]
                if isinstance(stage, TorchStage):
                    outputs = stage.module(*arguments)
                else:
                    assert session is not None
                    outputs = run(session, Inputs.of(TORCH, arguments), self._dtypes_of[index])
                runner.milliseconds[index] = (time.perf_counter() - begin) * 1e3
                values.update(zip(stage.outputs, outputs, strict=True))
                for number in self._frees[index]:
                    del values[number]
        made = range(len(inputs.arrays), max((*values, len(inputs.arrays))) + 1)
        return [values.get(number) for number in made]

    def _nested(self, inputs: Inputs, outputs: Sequence[Any]) -> Any:
        if inputs.results is NUMPY:
            inputs.arrays = [_array(tensor) for tensor in inputs.arrays]
            outputs = [None if tensor is None else _array(tensor) for tensor in outputs]
        return super()._nested(inputs, outputs)

    def _steps_of(self, index: int, model: _core.Model | None, runner: Runner) -> list[PlanStep]:
        stage = self._stages[index]
        if isinstance(stage, NativeStage):
            return super()._steps_of(index, model, runner)
        reason = reasons_in_words(stage.reasons)
        return [PlanStep(stage.name, stage.op, "torch", "torch", 0.0, stage.bytes, runner.milliseconds[index], reason)]

    def _left_in_words(self) -> str:
        left = len(self._left())
        return f", {left} part{'s' * (left > 1)} in torch" if left else ""


def _last_uses(stages: Sequence[NativeStage | TorchStage], results: Sequence[int]) -> list[list[int]]:
    """For each stage the values that nothing needs after it."""
    last: dict[int, int] = {}
    for index, stage in enumerate(stages):
        last.update((number, index) for number in (*stage.inputs, *stage.outputs))
    frees: list[list[int]] = [[] for _ in stages]
    for number, index in last.items():
        if number not in results:
            frees[index].append(number)
    return frees


def _tensor(value: Any, info: InputInfo) -> torch.Tensor:
    """An input of any library, checked, as a tensor that shares its memory where torch can."""
    if not is_torch(value):
        array = NUMPY.check(value, info) if info.dtype in DTYPES else plain_array(value, info)
        writable = array.flags.writeable and min(array.strides, default=0) >= 0  # torch has no other arrays
        try:
            value = torch.from_numpy(array if writable else array.copy())
        except TypeError as error:
            raise TypeError(f"input '{info.name}': {first_sentence(error)}.") from None
    tensor: torch.Tensor = TORCH.check(value, info)
    return tensor


def _array(tensor: torch.Tensor) -> Any:
    """A result for callers who have no torch tensors."""
    try:
        return tensor.numpy()
    except TypeError as error:
        raise TypeError(f"a result is {tensor.dtype}, which numpy does not have; give inputs as tensors.") from error
