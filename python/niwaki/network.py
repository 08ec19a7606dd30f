"""A compiled network: calls on torch tensors become runs of the native core."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from niwaki import _core
from niwaki.errors import NiwakiError
from niwaki.image import ImageConfig
from niwaki.lower.program import InputInfo, NativeStage, TorchStage
from niwaki.lower.structure import Structure, flatten
from niwaki.plan import Plan, PlanStep

SIGNATURE = "signature"
"""The key of a file's metadata under which the nesting of arguments and results lies, as JSON."""


_MOST = 6  # of a kind in a message


@dataclass(frozen=True)
class Signature:
    """How a network is called.

    Attributes:
        inputs: what each input must be.
        outputs: names of the results.
        results: the numbers of the values that the results are; see NativeStage.
        arguments: how the arguments are nested.
        result: how the results are nested, for files; None where a type is involved that a file can't name.
        rebuild: makes the nested results of (inputs, outputs).
        unnamed: the type that a file can't name, if any.
    """

    inputs: tuple[InputInfo, ...]
    outputs: tuple[str, ...]
    results: tuple[int, ...]
    arguments: Structure
    result: Structure | None
    rebuild: Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor]], Any]
    unnamed: str = ""

    def to_json(self) -> str:
        """What a file keeps of it."""
        inputs = [{"name": info.name, "rank": info.rank, "channels": info.channels} for info in self.inputs]
        return json.dumps(
            {"inputs": inputs, "outputs": self.outputs, "arguments": self.arguments, "result": self.result}
        )


class _Runner:
    """The sessions of one thread, and what its last run took. The lock is for those who ask from another thread."""

    def __init__(self, models: Sequence[_core.Model | None], threads: int) -> None:
        self.models = models
        self.sessions = [None if model is None else _core.Session(model, threads) for model in models]
        self.milliseconds: list[float | None] = [None] * len(models)
        self.lock = threading.Lock()
        self.ran = False


