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
def operators() -> list[dict[str, Any]]:
    """The table of operators.

    Keys: name, summary, inputs ({name, dtypes, min_rank, max_rank, optional}), repeats_input, keeps_scale, attributes
    ({name, kind: 'integers', 'expressions', 'numbers' or 'word', count, low, high, words, required, default}), tensors
    ({name, dtypes, rank, optional}) and more_tensors: what is to say of tensors whose number the attributes give.
    """

class Dim:
    """A size as an expression of the free sizes of a graph's inputs: from Graph.add_size, and by arithmetic."""

    @property
    def constant(self) -> int | None:
        """The number that it is whatever the free sizes are, or None."""
    @staticmethod
    def max(a: int | Dim, b: int | Dim) -> Dim: ...
    @staticmethod
    def min(a: int | Dim, b: int | Dim) -> Dim: ...
    def __add__(self, other: int | Dim) -> Dim: ...
    def __radd__(self, other: int | Dim) -> Dim: ...
    def __sub__(self, other: int | Dim) -> Dim: ...
    def __rsub__(self, other: int | Dim) -> Dim: ...
    def __mul__(self, other: int | Dim) -> Dim: ...
    def __rmul__(self, other: int | Dim) -> Dim: ...
    def __floordiv__(self, other: int | Dim) -> Dim: ...
    def __rfloordiv__(self, other: int | Dim) -> Dim: ...
    def __mod__(self, other: int | Dim) -> Dim: ...
    def __rmod__(self, other: int | Dim) -> Dim: ...
    def __neg__(self) -> Dim: ...
    def __eq__(self, other: object) -> bool:
        """Whether it is written the same way; expressions that are written differently may be equal."""
    def __hash__(self) -> int: ...

