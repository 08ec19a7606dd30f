"""A network that is native as a whole: calls on arrays and tensors become runs of the core."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from niwaki import _core
from niwaki.runtime.arrays import Inputs, Library, run
from niwaki.runtime.described import Described
from niwaki.runtime.image import ImageConfig, image_of
from niwaki.runtime.signature import Signature, with_images
from niwaki.runtime.stream import Stream, streamed_graph, streamed_signature
from niwaki.runtime.threads import check_threads

if TYPE_CHECKING:
    from niwaki.runtime.plan import PlanStep


class Runner:
    """The sessions of a thread or stream, and what its last run took. The lock is for those who ask from elsewhere."""

    def __init__(self, models: Sequence[_core.Model | None], threads: int) -> None:
        self.models = models
        self.sessions = [None if model is None else _core.Session(model, threads) for model in models]
        self.milliseconds: list[float | None] = [None] * len(models)
        self.lock = threading.Lock()


class Network(Described):
    """A network that runs in int8 and float32. Made by `niwaki.compile` and `niwaki.load`.

    Called as the module was, by position or by name, it returns what the module returned, nested the same way. Sizes
    are free where `inputs` shows a name. Any number of threads may call it at once; each gets its own activations.

    It takes torch tensors, numpy arrays, and any tensor on the CPU that has DLPack. Results are torch tensors where an
    input is one, which carry no gradient, and numpy arrays otherwise. (A network without inputs gives torch tensors
    where torch is imported.) What is dense in memory is read where it lies; the rest is copied first.
    """

    def __init__(
        self,
        graph: _core.Graph,
        signature: Signature,
        *,
        threads: int | None = None,
        isa: str | None = None,
        source: str = "",
        shared: _core.SharedWeights | None = None,
    ) -> None:
        self._prepare([graph], signature, check_threads(threads), isa, source, shared)
        self._dtypes = [port["dtype"] for port in graph.output_ports]

    def _prepare(
        self,
        graphs: Sequence[_core.Graph | None],
        signature: Signature,
        threads: int,
        isa: str | None,
        source: str,
        shared: _core.SharedWeights | None,
    ) -> None:
        """Packs the graphs; None stands for a part that is none."""
        self._graphs = tuple(graphs)
        self._signature = signature
        self._threads = threads
        self._source = source
        self._models = [
            None if graph is None else _core.Model(graph, isa, threads=threads, shared=shared) for graph in graphs
        ]
        self._local = threading.local()
        self._last: Runner | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the network.

        Args:
            args, kwargs: like those that it was compiled with; tensors or arrays on the CPU with the same type and
                rank. Sizes that are free may differ. Where int32 is taken, so are uint8, int8 and int16, and where
                `inputs` shows how pixels become an input, so are these: uint8 [N, C, H, W].

        Returns:
            New tensors or arrays, nested like the module's results.

        Raises:
            TypeError: other arguments, or an array of another dtype.
            ValueError: a wrong rank, size or device, or an index outside of a table.
        """
        return self.run_in(self._runner(), args, kwargs)[0]

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of the entry points; empty for a network that is called itself."""
        return ()

    def __getitem__(self, name: str) -> Network:
        """An entry point, a network of its own. Raises KeyError where there is none of this name."""
        raise KeyError(f"the network has no entry points, and so no {name!r}; call it itself")

    def autotune(self, *args: Any, seconds: float = 1.0, **kwargs: Any) -> Network:
        """Times the kernels that each layer could have, here and now, and keeps the fastest.

        The results stay the same to the bit; the plan's reasons say what was measured. The choice belongs to this
        object: a file does not remember it, since it is another one on another machine.

        Args:
            args, kwargs: as for a call; kernels are chosen for the sizes of these inputs, on this network's threads.
            seconds: how long to measure, about, for each native part of the network: 0 to 600.

        Returns:
            This network.

        Raises:
            TypeError, ValueError: as for a call, or the batch is empty.
        """
        inputs = self._inputs(args, kwargs)
        model = _core.Model.autotuned(self.graph, inputs.shapes, self.isa, self._threads, seconds)
        self._models, self._last = [model], None
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
        network = self
        if piece is None:
            if not self.graph.states or along is not None or sizes:
                raise ValueError("say how many elements a piece has: stream(512). Files of streams alone know it.")
        else:
            graph = streamed_graph(self.graph, piece, along, sizes)
            signature = streamed_signature(self._signature, graph)
            network = Network(graph, signature, threads=self._threads, isa=self.isa, source=self._source)
        return Stream(network, network.new_runner(), tuple(state["name"] for state in network.graph.states))

    def new_runner(self) -> Runner:
        """Sessions of its own, for `Stream`."""
        return Runner(self._models, self._threads)

    def run_in(self, runner: Runner, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Library]:
        """Runs the network in sessions of a thread or a stream; the results, and whose arrays they are."""
        inputs = self._inputs(args, kwargs)
        with runner.lock:
            outputs = self._run(runner, inputs)
        if runner.models is self._models:  # else it was tuned meanwhile, and these times are those of other kernels
            self._last = runner
        return self._nested(inputs, outputs), inputs.results

    def save(self, path: str | os.PathLike[str], *, image: ImageConfig | None = None) -> None:
        """Writes the network into one .niwaki file, which runs on every CPU. It appears complete or not at all.

        Args:
            path: of the file.
            image: mean and std of the images that it was trained on; the network, here, in the file and in the C
                library, then takes uint8 pixels, too. By default what the network's file said, if it came from one.

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
        (graph,) = self._graphs
        assert graph is not None
        return graph

    def put_image(self, image: ImageConfig) -> None:
        """Makes the graph say how pixels become its input. Raises ValueError where no input is such an image."""
        self.graph.metadata = {**self.graph.metadata, **image.metadata(self.graph)}
        self._signature = with_images(self._signature, image_of(self.graph.metadata))

    def check_file(self, path: str | os.PathLike[str]) -> None:
        """Says whether `save` could write the network, before much is done to have it.

        Args:
            path: of the file, for the message.

        Raises:
            NiwakiError: it could not; see `save`.
        """
        self._signature.check_file(path)

    def check_native(self, path: str | os.PathLike[str]) -> None:
        """Says whether the graph is all of the network, for files that need no signature.

        Args:
            path: of the file, for the message.

        Raises:
            NiwakiError: a part of the network stays in torch.
        """

    def __repr__(self) -> str:
        ports = f"{', '.join(map(str, self.inputs))} -> {', '.join(self.outputs)}"
        return f"<niwaki.Network {self._source}: {ports}, {self.isa}{self._left_in_words()}>"

    def __reduce__(self) -> Any:
        raise TypeError(
            "a niwaki.Network can't be pickled or copied; save it to a file, or pass the compressed module."
        )

    def _inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
        return Inputs.checked(self._signature.tensors(args, kwargs), self._signature.inputs)

    def _run(self, runner: Runner, inputs: Inputs) -> list[Any]:
        """What the network makes of the inputs, as values behind them."""
        (session,) = runner.sessions
        assert session is not None
        return run(session, inputs, self._dtypes)

    def _nested(self, inputs: Inputs, outputs: Sequence[Any]) -> Any:
        """The results as the module nested them."""
        values = [*inputs.arrays, *outputs]
        return self._signature.rebuild(inputs.arrays, [values[number] for number in self._signature.results])

    def _runner(self) -> Runner:
        runner: Runner | None = getattr(self._local, "runner", None)
        if runner is None or runner.models is not self._models:
            runner = self._local.runner = self.new_runner()
        return runner

    def _whole(self) -> Network:
        return self

    def _chosen_isa(self) -> str:
        # A network whose quantized layers all run inside torch parts (a transformer's, say) has no model of its own.
        return next((model.isa for model in self._models if model is not None), _core.isa())

    def _steps(self) -> list[PlanStep]:
        runner = self._last or Runner([None] * len(self._models), self._threads)
        with runner.lock:
            return [step for index, model in enumerate(self._models) for step in self._steps_of(index, model, runner)]

    def _steps_of(self, index: int, model: _core.Model | None, runner: Runner) -> list[PlanStep]:
        """The steps of a part."""
        from niwaki.runtime.plan import native_steps  # not needed to run

        return [] if model is None else native_steps(model, runner.sessions[index])

    @property
    def _heading(self) -> str:
        return f"{self._source or 'network'} on {self.isa}, {self._threads} thread{'s' * (self._threads > 1)}"

    def _left_in_words(self) -> str:
        """What is left to say of it."""
        return ""