class Network:
    """A network that runs in int8. Made by `niwaki.compile` and `niwaki.load`.

    Called with tensors as the module was, it returns what the module returned, nested the same way. Batch and image
    sizes are free. Results carry no gradient. Any number of threads may call it at once; each gets its own activations.
    """

    def __init__(
        self,
        stages: Sequence[NativeStage | TorchStage],
        signature: Signature,
        *,
        threads: int | None = None,
        isa: str | None = None,
        source: str = "",
    ) -> None:
        self._stages = tuple(stages)
        self._signature = signature
        self._threads = check_threads(threads)
        self._source = source
        self._models = [
            _core.Model(stage.graph, isa, threads=self._threads) if isinstance(stage, NativeStage) else None
            for stage in self._stages
        ]
        self._local = threading.local()
        self._last: _Runner | None = None
        self._frees = _last_uses(self._stages, signature.results)

    def __call__(self, *args: Any) -> Any:
        """Runs the network.

        Args:
            args: like the `args` that it was compiled with; tensors on the CPU with the same type, rank and channels.
                Batch and image sizes may differ.

        Returns:
            New tensors, nested like the module's results.

        Raises:
            TypeError: another number of arguments, or something that is no float32 tensor.
            ValueError: a wrong rank, number of channels or device, or an image that is too small for a layer.
        """
        found = flatten(self._signature.arguments, args)
        inputs = [_check_input(found[index].detach(), info) for index, info in enumerate(self._signature.inputs)]
        self._check_sizes(inputs)
        runner = self._runner()
        values: dict[int, torch.Tensor] = dict(enumerate(inputs))
        with runner.lock, torch.no_grad():
            for index, stage in enumerate(self._stages):
                begin = time.perf_counter()
                arguments = [values[number] for number in stage.inputs]
                session = runner.sessions[index]
                outputs = stage.module(*arguments) if isinstance(stage, TorchStage) else _run(session, arguments)
                runner.milliseconds[index] = (time.perf_counter() - begin) * 1e3
                values.update(zip(stage.outputs, outputs, strict=True))
                for number in self._frees[index]:
                    del values[number]
            runner.ran = True
        if runner.models is self._models:  # else it was tuned meanwhile, and these times are those of other kernels
            self._last = runner
        return self._signature.rebuild(inputs, [values[number] for number in self._signature.results])

    def _runner(self) -> _Runner:
        runner: _Runner | None = getattr(self._local, "runner", None)
        models = self._models
        if runner is None or runner.models is not models:
            runner = self._local.runner = _Runner(models, self._threads)
        return runner

    def autotune(self, *args: Any, seconds: float = 1.0) -> Network:
        """Times the kernels that each layer could have, here and now, and keeps the fastest.

        The results stay the same to the bit; the plan's reasons say what was measured. The choice belongs to this
        object: a file does not remember it, since it is another one on another machine.

        Args:
            args: as for a call; kernels are chosen for the batch and image sizes of these tensors, on this network's
                threads.
            seconds: how long to measure, about, for each native part of the network: 0 to 600.

        Returns:
            This network.

        Raises:
            TypeError, ValueError: as for a call, or the batch is empty.
        """
        found = flatten(self._signature.arguments, args)
        inputs = [_check_input(found[index].detach(), info) for index, info in enumerate(self._signature.inputs)]
        self._check_sizes(inputs)
        values: dict[int, torch.Tensor] = dict(enumerate(inputs))
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
                    outputs = [] if last else _run(_core.Session(model, self._threads), arguments)
                values.update(zip(stage.outputs, outputs, strict=bool(outputs)))
        self._models, self._last = models, None
        return self

    def _check_sizes(self, inputs: Sequence[torch.Tensor]) -> None:
        sized = next((stage for stage in self._stages if isinstance(stage, TorchStage) and stage.sized), None)
        if sized is None:
            return
        for tensor, info in zip(inputs, self._signature.inputs, strict=True):
            if tuple(tensor.shape) != info.shape:
                raise ValueError(
                    f"input '{info.name}': shape {tuple(tensor.shape)}, but {sized.sized} in '{sized.name}' stays in "
                    f"torch with the sizes of {info.shape}. Compile the network for the new shape."
                )

    @property
    def threads(self) -> int:
        """Threads that work on a call, the caller included."""
        return self._threads

    @property
    def isa(self) -> str:
        """The instruction set that its kernels were chosen for."""
        # A network whose quantized layers all run inside torch parts (a transformer's, say) has no model of its own.
        return next((model.isa for model in self._models if model is not None), _core.isa())

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(info.name for info in self._signature.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the results."""
        return self._signature.outputs

    @property
    def plan(self) -> Plan:
        """What runs, with the times of the last call on any thread."""
        steps: list[PlanStep] = []
        runner = self._last
        if runner is None:
            runner = _Runner([None] * len(self._models), self._threads)
        with runner.lock:
            for index, (stage, model) in enumerate(zip(self._stages, self._models, strict=True)):
                if isinstance(stage, TorchStage):
                    steps.append(_torch_step(stage, runner.milliseconds[index]))
                elif model is not None:
                    steps += _native_steps(model, runner.sessions[index])
        heading = f"{self._source or 'network'} on {self.isa}, {self._threads} thread{'s' * (self._threads > 1)}"
        return Plan(steps, heading)

    def save(self, path: str | os.PathLike[str], *, image: ImageConfig | None = None) -> None:
        """Writes the network into one .niwaki file, which runs on every CPU. It appears complete or not at all.

        Args:
            path: of the file.
            image: mean and std of the images that it was trained on; programs may then hand uint8 pixels to the C
                library. By default what the network's file said, if it came from one.

        Raises:
            ValueError: image is for another number of channels than the network's images have.
            NiwakiError: a part of the network stays in torch (the message names the parts), results have a type that a
                file can't name, or the file can't be written.
        """
        left = [stage for stage in self._stages if isinstance(stage, TorchStage)]
        if left:
            parts = "; ".join(f"'{stage.name}' ({_words(stage.reasons)})" for stage in left[:4])
            more = f"; and {len(left) - 4} more" if len(left) > 4 else ""
            raise NiwakiError(
                f"{os.fspath(path)}: not written, because a file holds native operators only and these stay in "
                f"torch: {parts}{more}."
            )
        if self._signature.result is None:
            raise NiwakiError(
                f"{os.fspath(path)}: not written, because the network returns a {self._signature.unnamed}, a type that "
                "files can't name. Return tensors in tuples, lists or dicts."
            )
        (stage,) = self._stages
        assert isinstance(stage, NativeStage)
        if image is not None:
            stage.graph.metadata = {**stage.graph.metadata, **image.metadata(stage.graph)}
        stage.graph.save(os.fspath(path))

    def __repr__(self) -> str:
        left = sum(isinstance(stage, TorchStage) for stage in self._stages)
        parts = f", {left} part{'s' * (left > 1)} in torch" if left else ""
        return (
            f"<niwaki.Network {self._source}: {', '.join(self.inputs)} -> {', '.join(self.outputs)}, {self.isa}{parts}>"
        )

    def __reduce__(self) -> Any:
        raise TypeError(
            "a niwaki.Network can't be pickled or copied; save it to a file, or pass the compressed module."
        )


def check_threads(threads: int | None) -> int:
    """The number of threads: torch's own where none is given."""
    if threads is None:
        return torch.get_num_threads()
    if isinstance(threads, bool) or not isinstance(threads, int):
        raise TypeError(f"threads must be an int or None, not {type(threads).__name__}.")
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}.")
    return threads


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


