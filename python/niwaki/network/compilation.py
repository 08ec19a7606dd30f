"""niwaki.compile: from a module to a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import nn
from torch.utils import _pytree as pytree

from niwaki import _core
from niwaki._version import __version__
from niwaki.capture import Captured, capture, captured_entries
from niwaki.errors import NiwakiError
from niwaki.lower.foreseen import foreseen
from niwaki.lower.program import NativeStage, Program, build_program
from niwaki.modules.checks import check_module
from niwaki.modules.entries import EntryPoints
from niwaki.network.mixed import MixedNetwork
from niwaki.network.signature import signature_of
from niwaki.onnx.own_scales import with_own_scales
from niwaki.quantization import Ranges, ranges_of
from niwaki.quantization.observation import observe_values
from niwaki.runtime.entries import EntryNetwork
from niwaki.runtime.network import Network
from niwaki.runtime.signature import SIGNATURE, Signature
from niwaki.runtime.threads import check_threads


def compile(
    module: nn.Module,
    args: tuple[Any, ...] | Mapping[str, Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    threads: int | None = None,
    calibration: Iterable[Any] | None = None,
    isa: str | None = None,
    autotune: bool = False,
) -> Network:
    """Compiles a compressed module into a network that runs without torch.

    Layers run in int8, the rest in int8 where that costs next to nothing and in float32 elsewhere; an operator that
    niwaki does not have stays in torch, between native parts, and the plan says which and why.

    Args:
        module: what `niwaki.compress` or `niwaki.quantize` returned. It is not changed.
        args: example inputs, a tuple such as (x,), or a dict of arguments by name. Batch, height, width, length and
            other sizes stay free wherever the network's code allows any; `Network.inputs` shows them. Of a
            niwaki.EntryPoints, a dict of example inputs for each entry, each a tensor, a tuple or a dict.
        kwargs: further example inputs by name.
        threads: that work on a call; torch.get_num_threads() by default.
        calibration: inputs as for `niwaki.compress`. Needed only where the graph has changed since the module was
            calibrated: then the ranges of its values are observed again, on these.
        isa: forces an instruction set, such as "avx2"; by default NIWAKI_ISA, or the best of this machine.
        autotune: times the kernels that each layer could have, for the sizes of `args`, instead of trusting an
            estimate; takes about a second. The results are the same. See `Network.autotune`.

    Returns:
        A Network, called like the module. Its `plan` says what runs how; `save` writes it into a file. Of a
        niwaki.EntryPoints, net[name] is the network of an entry, and `save` writes all of them into one file.

    Examples:
        >>> small, report = niwaki.compress(model, images)
        >>> net = niwaki.compile(small, (images[:1],), threads=2)
        >>> net(images[:5]).shape
        torch.Size([5, 10])
        >>> net.inputs[0].dims
        ('batch', 3, 'height', 'width')
        >>> net.save("small.niwaki")

    Raises:
        TypeError, ValueError: an argument is of a wrong type or out of range.
        NiwakiError: the module can't be captured, is another graph than it was when it was calibrated, or the range of
            a value is not known.
    """
    module = with_own_scales(check_module(module, "compile"))
    if isinstance(args, Mapping):
        args, kwargs = (), {**dict(args), **(kwargs or {})}
    if not isinstance(args, tuple):
        raise TypeError("niwaki.compile: args must be a tuple of example inputs; write niwaki.compile(module, (x,)).")
    if any(isinstance(leaf, np.ndarray) for leaf in pytree.tree_leaves((args, dict(kwargs or {})))):
        raise TypeError(
            "niwaki.compile: an example input is a numpy array; make it a tensor with torch.from_numpy(array). The "
            "network that comes of it takes arrays and tensors."
        )
    if not isinstance(autotune, bool):
        raise TypeError(f"niwaki.compile: autotune must be True or False, not {type(autotune).__name__}.")
    threads = check_threads(threads)
    if isinstance(module, EntryPoints):
        kwargs = module.arguments(kwargs or {})
    captured = _captured(module, args, kwargs)
    ranges = ranges_of(module) if calibration is None else observe_values(module, calibration)
    network = compile_captured(captured, ranges, module, threads=threads, isa=isa)
    return network.autotune(*args, **(kwargs or {})) if autotune else network


def _captured(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None) -> Captured:
    """The graph; where torch.export finds none, the error names the layer that a run shows to be why."""
    try:
        return capture(module, args, kwargs)
    except NiwakiError as error:
        told = foreseen(module, args, kwargs)
        if not told:
            raise
        said = str(error)
        if "FakeTensor" in said:  # torch's word for what it could not follow, which says nothing to anybody
            said = f"torch.export cannot capture {type(module).__name__} as a graph."
        raise NiwakiError(f"{said} A run shows that '{told[0].layer}' is why: {told[0].reason}.") from error


def compile_captured(
    captured: Captured, ranges: Ranges, module: nn.Module, *, threads: int | None = None, isa: str | None = None
) -> Network:
    """Compiles the graph of a module that has been captured already."""
    source = type(module.model if isinstance(module, EntryPoints) else module).__name__
    ranges.check(captured.fingerprint, source)
    if not isinstance(module, EntryPoints):
        program, signature = _lowered(captured, ranges, source)
        return _network(program, signature, threads=threads, isa=isa, source=source)
    lowered = {
        name: _lowered(entry, ranges, f"{source}, entry point '{name}',", called=source)
        for name, entry in captured_entries(captured, module).items()
    }
    graphs = [
        stage.graph for program, _ in lowered.values() for stage in program.stages if isinstance(stage, NativeStage)
    ]
    _core.share_tensors(graphs)
    shared = _core.SharedWeights()
    networks = {
        name: _network(program, signature, threads=threads, isa=isa, source=source, shared=shared)
        for name, (program, signature) in lowered.items()
    }
    return EntryNetwork(networks, source)


def _lowered(captured: Captured, ranges: Ranges, source: str, *, called: str = "") -> tuple[Program, Signature]:
    """The stages of a graph, and how it is called; in messages it is `source`, in a file `called`."""
    program = build_program(captured, ranges, source)
    signature = signature_of(captured, program)
    for stage in program.stages:
        if isinstance(stage, NativeStage):
            words = {"producer": f"niwaki {__version__}", "source": called or source}
            stage.graph.metadata = {**words, SIGNATURE: signature.to_json()} if len(program.stages) == 1 else words
    return program, signature


def _network(program: Program, signature: Signature, **options: Any) -> Network:
    (*others, stage) = program.stages or (None,)
    if isinstance(stage, NativeStage) and not others:
        return Network(stage.graph, signature, **options)
    return MixedNetwork(program.stages, signature, **options)