class Graph:
    """A network as docs/architecture.md describes it. Values are numbered in the order in which they are added."""

    def __init__(self) -> None: ...
    def add_size(self, name: str, low: int = 0, high: int = 2**63 - 1, hint: int = 0) -> Dim:
        """A free size of the inputs, from low to high. hint: what is expected (0: unknown); it chooses kernels."""
    def add_input(self, name: str, dtype: str, dims: Sequence[int | Dim]) -> int:
        """An input of float32, int64, int32 or bool. Returns its value."""
    def add_state(self, name: str, initial: NDArray[Any]) -> int:
        """A value that a session keeps from run to run, until set_state says what it becomes. Returns its value."""
    def set_state(self, value: int, next: int) -> None:
        """After a run the state is what `next` was in it; of the same dtype and shape."""
    def add_guard(self, cases: Sequence[Sequence[tuple[int | Dim, str, int | Dim]]], message: str) -> None:
        """A condition on the sizes: any of the cases holds, all of its comparisons (==, !=, <, <=) do.

        message: one sentence for those who call with other sizes.
        """
    def add_node(
        self,
        op: str,
        name: str,
        inputs: Sequence[int],
        attributes: Mapping[str, int | float | str | Dim | Sequence[int | Dim] | Sequence[float]] = ...,
        tensors: Mapping[str, NDArray[Any]] = ...,
        quantizations: Sequence[tuple[float, int] | None] = ...,
    ) -> list[int]:
        """Adds an operator; returns the values it makes.

        quantizations: (scale, zero point) of each output that is uint8, None for others; left out, none is. An input of
        -1 is an optional one that is not given. `name` is the layer's name as people know it, for plans and messages.
        Raises ValueError, naming the node, for what the operator does not allow.
        """

    def add_output(self, value: int, name: str) -> None:
        """Marks a value that is not uint8 as an output."""

    @property
    def inputs(self) -> list[str]: ...
    @property
    def outputs(self) -> list[str]: ...
    @property
    def input_ports(self) -> list[dict[str, Any]]:
        """Of each input: name, value, dtype, and dims: a number, an expression as text, or None where it is unknown."""
    @property
    def output_ports(self) -> list[dict[str, Any]]:
        """The same of each output."""
    @property
    def sizes(self) -> list[dict[str, Any]]:
        """Of each free size: name, low, high, hint."""
    @property
    def guards(self) -> list[dict[str, Any]]:
        """Of each guard: message, cases: the comparisons as text, and trees: the same as (left, relation, right)."""
    @property
    def states(self) -> list[dict[str, Any]]:
        """Of each state: name, dtype, shape."""
    def infer(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Shapes of the outputs for inputs of these shapes.

        Raises ValueError, naming the input, the dim or the layer, for shapes the network cannot take.
        """
    def streamed(self, along: str, piece: int, others: Mapping[str, int] = ...) -> Graph:
        """The same network for pieces of a signal, with what it needs of the past as states.

        along: the free size along time. others: what the other free sizes are. Raises ValueError, naming the layer, for
        what looks ahead or at the whole signal.
        """
    metadata: dict[str, str]
    """Words that travel in the file: what made it, the source network, ..."""

    def nodes(self, *, trees: bool = False) -> list[dict[str, Any]]:
        """What there is of each node.

        Keys: op, name, inputs, outputs, attributes, quantizations and dtypes of the outputs, and tensors:
        {name: {dtype, shape, zeros, bytes, form}}. Attributes are lists, expressions in them text. With trees they are
        ("size", number of the free size), or ("+", left, right) with +, -, *, //, %, min or max.
        """

    def values(self) -> list[dict[str, Any]]:
        """Of each value: dtype, quantization, and dims: numbers, None where they are not known, or trees as above."""

    def tensor(self, node: int, name: str) -> NDArray[Any]:
        """A copy of a node's tensor. Raises ValueError where there is no such node or tensor."""

    def save(self, path: str) -> None:
        """Writes a .niwaki file; it appears complete, by rename, or not at all."""

    @staticmethod
    def load(path: str) -> Graph:
        """The only entry of a file. Raises NiwakiError where it has several: see load_entries."""

class SharedWeights:
    """Packed layers and constants that models have in common which are given the same one."""

    def __init__(self) -> None: ...

class Model:
    """Weights packed for this machine. Immutable; sessions on any thread share it."""

    def __init__(
        self,
        graph: Graph,
        isa: str | None = None,
        kind: str = "automatic",
        threads: int = 1,
        shared: SharedWeights | None = None,
    ) -> None:
        """Packs a graph, as many of its layers at a time as there are threads.

        Models that are given the same SharedWeights have layers and constants in common that are alike to the last bit:
        the same tensor in memory (see share_tensors), name, scales, layout and kernel.

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

        Keys: name, op, fused (names), scheme ('int8', 'sparse int8', 'float32', 'move' or 'constant'), kernel, zeros
        (0..1), bytes, reason.
        """

class Session:
    """Runs a model. Belongs to one thread at a time; releases the GIL while it runs."""

    def __init__(self, model: Model, threads: int = 1) -> None: ...
    def run(self, inputs: Sequence[tuple[int, tuple[int, ...]]], outputs: Sequence[int]) -> None:
        """Runs the model once.

        inputs: (address, shape) of contiguous arrays of the ports' dtypes in the model's order. outputs: addresses of
        arrays of the ports' dtypes and the shapes that output_shapes gives; they may not overlap anything else.
        """

    def output_shapes(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Shapes of the outputs for inputs of these shapes.

        Raises ValueError, naming the layer, for shapes the network cannot take.
        """

    def profile(self) -> list[float]:
        """Milliseconds that each step of Model.steps() took in the last run."""

    def measure_waits(self, on: bool = True) -> None:
        """Whether runs from the next on measure where threads wait: two looks at the clock for each loop and thread."""

    def waits(self) -> list[tuple[float, float, float]]:
        """Of each step in the last run, milliseconds of all threads added up: while one worked alone, before threads
        had their first task of a loop, and after their last one. Zeros where waits were not measured."""

    def macs(self) -> list[int]:
        """Multiply-accumulates of each step at the shapes of the last run, zeros counted in; 0 where there are none."""

    @property
    def activation_bytes(self) -> int:
        """Memory planned for activations and scratch at the last shapes."""
    def reset_state(self) -> None:
        """All states begin anew."""
    def get_state(self, name: str) -> NDArray[Any]:
        """A copy of a state. Raises ValueError for an unknown name."""
    def set_state(self, name: str, value: NDArray[Any]) -> None:
        """Raises ValueError for an unknown name, another dtype or another shape."""

def inspect_file(path: str) -> tuple[list[tuple[str, Graph, list[dict[str, Any]]]], dict[str, Any]]:
    """A file's entries, each with its name, graph and nodes as they are stored; and what the file says of itself.

    Nothing is packed or run. The nodes are like Graph.nodes(), with bytes and form as they are in the file, and offset
    and checksum besides. The dict has the keys version, bytes, graph_bytes, table_bytes, and checksums: {header, graph,
    table}. Checksums are CRC-32C, eight hexadecimal digits; all of them were found right.
    """

def load_entries(path: str) -> list[tuple[str, Graph]]:
    """The entry points of a file, with their names; in most files one, whose name is empty."""

def save_entries(entries: Sequence[tuple[str, Graph]], path: str) -> None:
    """Writes entry points with names into one file, in which tensors that are equal lie once.

    Raises ValueError for a name that is missing or given twice, and for more than 16 entries.
    """

def image_words(metadata: Mapping[str, str]) -> tuple[list[float], list[float]] | None:
    """Mean and std of each channel of images, float32 numbers, as the C library reads them in a file's metadata.

    None where it says nothing of images. Raises NiwakiError where it is no such numbers.
    """

def share_tensors(graphs: Sequence[Graph]) -> None:
    """Makes tensors of different graphs that are equal one tensor in memory."""

def stored_weight(weight: NDArray[Any]) -> tuple[int, str]:
    """Bytes that an int8 weight takes in a file, and in which form: 'dense', 'block mask, huffman' and so on."""

def int8_limit(seconds: float = 0.05) -> float:
    """Multiply-accumulates a second that one core reaches on the int8 instruction of the set in force, operands in
    registers.
    """
