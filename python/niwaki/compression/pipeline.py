"""The steps of niwaki.compress after its arguments are known: prune, quantize, and how large and fast the result is."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from niwaki.capture import capture
from niwaki.errors import NiwakiError
from niwaki.modules.layer import Layer
from niwaki.network.compilation import compile_captured
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.prune import prune_with_reasons
from niwaki.pruning.recurrent import prune_recurrent, recurrent_targets
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.grid import Grid
from niwaki.quantization.inputs import Batch, batches
from niwaki.quantization.programs import Program, program_of
from niwaki.quantization.quantize import quantizable, quantize_with_reasons
from niwaki.quantization.ranges import ranges_of
from niwaki.quantization.spared import Spared, spare_layers
from niwaki.runtime.image import ImageConfig
from niwaki.runtime.network import Network

# Calls of a network: the median of this many, after a few that are not counted.
_CALLS, _WARM = 15, 3


@dataclass(frozen=True)
class Squeezed:
    """A compressed network.

    Attributes:
        module: the network, with niwaki.nn layers.
        floats: its layers in float32, by name, as they were before they were rounded.
        reasons: why a layer is as it is, by name.
        values: values between layers that stay float32, with what 8 bits would cost.
    """

    module: nn.Module
    floats: dict[str, Layer]
    reasons: dict[str, str] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)


def squeeze(
    optimized: nn.Module,
    items: Any,
    prune: PruneConfig | None,
    quantize: QuantizeConfig,
    *,
    counts: Mapping[str, int] | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> Squeezed:
    """Prunes an optimized network, if `prune` is given, and quantizes it.

    Args:
        optimized: what niwaki.optimize returned. It is not changed.
        items: calibration; for second order, something that one can walk through twice.
        prune, quantize: the options.
        counts: for second order, weights or blocks of each layer to prune, by its name.
        checkpoint: a folder that keeps layers that are done.
        progress: tells on stderr how far it is.
    """
    second_order = prune is not None and prune.importance == "second_order"
    reasons: dict[str, str] = {}
    spared = Spared(quantize)
    if second_order:
        # Weights go to their grid while they are pruned, so bits are chosen before.
        calls = batches(items, quantize.transform, optimized)
        spared = spare_layers(optimized, quantizable(optimized, quantize), quantize, calls, progress=progress)
        quantize = spared.config
    grid = Grid(quantize) if second_order else None
    if prune is not None:
        stream = batches(items, quantize.transform, optimized) if second_order else None
        optimized, reasons = prune_with_reasons(
            optimized, prune, stream, finish=grid, counts=counts, progress=progress,
            needed=counts is not None or not recurrent_targets(optimized, prune),
            recurrent=second_order and counts is None,
            checkpoint=checkpoint / "pruning" if checkpoint is not None and second_order else None,
        )  # fmt: skip
        if counts is None and not second_order:
            prune_recurrent(recurrent_targets(optimized, prune).values(), prune)
    found = quantize_with_reasons(
        optimized, items, quantize, scales=grid.scales if grid is not None else None,
        checkpoint=checkpoint / "rounding" if checkpoint is not None else None, progress=progress,
    )  # fmt: skip
    # Of recurrent layers that stay float32, how they were pruned is still to be known.
    both = {
        name: f"{reasons[name]}; {why}" for name, why in found.reasons.items() if name in reasons.keys() - found.floats
    }
    known = spared.with_others({**reasons, **found.reasons, **both})
    return Squeezed(found.module, found.floats, known, found.values)


@dataclass(frozen=True)
class Measured:
    """What a compressed network takes.

    Attributes:
        bytes: of its file; None where a part stays in torch, so that there is none.
        milliseconds: of one call with one input, the median of some; None where it was not asked for.
        why: there is no file.
    """

    bytes: int | None
    milliseconds: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Built:
    """What a compressed network becomes.

    Attributes:
        network: compiled; None where it can't be.
        program: its graph, for those who look at single values.
        why: it cannot be compiled.
    """

    network: Network | None
    program: Program | None = None
    why: str = ""


def build(module: nn.Module, example: Batch, *, threads: int = 1) -> Built:
    """Compiles a compressed network for inputs like an example's."""
    copied = example.copy()
    try:
        captured = capture(module, copied.args, copied.kwargs)
        program = program_of(captured, module, example)
        network = compile_captured(captured, ranges_of(module), module, threads=threads)
    except (NiwakiError, TypeError, ValueError) as error:
        return Built(None, None, str(error))
    return Built(network, program)


def measure_file(
    built: Built, example: Batch, *, threads: int | None = None, image: ImageConfig | None = None
) -> Measured:
    """Writes a network into a file and looks at its size; times a call, too, where `threads` are given."""
    if built.network is None:
        return Measured(None, None, built.why)
    milliseconds = time_network(built.network, example) if threads is not None else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.niwaki"
        try:
            built.network.save(path, image=image)
        except NiwakiError as error:
            return Measured(None, milliseconds, str(error).removeprefix(f"{path}: "))
        return Measured(path.stat().st_size, milliseconds)


def time_network(network: Callable[..., Any], example: Batch) -> float:
    """Milliseconds of a call, the median."""
    times = []
    for call in range(_WARM + _CALLS):
        begin = time.perf_counter()
        network(*example.args, **example.kwargs)
        if call >= _WARM:
            times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)
