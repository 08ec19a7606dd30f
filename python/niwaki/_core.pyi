"""The native core, as the binding shows it. Arrays are numpy, C-contiguous; nothing here knows torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

__version__: str

class NiwakiError(Exception):
    """What the core could not do: a bad file, an unsupported request. Bad arguments are ValueError or TypeError."""

def isa() -> str:
    """The instruction set in force: NIWAKI_ISA, or the best of this machine.

    Raises ValueError for a name that is unknown or that this machine can't run.
    """

def isas() -> list[str]:
    """The instruction sets that this machine can run, in rising order, beginning with 'scalar'."""

def cpu_name() -> str: ...

class Graph:
    """A network as docs/architecture.md describes it. Values are numbered in the order in which they are added."""

    def __init__(self) -> None: ...
    def add_input(self, name: str, channels: int, rank: int, expected_height: int = 0, expected_width: int = 0) -> int:
        """A float32 input, [N, channels, H, W] (rank 4) or [N, channels] (rank 2). Returns its value.

        The expected image size is a hint by which kernels are chosen (0: unknown); every size works.
        """

    def add_node(
        self,
        op: str,
        name: str,
        inputs: Sequence[int],
        attributes: Mapping[str, int | Sequence[int]],
        tensors: Mapping[str, NDArray[Any]],
        scale: float | None,
        zero_point: int | None,
    ) -> int:
        """Adds an operator; returns the value it makes: uint8 with scale and zero_point, float32 where they are None.

        `name` is the layer's name as people know it, for plans and messages. Raises ValueError, naming the node, for
        what the operator does not allow.
        """

    def add_output(self, value: int, name: str) -> None:
        """Marks a float32 value as an output."""

    @property
    def inputs(self) -> list[str]: ...
    @property
    def outputs(self) -> list[str]: ...
    @property
    def input_shapes(self) -> list[tuple[int | None, ...]]:
        """The shape of each input, (None, channels, None, None) or (None, channels): None where any size will do."""
    @property
    def output_values(self) -> list[int]:
        """The value that each output is."""
    metadata: dict[str, str]
    """Words that travel in the file: what made it, the source network, ..."""

    def nodes(self) -> list[dict[str, Any]]:
        """What there is of each node.

        Keys: op, name, inputs, output, attributes, scale, zero_point, and tensors: {name: {dtype, shape, zeros, bytes,
        form}}.
        """

    def save(self, path: str) -> None:
        """Writes a .niwaki file; it appears complete, by rename, or not at all."""

    @staticmethod
    def load(path: str) -> Graph: ...

class Model:
    """Weights packed for this machine. Immutable; sessions on any thread share it."""

    def __init__(self, graph: Graph, isa: str | None = None, kind: str = "automatic", threads: int = 1) -> None:
        """Packs a graph, as many of its layers at a time as there are threads.

        isa: None for the one in force. kind: 'automatic', 'dense' or 'sparse' forces the kernels of convolutions, for
        tests and benches.
        """

    @staticmethod
    def autotuned(
        graph: Graph,
        shapes: Sequence[tuple[int, ...]],
        isa: str | None = None,
        threads: int = 1,
        seconds: float = 1.0,
    ) -> Model:
        """A model whose layers have the kernels that were the fastest, for inputs of these shapes on this many threads.

        Takes about `seconds` (0 to 600); results are those of any other model of the graph. Raises ValueError for
        shapes that the network can't take, and for an empty batch.
        """

    @property
    def isa(self) -> str: ...
    def steps(self) -> list[dict[str, Any]]:
        """What runs, after fusion.

        Keys: name, op, fused (names), scheme ('int8', 'sparse int8' or 'float32'), kernel, zeros (0..1), bytes, reason.
        """

class Session:
    """Runs a model. Belongs to one thread at a time; releases the GIL while it runs."""

    def __init__(self, model: Model, threads: int = 1) -> None: ...
    def run(self, inputs: Sequence[tuple[int, tuple[int, ...]]], outputs: Sequence[int]) -> None:
        """Runs the model once.

        inputs: (address, shape) of contiguous float32 arrays in the model's order. outputs: addresses of arrays of the
        shapes that output_shapes gives.
        """

    def output_shapes(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Shapes of the outputs for inputs of these shapes.

        Raises ValueError, naming the layer, for shapes the network cannot take.
        """

    def profile(self) -> list[float]:
        """Milliseconds that each step of Model.steps() took in the last run."""

    def macs(self) -> list[int]:
        """Multiply-accumulates of each step at the shapes of the last run, zeros counted in; 0 where there are none."""

    @property
    def activation_bytes(self) -> int:
        """Memory planned for activations and scratch at the last shapes."""

def inspect_file(path: str) -> tuple[Graph, dict[str, Any], list[dict[str, Any]]]:
    """A file's graph, what the file says of itself, and its nodes as they are stored. Nothing is packed or run.

    The second has the keys version, bytes, graph_bytes, table_bytes, and checksums: {header, graph, table}. The third
    is like Graph.nodes(), with bytes and form as they are in the file, and offset and checksum besides. Checksums are
    CRC-32C, eight hexadecimal digits; all of them were found right.
    """

def stored_weight(weight: NDArray[Any]) -> tuple[int, str]:
    """Bytes that an int8 weight takes in a file, and in which form: 'dense', 'block mask, huffman' and so on."""

def int8_limit(seconds: float = 0.05) -> float:
    """Multiply-accumulates a second that one core reaches on the int8 instruction of the set in force, operands in
    registers.
    """
