"""Reports of what niwaki.compress did."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from niwaki._core import stored_weight
from niwaki.budget.accuracy import Accuracy
from niwaki.budget.run import Outcome
from niwaki.budget.search import Candidate
from niwaki.budget.target import Target
from niwaki.compression.pipeline import Built, Squeezed, build, measure_file
from niwaki.modules.entries import EntryPoints
from niwaki.modules.layer import Layer, named_layers
from niwaki.nn.embedding import Embedding
from niwaki.nn.layers import QuantizedLayer, quantized_layers
from niwaki.nn.recurrent import Recurrent
from niwaki.pruning.lost import lost_bytes
from niwaki.quantization.inputs import Batch
from niwaki.quantization.tables import values_in_a_byte
from niwaki.quantization.weights import relative_error
from niwaki.report.concerns import concerns
from niwaki.report.measures import Measures, Sample, histogram, measure
from niwaki.report.nodes import nodes_of
from niwaki.report.origin import Origin
from niwaki.report.report import Report
from niwaki.report.rest import with_rest
from niwaki.report.rows import LayerReport, NetworkReport, Point
from niwaki.report.speed import Speed, measure_speed

_log = logging.getLogger("niwaki")


def report_of(
    model: nn.Module, optimized: nn.Module, squeezed: Squeezed, sample: Sample, accuracy: Accuracy | None = None
) -> Report:
    """The report of a network that was compressed by given options.

    Args:
        model: what the caller gave.
        optimized: the same after niwaki.optimize.
        squeezed: the compressed network.
        sample: inputs that errors are measured on.
        accuracy: what tells the accuracy of a network, if anything.
    """
    example = sample.example(model)
    built = build(squeezed.module, example)
    speed = _speed(model, built, example, 1)
    measures = measure(model, optimized, squeezed.module, built, sample, evaluated=accuracy is not None)
    # What is called the size is that of the file, so it is written.
    file = measure_file(built, example)
    network = NetworkReport(
        file_bytes=file.bytes, parameter_bytes=_parameter_bytes(model), output_error=measures.network_error,
        inputs=sample.inputs, held_out=sample.held_out, values=tuple(squeezed.values.items()), no_file=file.why,
        accuracy=None if accuracy is None else accuracy.of(squeezed.module, built.network),
        float_accuracy=None if accuracy is None else accuracy.reference, answers=measures.answers,
        evaluated=None if accuracy is None else accuracy.inputs, graph=nodes_of(built.network),
        origin=_origin(model, sample), lost_bytes=lost_bytes(model),
        **_timed(speed),
    )  # fmt: skip
    return _warned(_rows(optimized, squeezed, squeezed.reasons, measures), network, optimized)


def report_of_target(
    model: nn.Module, optimized: nn.Module, outcome: Outcome, sample: Sample, target: Target
) -> Report:
    """The report of a network that was brought to a target."""
    squeezed, measured = outcome.candidate.squeezed, outcome.candidate.measured
    example = sample.example(model)
    built = build(squeezed.module, example, threads=target.threads)
    speed = _speed(model, built, example, target.threads)
    evaluated = outcome.candidate.accuracy is not None
    measures = measure(model, optimized, squeezed.module, built, sample, evaluated=evaluated)
    timed = _timed(speed)
    if measured.milliseconds is not None:  # what the target was met with
        timed = {**timed, "milliseconds": measured.milliseconds, "threads": target.threads}
    network = NetworkReport(
        inputs=sample.inputs, held_out=sample.held_out, values=tuple(squeezed.values.items()),
        file_bytes=measured.bytes, parameter_bytes=_parameter_bytes(model), output_error=measures.network_error,
        accuracy=outcome.candidate.accuracy, float_accuracy=outcome.reference, target=target.words(),
        curve=tuple(Point(round(size), math.sqrt(loss)) for size, loss in outcome.curve),
        tried=tuple(_point(candidate) for candidate in outcome.tried), no_file=measured.why, answers=measures.answers,
        evaluated=outcome.evaluated, graph=nodes_of(built.network), origin=_origin(model, sample),
        lost_bytes=lost_bytes(model), **timed,
    )  # fmt: skip
    rows = _rows(optimized, squeezed, {**squeezed.reasons, **outcome.reasons}, measures)
    rows = [dataclasses.replace(row, options=outcome.measured.get(row.name, ())) for row in rows]
    return _warned(rows, network, optimized, interrupted=outcome.interrupted)


def _origin(model: nn.Module, sample: Sample) -> Origin:
    named = model.model if isinstance(model, EntryPoints) else model
    return Origin.now(type(named).__name__, {}, inputs=sample.seen)


def _speed(model: nn.Module, built: Built, example: Batch, threads: int) -> Speed | None:
    """Before errors are measured; None where there is no compiled network."""
    return None if built.network is None else measure_speed(model, built.network, example.copy(), threads)


def _timed(speed: Speed | None) -> dict[str, Any]:
    """What a NetworkReport says of it."""
    if speed is None:
        return {}
    return {"speed": speed, "milliseconds": speed.milliseconds, "threads": speed.threads}


def _warned(
    rows: list[LayerReport], network: NetworkReport, optimized: nn.Module, *, interrupted: bool = False
) -> Report:
    """The report, with what is wrong with the network, which the log says, too."""
    before = dict(named_layers(optimized))
    emptied = [
        row.name for row in rows if row.zeros == 1 and row.name in before and bool(before[row.name].weight.any())
    ]
    found = concerns(rows, network, emptied)
    if interrupted:
        found = (*found, "the search was interrupted: this is the best network that it had found by then.")
    for sentence in found:
        _log.warning("niwaki.compress: %s", sentence)
    return Report(rows, dataclasses.replace(network, warnings=found))


def _point(candidate: Candidate) -> Point:
    size = candidate.measured.bytes
    estimate = sum(option.bytes for option in candidate.chosen.values())
    return Point(round(estimate) if size is None else size, math.sqrt(candidate.loss), candidate.accuracy)


def _parameter_bytes(model: nn.Module) -> int:
    return 4 * sum(parameter.numel() for parameter in model.parameters())


def _rows(optimized: nn.Module, squeezed: Squeezed, reasons: dict[str, str], measures: Measures) -> list[LayerReport]:
    layers = {part.name: part for part in quantized_layers(squeezed.module)}
    originals, before = dict(optimized.named_modules()), dict(named_layers(optimized))
    rows = [
        _row(name, layer, before.get(name, layer), layers.get(name), reasons.get(name, ""), measures)
        for name, layer in squeezed.floats.items()
    ]
    recurrent = [part for part in squeezed.module.modules() if isinstance(part, Recurrent)]
    rows += [_recurrent_row(part, originals[part.name], reasons.get(part.name, "")) for part in recurrent]
    tables = [part for part in squeezed.module.modules() if isinstance(part, Embedding)]
    rows += [_table_row(part, originals[part.name]) for part in tables]
    rows = with_rest(rows, optimized, squeezed.module, reasons)
    order = {name: index for index, name in enumerate(_names(optimized))}
    return sorted(rows, key=lambda row: order.get(row.name, len(order)))


def _names(model: nn.Module) -> Iterator[str]:
    """Names of modules, and of the parameters beside their parts, in the order of the network."""
    for name, part in model.named_modules():
        yield name
        yield from (f"{name}.{key}".removeprefix(".") for key, _ in part.named_parameters(recurse=False))


def _recurrent_row(now: Recurrent, original: nn.Module, reason: str) -> LayerReport:
    """A recurrent layer: all of its matrices together."""
    weights = now.weights()
    count = sum(weight.numel() for weight in weights.values())
    biases = sum(value.numel() for key, value in now.named_buffers() if key.startswith("bias"))
    scales = sum(len(weight) for weight in weights.values())
    change = energy = 0.0
    for key, weight in weights.items():
        before = getattr(original, key).detach().double()
        change += float((weight.double() * getattr(now, key + "_scale")[:, None] - before).square().sum())
        energy += float(before.square().sum())
    kept = sum(int(weight.count_nonzero()) for weight in weights.values())
    return LayerReport(
        now.name, type(now).__name__.lower(), "int8", 1 - kept / max(1, count),
        count + 4 * (scales + biases), 4 * (count + biases), math.sqrt(change / energy) if energy else None,
        "; ".join(filter(None, (reason, now.reason or "each row of inputs and states is quantized by its own range"))),
        max(_bits(weight) for weight in weights.values()),
    )  # fmt: skip


def _table_row(now: Embedding, original: nn.Module) -> LayerReport:
    before = original.weight
    assert isinstance(before, torch.Tensor)
    return LayerReport(
        now.name, "embedding", "int8", 1 - int(now.weight.count_nonzero()) / max(1, now.weight.numel()),
        now.weight.numel() // values_in_a_byte(now.weight) + 4 * len(now.weight_scale), 4 * now.weight.numel(),
        relative_error(before, now.weight, now.weight_scale), "", _bits(now.weight), tuple(now.weight.shape),
    )  # fmt: skip


def _row(
    name: str, layer: Layer, original: Layer, now: QuantizedLayer | None, reason: str, measures: Measures
) -> LayerReport:
    count = layer.weight.numel()
    bias = layer.bias.numel() if layer.bias is not None else 0
    float_bytes = 4 * (count + bias)
    weight = layer.weight if now is None else now.weight
    zeros = 1 - torch.count_nonzero(weight).item() / count if count else 0.0
    shape = tuple(layer.weight.shape)
    sensitivity = measures.sensitivity.get(name)
    if now is None:
        return LayerReport(
            name, layer.op, "float32", zeros, float_bytes, float_bytes, None, reason, 32, shape, None, sensitivity
        )
    stored, form = stored_weight(now.weight.contiguous().numpy())
    real = now.weight * now.weight_scale.reshape(-1, *[1] * (now.weight.dim() - 1))
    return LayerReport(
        name, layer.op, "sparse int8" if "mask" in form else "int8", zeros,
        # Scales and biases: four bytes each for every output channel.
        stored + 4 * (now.weight_scale.numel() + bias), float_bytes,
        relative_error(original.weight, now.weight, now.weight_scale), reason, _bits(now.weight), shape,
        measures.output_errors.get(name), sensitivity, histogram(original.weight, real),
        fitted_error=measures.fitted_errors.get(name),
    )  # fmt: skip


def _bits(weight: torch.Tensor) -> int:
    """The least bits that hold all weights."""
    largest = int(weight.abs().max()) if weight.numel() else 0
    return max(2, math.ceil(math.log2(largest + 1)) + 1)
