"""A compiled network: calls on torch tensors become runs of the native core."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import torch

from niwaki import _core
from niwaki.errors import NiwakiError
from niwaki.lower.nodes import NARROW
from niwaki.lower.program import NativeStage, TorchStage
from niwaki.network.image import ImageConfig
from niwaki.network.plan import Plan, PlanStep
from niwaki.network.signature import DTYPES, InputInfo, Signature, SizeInfo
from niwaki.network.stream import Stream, stage_of, streamed_graph
from niwaki.network.unwritable import parts_in_torch, reasons_in_words


class _Runner:
    """The sessions of one thread, and what its last run took. The lock is for those who ask from another thread."""

    def __init__(self, models: Sequence[_core.Model | None], threads: int) -> None:
        self.models = models
        self.sessions = [None if model is None else _core.Session(model, threads) for model in models]
        self.milliseconds: list[float | None] = [None] * len(models)
        self.lock = threading.Lock()
        self.ran = False


class Network:
    """A network that runs in int8 and float32. Made by `niwaki.compile` and `niwaki.load`.

    Called as the module was, by position or by name, it returns what the module returned, nested the same way. Sizes
    are free where `inputs` shows a name. Results carry no gradient. Any number of threads may call it at once; each
    gets its own activations.
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
        self._signature = signature
        self._threads = check_threads(threads)
        self._source = source
        self._models = [
            _core.Model(stage.graph, isa, threads=self._threads, shared=shared)
            if isinstance(stage, NativeStage)
            else None
            for stage in self._stages
        ]
        self._local = threading.local()
        self._last: _Runner | None = None
        self._frees = _last_uses(self._stages, signature.results)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the network.

        Args:
            args, kwargs: like those that it was compiled with; tensors on the CPU with the same type and rank. Sizes
                that are free may differ. Where int32 is taken, so are uint8, int8 and int16.

        Returns:
            New tensors, nested like the module's results.

        Raises:
            TypeError: other arguments, or a tensor of another dtype.
            ValueError: a wrong rank, size or device, or an index outside of a table.
        """
        inputs = self._inputs(args, kwargs)
        runner = self._runner()
        values: dict[int, torch.Tensor] = dict(enumerate(inputs))
        with runner.lock, torch.no_grad():
            for index, stage in enumerate(self._stages):
                begin = time.perf_counter()
                arguments = [values[number] for number in stage.inputs]
                session = runner.sessions[index]
                outputs = stage.module(*arguments) if isinstance(stage, TorchStage) else _run(session, stage, arguments)
                runner.milliseconds[index] = (time.perf_counter() - begin) * 1e3
                values.update(zip(stage.outputs, outputs, strict=True))
                for number in self._frees[index]:
                    del values[number]
            runner.ran = True
        if runner.models is self._models:  # else it was tuned meanwhile, and these times are those of other kernels
            self._last = runner
        return self._signature.rebuild(inputs, [values[number] for number in self._signature.results])

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of the entry points; empty for a network that is called itself."""
        return ()

    def __getitem__(self, name: str) -> Network:
        """An entry point, a network of its own. Raises KeyError where there is none of this name."""
        raise KeyError(f"the network has no entry points, and so no {name!r}; call it itself")

    def _runner(self) -> _Runner:
        runner: _Runner | None = getattr(self._local, "runner", None)
        models = self._models
        if runner is None or runner.models is not models:
            runner = self._local.runner = _Runner(models, self._threads)
        return runner

    def autotune(self, *args: Any, seconds: float = 1.0, **kwargs: Any) -> Network:
        """Times the kernels that each layer could have, here and now, and keeps the fastest.

        The results stay the same to the bit; the plan's reasons say what was measured. The choice belongs to this
        object: a file does not remember it, since it is another one on another machine.

        Args:
            args, kwargs: as for a call; kernels are chosen for the sizes of these tensors, on this network's threads.
            seconds: how long to measure, about, for each native part of the network: 0 to 600.

        Returns:
            This network.

        Raises:
            TypeError, ValueError: as for a call, or the batch is empty.
        """
        inputs = self._inputs(args, kwargs)
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
                    outputs = [] if last else _run(_core.Session(model, self._threads), stage, arguments)
                values.update(zip(stage.outputs, outputs, strict=bool(outputs)))
        self._models, self._last = models, None
        return self

    def stream(self, piece: int | None = None, *, along: str | None = None, **sizes: int) -> Stream:
        """A stream: feeds a signal in pieces of one size, and keeps what the network needs of the past.

        Convolutions, pools and other windows along time keep their left context, recurrent layers their states, running
        sums their totals. The answers are to the bit those for the whole signal, whose length is a multiple of the
        piece.

        Args:
            piece: elements of a piece along time, of the size `along`; a multiple of all strides together. None where
                the network came from a file that `Stream.save` wrote.
            along: the free size along which the signal runs; needed where more than one is free beside the batch.
            sizes: what the other free sizes are; batch is 1 where it is not given.

        Raises:
            TypeError: piece is no int.
            ValueError: the sizes don't fit, or a layer, which the message names, needs what comes later in the signal
                (a convolution that is not causal, a mean over time, attention, a second direction).
            NiwakiError: a part of the network stays in torch.
        """
        if not self._stages or any(isinstance(stage, TorchStage) for stage in self._stages):
            left = [stage for stage in self._stages if isinstance(stage, TorchStage)]
            why = parts_in_torch([(stage.name, stage.reasons) for stage in left]) if left else "it computes nothing"
            raise NiwakiError(f"the network can't be streamed, because {why}")
        (stage,) = self._stages
        assert isinstance(stage, NativeStage)
        network = self
        if piece is None:
            if not stage.graph.states or along is not None or sizes:
                raise ValueError("say how many elements a piece has: stream(512). Files of streams alone know it.")
        else:
            graph = streamed_graph(stage.graph, piece, along, sizes)
            pieces, signature = stage_of(graph, stage, self._signature)
            network = Network([pieces], signature, threads=self._threads, isa=self.isa, source=self._source)
        (pieces_stage,) = network._stages
        assert isinstance(pieces_stage, NativeStage)
        states = tuple(state["name"] for state in pieces_stage.graph.states)
        return Stream(network, network.new_session(), states)

    def new_session(self) -> _core.Session:
        """A session of its own of a network that is native as a whole, for `Stream`."""
        (model,) = self._models
        assert model is not None
        return _core.Session(model, self._threads)

    def run_in(self, session: _core.Session, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs such a network in a session of the caller's, for `Stream`."""
        inputs = self._inputs(args, kwargs)
        (stage,) = self._stages
        assert isinstance(stage, NativeStage)
        values: dict[int, torch.Tensor] = dict(enumerate(inputs))
        outputs = _run(session, stage, [values[number] for number in stage.inputs])
        values.update(zip(stage.outputs, outputs, strict=True))
        return self._signature.rebuild(inputs, [values[number] for number in self._signature.results])

    def _inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
        found = self._signature.tensors(args, kwargs)
        inputs = [
            _check_input(tensor.detach(), info) for tensor, info in zip(found, self._signature.inputs, strict=True)
        ]
        if len(self._stages) != 1 or isinstance(self._stages[0], TorchStage):
            refusal = self._signature.refusal(inputs)  # else the core checks
            if refusal:
                raise ValueError(refusal)
        return inputs

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
    def inputs(self) -> tuple[InputInfo, ...]:
        """The inputs: name, dtype and dims. A dim is a number, or the name of a size that is free."""
        return self._signature.inputs

    @property
    def sizes(self) -> tuple[SizeInfo, ...]:
        """The free sizes of the inputs, with what they may be."""
        return self._signature.sizes

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
        return Plan(steps, self._heading)

    @property
    def _heading(self) -> str:
        return f"{self._source or 'network'} on {self.isa}, {self._threads} thread{'s' * (self._threads > 1)}"

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
        self.check_file(path)
        if image is not None:
            self.put_image(image)
        self.graph.save(os.fspath(path))

    @property
    def graph(self) -> _core.Graph:
        """What a file holds of a network that `check_file` lets pass."""
        (stage,) = self._stages
        assert isinstance(stage, NativeStage)
        return stage.graph

    def put_image(self, image: ImageConfig) -> None:
        """Makes the graph say how pixels become its input. Raises ValueError where no input is such an image."""
        self.graph.metadata = {**self.graph.metadata, **image.metadata(self.graph)}

    def check_file(self, path: str | os.PathLike[str]) -> None:
        """Says whether `save` could write the network, before much is done to have it.

        Args:
            path: of the file, for the message.

        Raises:
            NiwakiError: it could not; see `save`.
        """
        left = [stage for stage in self._stages if isinstance(stage, TorchStage)]
        if left:
            why = parts_in_torch([(stage.name, stage.reasons) for stage in left])
            raise NiwakiError(f"{os.fspath(path)}: not written, because {why}")
        if self._signature.result is None:
            raise NiwakiError(
                f"{os.fspath(path)}: not written, because the network returns a {self._signature.unnamed}, a type that "
                "files can't name. Return tensors in tuples, lists or dicts."
            )
        if not self._stages:
            raise NiwakiError(f"{os.fspath(path)}: not written, because the network computes nothing.")

    def __repr__(self) -> str:
        left = sum(isinstance(stage, TorchStage) for stage in self._stages)
        parts = f", {left} part{'s' * (left > 1)} in torch" if left else ""
        return (
            f"<niwaki.Network {self._source}: {', '.join(map(str, self.inputs))} -> {', '.join(self.outputs)}, "
            f"{self.isa}{parts}>"
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
    if info.dtype == torch.int32 and tensor.dtype in NARROW:
        tensor = tensor.to(torch.int32)
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
        raise ValueError(
            f"{where}: rank {info.rank} [{', '.join(map(str, info.dims))}] is expected, "
            f"not shape {tuple(tensor.shape)}."
        )
    return tensor


def _run(session: _core.Session | None, stage: NativeStage, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    assert session is not None
    dense = [tensor.contiguous() for tensor in inputs]
    shapes = [tuple(tensor.shape) for tensor in dense]
    outputs = [
        torch.empty(shape, dtype=DTYPES[port["dtype"]])
        for shape, port in zip(session.output_shapes(shapes), stage.graph.output_ports, strict=True)
    ]
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
    reason = reasons_in_words(stage.reasons)
    return PlanStep(stage.name, stage.op, "torch", "torch", 0.0, stage.bytes, milliseconds, reason)
