"""niwaki.compress: optimize, prune and quantize in one call, by given options or to a target, with a report."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from niwaki.budget.accuracy import Accuracy
from niwaki.budget.run import compress_to
from niwaki.budget.target import Target
from niwaki.compression.pipeline import squeeze
from niwaki.errors import NiwakiError, unknown_option
from niwaki.modules.checks import check_model
from niwaki.modules.names import check_names
from niwaki.network.unwritable import foreseen_reason
from niwaki.onnx.plain import without_rounding
from niwaki.optimization.equalize import equalization_calls, equalize_with
from niwaki.optimization.optimize import OptimizeConfig
from niwaki.optimization.optimize import optimize as run_optimize
from niwaki.options import CompressOptions
from niwaki.pruning.config import PruneConfig, check_sparsity
from niwaki.pruning.order import order_channels
from niwaki.pruning.select import n_of_m
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.held_out import Cutter, HeldOut
from niwaki.quantization.inputs import Batch, batches, check_calibration
from niwaki.recipes.recipe import Recipe
from niwaki.recipes.run import run_recipe
from niwaki.report import Report
from niwaki.report.make import report_of, report_of_target
from niwaki.report.measures import Sample
from niwaki.runs.checkpoint import Folder, check_folder
from niwaki.runs.together import check_together, together

if TYPE_CHECKING:
    from typing import Unpack

_log = logging.getLogger("niwaki")

_NOT_OPTIONS = ("model", "calibration", "options")
_PRUNE = ("pattern", "scope", "importance", "balance")
_QUANTIZE = (
    "observer", "percentile", "per_channel", "weight_range", "weight_bits", "spare", "codebook", "codebook_entries",
    "rounding", "correct_bias", "equalize", "activations", "precision", "dynamic",
)  # fmt: skip


def compress(
    model: nn.Module,
    calibration: Any,
    *,
    sparsity: float | None = None,
    target: Target | None = None,
    recipe: str | os.PathLike[str] | Recipe | None = None,
    evaluate: Callable[[nn.Module], float] | None = None,
    transform: Callable[[Any], Any] | None = None,
    skip: tuple[str, ...] = (),
    optimize: OptimizeConfig | None = None,
    prune: PruneConfig | None = None,
    quantize: QuantizeConfig | None = None,
    checkpoint: Folder | None = None,
    distributed: bool = False,
    ray: str | None = None,
    strict: bool = False,
    progress: bool = True,
    **options: Unpack[CompressOptions],
) -> tuple[nn.Module, Report]:
    """Makes a trained network small: folds its batch norms, prunes it if asked to, and quantizes it to int8.

    Zeros that the network has already stay zeros, with or without `sparsity`. By default, importance is 'second_order':
    each layer is pruned and rounded to int8 in one go, so that what is left corrects the errors of both on the
    calibration inputs. Where the network's answers change too much, the log and the report say so.

    With a `target`, shares of zeros and bits of each layer are found: what every layer would cost at the network's
    output, in bytes and in milliseconds is measured, and the allocation of least cost is built by second order. The
    size is that of the file which niwaki.compile and Network.save write; the latency is measured here and now.

    Args:
        model: a float32 network on the CPU. It is not changed.
        calibration: an iterable of typical inputs: tensors, tuples (the first item is the input, as in a loader of
            images and labels) or dicts (arguments by name). One tensor is taken as one batch. Some hundred inputs are
            enough.
        sparsity: the share of the weights to set to zero, 0 to 1; None prunes nothing. With a target, 0 leaves zeros
            out of the search, which is then for bits alone, and takes less time.
        target: limits of size, latency and accuracy, instead of sparsity, scope, importance and bits. Bits are
            searched for where the size counts, unless weight_bits or codebook is given.
        recipe: all options at once: the name of one of the package's, the path of a YAML or TOML file, or a
            niwaki.Recipe. Only transform, evaluate, checkpoint, strict and progress go with it. With fine-tuning, the
            calibration is what it trains on, and the network as it was tells what is right.
        evaluate: takes a network and returns its accuracy in per cent. The report has it then, and with
            Target(accuracy_drop=...) layers that cost too much are put back until the drop is within bounds.
        transform: called with each item of the calibration; returns the input.
        skip: names or patterns of layers that are neither pruned nor quantized.
        optimize, prune, quantize: all options of a step, instead of single ones.
        checkpoint: a folder that keeps each layer that is done, and the state of the training every hundred steps.
            After an interruption, the same call, with the same calibration, goes on from there. It may be deleted
            afterwards.
        distributed: all processes of torch.distributed make this call, with the same network and inputs, and share the
            measuring of layers; each returns the network, the same as of one process. Not with a recipe, nor with a
            target of latency, which is measured on one machine.
        ray: shares the same over a cluster of Ray: its address, "auto" for that of this machine, or "local" for one
            that is started for this call. This process alone makes it; actors get the network, the inputs and options.
        strict: refuses a network of which there is something to warn: answers that change too much, more than the
            recipe promises, or a layer without weights. Otherwise the log and the report say it.
        progress: tells on stderr how far it is: a bar on a terminal, elsewhere a line every half minute.
        options: single options of PruneConfig (pattern, scope, importance, balance) and QuantizeConfig (observer,
            percentile, per_channel, weight_range, weight_bits, spare, codebook, codebook_entries, rounding,
            correct_bias, equalize, activations, precision, dynamic).

    Returns:
        The compressed network, a module that takes and returns what `model` does, and a report, which prints as a
        table. The report's bytes are those of a file, where a layer lies in the smallest of its forms.

    Examples:
        In int8, and half of the blocks zero besides; a file of at most 15 % of float32:

        >>> small, report = niwaki.compress(model, images.split(16), sparsity=0.5)
        >>> report.verdict.light in ("green", "yellow", "red")
        True
        >>> small, report = niwaki.compress(model, images.split(16), target=niwaki.Target(size=0.15))
        >>> report.network.file_bytes <= 0.15 * report.network.parameter_bytes
        True

    Raises:
        TypeError, ValueError: an argument, a layer or an item of the calibration is not fit; says which and why.
        NiwakiError: the network cannot be copied, has nothing to quantize, or cannot be brought to the target; the
            message says what the nearest network takes. With `strict`, what there is to warn of.
    """
    single: dict[str, Any] = {**options}
    _check_options(single)
    if distributed or ray is not None:
        _check_shared(recipe, target, distributed, ray)
        all_options = {
            "sparsity": sparsity, "target": target, "evaluate": evaluate, "transform": transform, "skip": skip,
            "optimize": optimize, "prune": prune, "quantize": quantize, "checkpoint": checkpoint, "strict": strict,
            **options,
        }  # fmt: skip
        shared: tuple[nn.Module, Report] = together(
            "compress", model, calibration, all_options, ray=ray, progress=progress
        )
        return shared
    model = without_rounding(check_model(model, "compress"))
    given: dict[str, Any] = {
        "sparsity": sparsity,
        "target": target,
        "skip": skip or None,
        "optimize": optimize,
        "prune": prune,
    }
    given.update({"quantize": quantize, **single})
    if recipe is not None:
        _check_recipe(given)
        found = run_recipe(
            compress, model, calibration, recipe, transform=transform, evaluate=evaluate, checkpoint=checkpoint,
            progress=progress,
        )  # fmt: skip
        return _refused(found) if strict else found
    if target is not None:
        _check_target(target, sparsity, prune, quantize, single)
    zeros = target is None or sparsity is None
    searched = None
    if target is not None:
        for_zeros: dict[str, Any] = {name: single.pop(name) for name in ("pattern", "balance") if name in single}
        searched = PruneConfig(0.0, importance="second_order", skip=skip, **for_zeros)
        sparsity = None
    prune_config, quantize_config = _configs(sparsity, transform, skip, prune, quantize, single)
    if optimize is not None and not isinstance(optimize, OptimizeConfig):
        raise TypeError(f"niwaki.compress: optimize must be an OptimizeConfig, not {type(optimize).__name__}.")
    _check_prune(prune_config)
    folder = None if checkpoint is None else check_folder(checkpoint, "niwaki.compress")
    items = check_calibration(calibration, model)
    # The report's errors are measured on inputs that have decided nothing.
    held = HeldOut(Cutter(model))
    stream = _Replayed(held.watch(batches(items, quantize_config.transform, model)), items)
    first = next(iter(stream.taken())).copy()
    unwritable = foreseen_reason(model, first.args, first.kwargs)
    if unwritable:
        _log.warning("niwaki.compress: the network will have no file: %s", unwritable)
    accuracy = None if evaluate is None else Accuracy(evaluate, model)
    optimized = run_optimize(model, optimize, args=first.args, kwargs=first.kwargs)
    # Before long work. The layers' names are those of the optimized network.
    check_names(optimized, quantize_config.patterns, "niwaki.compress")
    if quantize_config.equalize:
        calls = equalization_calls(stream.taken(), quantize_config, model)
        optimized = equalize_with(optimized, calls, quantize_config, progress=progress)
        quantize_config = dataclasses.replace(quantize_config, equalize=False)
    if target is not None and searched is not None:
        outcome = compress_to(
            model, optimized, list(stream), target=target, zeros=zeros, prune=searched, quantize=quantize_config,
            bits_given="weight_bits" in single or quantize is not None, accuracy=accuracy, checkpoint=folder,
            progress=progress,
        )  # fmt: skip
        reached = report_of_target(model, optimized, outcome, Sample.of(held, first), target)
        found = outcome.candidate.squeezed.module, reached.made_with(given)
        return _refused(found) if strict else found
    # Second order walks through it twice.
    twice = prune_config is not None and prune_config.importance == "second_order"
    walked = list(stream) if twice else stream
    if twice:
        assert prune_config is not None
        order = None if folder is None else folder / "order"
        order_channels(optimized, list(walked), prune_config, checkpoint=order, progress=progress)
    squeezed = squeeze(optimized, walked, prune_config, quantize_config, checkpoint=folder, progress=progress)
    report = report_of(model, optimized, squeezed, Sample.of(held, first), accuracy)
    found = squeezed.module, report.made_with(given)
    return _refused(found) if strict else found


def _refused(found: tuple[nn.Module, Report]) -> tuple[nn.Module, Report]:
    """What was found, unless there is something to warn of."""
    warnings = found[1].network.warnings
    if warnings:
        raise NiwakiError(f"niwaki.compress: strict=True refuses this network: {' '.join(warnings)}")
    return found


def _check_options(options: dict[str, Any]) -> None:
    """Raises TypeError for one that does not exist."""
    for name in options:
        if name not in (*_PRUNE, *_QUANTIZE):
            arguments = [each for each in inspect.signature(compress).parameters if each not in _NOT_OPTIONS]
            raise unknown_option("niwaki.compress", name, [*arguments, *_PRUNE, *_QUANTIZE])


def _check_shared(recipe: Any, target: Target | None, distributed: bool, ray: str | None) -> None:
    if recipe is not None:
        raise TypeError("niwaki.compress: one process runs a recipe; leave distributed and ray out.")
    if target is not None and target.timed:
        raise TypeError(
            "niwaki.compress: a latency is measured on one machine, by one process; leave distributed and ray or the "
            "latency out."
        )
    check_together("niwaki.compress", distributed, ray)


def _check_recipe(others: dict[str, Any]) -> None:
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise TypeError(
            f"niwaki.compress: a recipe says all; leave {given[0]} out, or write it into a recipe of your own."
        )


def _check_target(target: Any, sparsity: Any, prune: Any, quantize: Any, options: dict[str, Any]) -> None:
    if not isinstance(target, Target):
        raise TypeError(
            f"niwaki.compress: target must be a niwaki.Target such as Target(size=0.1), not {type(target).__name__}."
        )
    given: list[str] = [name for name in ("scope", "importance", "rounding") if name in options]
    none = sparsity == 0 and not isinstance(sparsity, bool)
    given += ["sparsity"] if sparsity is not None and not none else []
    given += ["prune"] if prune is not None else []
    if given:
        raise TypeError(f"niwaki.compress: a target decides what {given[0]} would say; leave {given[0]} out.")
    for name in ("pattern", "balance"):
        if none and name in options:
            raise TypeError(f"niwaki.compress: sparsity=0 makes no zeros, so {name} says nothing; leave it out.")
    fixed: list[str] = [name for name in ("weight_bits", "codebook") if name in options]
    fixed += ["quantize"] if quantize is not None else []
    if none and (fixed or target.timed):
        why = f"{fixed[0]} says already" if fixed else "save no time"
        raise TypeError(
            f"niwaki.compress: with sparsity=0 a target chooses bits alone, which {why}; leave "
            f"{fixed[0] if fixed else 'sparsity'} out."
        )
    pattern = options.get("pattern", "block4")
    if pattern not in ("block4", "unstructured"):
        raise ValueError(
            f"niwaki.compress: a target is met with the pattern 'block4' or 'unstructured', not {pattern!r}."
        )


def _check_prune(config: PruneConfig | None) -> None:
    if config is None:
        return
    if config.importance not in ("magnitude", "second_order"):
        raise TypeError(
            f"niwaki.compress: importance='{config.importance}' needs a loss; prune with niwaki.prune or "
            "niwaki.Pruner first, then compress the result."
        )
    if config.pattern == "channels":
        raise TypeError(
            "niwaki.compress: pattern='channels' makes another network; call niwaki.prune first, then compress what it "
            "returns."
        )


class _Replayed:
    """A stream whose first calls can be looked at before one walks through it.

    Args:
        stream: the calls.
        items: what they are made of; its length, if it has any, is about that of the stream.
    """

    def __init__(self, stream: Iterator[Batch], items: Any) -> None:
        self._count = len(items) if hasattr(items, "__len__") else None
        self._rest = stream
        self._head: list[Batch] = []

    def __len__(self) -> int:
        if self._count is None:
            raise TypeError("an iterator has no length")
        return self._count

    def taken(self) -> Iterator[Batch]:
        """A look at the first calls, as many as are asked for; these are kept."""
        yield from self._head
        for batch in self._rest:
            self._head.append(batch)
            yield batch

    def __iter__(self) -> Iterator[Batch]:
        yield from self._head
        # What is handed out is not kept: a calibration set may be larger than memory.
        yield from self._rest


def _configs(
    sparsity: float | None,
    transform: Callable[[Any], Any] | None,
    skip: tuple[str, ...],
    prune: PruneConfig | None,
    quantize: QuantizeConfig | None,
    options: dict[str, Any],
) -> tuple[PruneConfig | None, QuantizeConfig]:
    for_prune = {name: value for name, value in options.items() if name in _PRUNE}
    for_quantize = {name: value for name, value in options.items() if name in _QUANTIZE}
    for name, config, kind in (("prune", prune, PruneConfig), ("quantize", quantize, QuantizeConfig)):
        if config is not None and not isinstance(config, kind):
            raise TypeError(f"niwaki.compress: {name} must be a {kind.__name__}, not {type(config).__name__}.")
    if prune is not None and (sparsity is not None or for_prune or skip):
        raise TypeError("niwaki.compress: give prune=PruneConfig(...) or sparsity, pattern, scope and skip, not both.")
    if quantize is not None and (for_quantize or skip or transform is not None):
        raise TypeError(
            "niwaki.compress: give quantize=QuantizeConfig(...) or observer, skip, transform and others, not both."
        )
    if sparsity is not None:
        check_sparsity(sparsity, "niwaki.compress")
    if for_prune.get("pattern") != "channels" and (sparsity is not None or n_of_m(str(for_prune.get("pattern", "")))):
        # There is calibration, so what is left can be adapted to it.
        for_prune.setdefault("importance", "second_order")
    if sparsity is not None:
        prune = PruneConfig(sparsity=sparsity, skip=skip, **for_prune)
    elif prune is None and n_of_m(str(for_prune.get("pattern", ""))) is not None:
        prune = PruneConfig(skip=skip, **for_prune)
    elif prune is None and for_prune:
        raise TypeError(
            f"niwaki.compress: {' and '.join(for_prune)} without sparsity prunes nothing; add sparsity=0.75, say."
        )
    if quantize is None:
        quantize = QuantizeConfig(skip=skip, transform=transform, **for_quantize)
    return prune, quantize