def _check_input(tensor: torch.Tensor, info: InputInfo) -> torch.Tensor:
    where = f"input '{info.name}'"
    if tensor.dtype != info.dtype:
        wanted, found = (str(dtype).removeprefix("torch.") for dtype in (info.dtype, tensor.dtype))
        raise TypeError(f"{where}: {wanted} is expected, not {found}; convert it with .to(torch.{wanted}).")
    if tensor.device.type != "cpu":
        raise ValueError(f"{where}: it is on {tensor.device}, but niwaki runs on the CPU; pass it as .cpu().")
    if tensor.layout is not torch.strided:
        raise ValueError(
            f"{where}: a dense tensor is expected, not one with layout {tensor.layout}; pass it as .to_dense()."
        )
    if tensor.dim() != info.rank:
        names = {2: " [N, C]", 4: " [N, C, H, W]"}.get(info.rank, "")
        raise ValueError(f"{where}: rank {info.rank}{names} is expected, not shape {tuple(tensor.shape)}.")
    if info.channels is not None and tensor.shape[1] != info.channels:
        raise ValueError(
            f"{where}: {info.channels} channels are expected in dimension 1, not shape {tuple(tensor.shape)}."
        )
    return tensor


def _run(session: _core.Session | None, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    assert session is not None
    dense = [tensor.contiguous() for tensor in inputs]
    shapes = [tuple(tensor.shape) for tensor in dense]
    outputs = [torch.empty(shape, dtype=torch.float32) for shape in session.output_shapes(shapes)]
    session.run(
        [(tensor.data_ptr(), shape) for tensor, shape in zip(dense, shapes, strict=True)],
        [tensor.data_ptr() for tensor in outputs],
    )
    return outputs


def _native_steps(model: _core.Model, session: _core.Session | None) -> list[PlanStep]:
    steps = model.steps()
    times: Sequence[float | None] = session.profile() if session is not None else [None] * len(steps)
    macs = session.macs() if session is not None else [0] * len(steps)
    return [
        PlanStep(
            name=step["name"],
            op=step["op"],
            scheme=step["scheme"],
            kernel=step["kernel"],
            zeros=step["zeros"],
            bytes=step["bytes"],
            milliseconds=milliseconds,
            reason=step["reason"],
            macs=count,
        )
        for step, milliseconds, count in zip(steps, times, macs, strict=True)
    ]


def _torch_step(stage: TorchStage, milliseconds: float | None) -> PlanStep:
    reason = _words(stage.reasons)
    return PlanStep(stage.name, stage.op, "torch", "torch", 0.0, stage.bytes, milliseconds, reason)


def _words(reasons: Sequence[str]) -> str:
    """The reasons in one line; operators with the same one are named together."""
    operators: dict[str, list[str]] = {}
    for reason in reasons:
        operator, _, why = reason.partition(" ")
        operators.setdefault(why, []).append(operator)
    parts = []
    for why, names in operators.items():
        shown = ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
        parts.append(f"{shown} {why.replace('is not', 'are not', 1) if len(names) > 1 else why}")
    return "; ".join(parts[:_MOST]) + (f"; and {len(parts) - _MOST} more" if len(parts) > _MOST else "")
