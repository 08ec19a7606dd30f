"""niwaki.compile, load and save: between modules, networks and files."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from niwaki import _core
from niwaki._version import __version__
from niwaki.capture import capture
from niwaki.errors import NiwakiError
from niwaki.image import ImageConfig
from niwaki.lower.program import InputInfo, NativeStage, Program, build_program
from niwaki.lower.structure import Slot, Structure, rebuild
from niwaki.network import SIGNATURE, Network, Signature, check_threads
from niwaki.observation import observe_values
from niwaki.quantization import RANGES_NAME, Ranges


def compile(
    module: nn.Module,
    args: tuple[Any, ...],
    *,
    threads: int | None = None,
    calibration: Iterable[Any] | None = None,
    isa: str | None = None,
    autotune: bool = False,
) -> Network:
    """Compiles a compressed module: its whole graph runs in int8, and what can't stays in torch between native parts.

    Args:
        module: what `niwaki.compress` or `niwaki.quantize` returned. It is not changed.
        args: example inputs, a tuple such as (x,), with x float32 [N, C, H, W]; batch and image size stay free.
        threads: that work on a call; torch.get_num_threads() by default.
        calibration: inputs as for `niwaki.compress`. Needed only where the graph has changed since the module was
            calibrated: then the ranges of its values are observed again, on these.
        isa: forces an instruction set, such as "avx2"; by default NIWAKI_ISA, or the best of this machine.
        autotune: times the kernels that each layer could have, for the sizes of `args`, instead of trusting an
            estimate; takes about a second. The results are the same. See `Network.autotune`.

    Returns:
        A Network, called like the module. Its `plan` says what runs how; `save` writes it into a file.

    Raises:
        TypeError, ValueError: an argument is of a wrong type or out of range.
        NiwakiError: nothing is quantized, the module can't be captured, or the range of a value is not known.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"niwaki.compile: module must be a torch.nn.Module, not {type(module).__name__}.")
    if not isinstance(args, tuple):
        raise TypeError("niwaki.compile: args must be a tuple of example inputs; write niwaki.compile(module, (x,)).")
    if not isinstance(autotune, bool):
        raise TypeError(f"niwaki.compile: autotune must be True or False, not {type(autotune).__name__}.")
    threads = check_threads(threads)
    source = type(module).__name__
    exported = capture(module, args)
    ranges = _kept_ranges(module) if calibration is None else observe_values(module, calibration)
    program = build_program(exported, ranges, source)
    signature = _signature(program)
    for stage in program.stages:
        if isinstance(stage, NativeStage):
            words = {"producer": f"niwaki {__version__}", "source": source}
            stage.graph.metadata = {**words, SIGNATURE: signature.to_json()} if len(program.stages) == 1 else words
    network = Network(program.stages, signature, threads=threads, isa=isa, source=source)
    return network.autotune(*args) if autotune else network


def _kept_ranges(module: nn.Module) -> Ranges:
    kept = getattr(module, RANGES_NAME, None)
    return kept if isinstance(kept, Ranges) else Ranges()


def load(path: str | os.PathLike[str], threads: int | None = None) -> Network:
    """A network from a .niwaki file.

    Args:
        path: a file that `Network.save` or `niwaki compress` has written.
        threads: that work on a call; torch.get_num_threads() by default.

    Raises:
        NiwakiError: the file is missing, empty, cut short, corrupt, newer than this version, or no .niwaki file.
    """
    threads = check_threads(threads)
    graph = _core.Graph.load(os.fspath(path))
    signature, numbers = _saved_signature(graph, os.fspath(path))
    stage = NativeStage(graph, tuple(range(len(signature.inputs))), numbers)
    return Network([stage], signature, threads=threads, source=graph.metadata.get("source", ""))


def save(network: Network, path: str | os.PathLike[str], *, image: ImageConfig | None = None) -> None:
    """Writes a compiled network into a .niwaki file; the same as `network.save(path, image=image)`."""
    given: object = network
    if not isinstance(given, Network):
        found = type(given).__name__
        raise TypeError(f"niwaki.save: network must be what niwaki.compile returned, not a {found}; compile it first.")
    network.save(path, image=image)


def _signature(program: Program) -> Signature:
    def rebuild_result(inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> Any:
        kinds = {"input": inputs, "output": outputs}
        leaves = [kinds[leaf.kind][leaf.index] if isinstance(leaf, Slot) else leaf for leaf in program.result_leaves]
        return pytree.tree_unflatten(leaves, program.result_spec)

    return Signature(
        inputs=program.inputs,
        outputs=program.result_names,
        results=program.results,
        arguments=program.arguments,
        result=program.result,
        rebuild=rebuild_result,
        unnamed=program.result_type,
    )


def _saved_signature(graph: _core.Graph, path: str) -> tuple[Signature, tuple[int, ...]]:
    """The signature that `Network.save` left in the file, and the numbers of the graph's outputs.

    A file from elsewhere has none: then inputs are positional, and the result is a tensor or a tuple.
    """
    shapes = graph.input_shapes
    inputs = tuple(
        InputInfo(name, torch.float32, (), len(shape), shape[1])
        for name, shape in zip(graph.inputs, shapes, strict=True)
    )
    first = len(inputs)
    order = list(graph.outputs)
    arguments: Structure = {"tuple": [{"input": index} for index in range(first)]}
    outputs: list[Structure] = [{"output": index} for index in range(len(order))]
    result: Structure = outputs[0] if len(outputs) == 1 else {"tuple": outputs}
    words = graph.metadata.get(SIGNATURE)
    if words is not None:
        try:
            saved = json.loads(words)
            arguments, result, order = saved["arguments"], saved["result"], saved["outputs"]
            results = tuple(first + list(graph.outputs).index(name) for name in order)
            rebuild(arguments, range(first), ())
            rebuild(result, range(first), range(len(results)))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise NiwakiError(
                f"{path}: its description of arguments and results does not fit its graph; save it again."
            ) from None
    else:
        results = tuple(range(first, first + len(order)))
    signature = Signature(inputs, tuple(order), results, arguments, result, functools.partial(rebuild, result))
    return signature, tuple(range(first, first + len(order)))
