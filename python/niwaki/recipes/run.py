"""niwaki.compress with a recipe."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from niwaki.budget.accuracy import Accuracy
from niwaki.compression.pipeline import Squeezed
from niwaki.modules.checks import check_model
from niwaki.modules.layer import named_layers
from niwaki.onnx.plain import without_rounding
from niwaki.optimization.equalize import equalization_calls, equalize_with
from niwaki.optimization.optimize import optimize
from niwaki.quantization.held_out import Cutter, HeldOut
from niwaki.quantization.inputs import Batch, batches, check_calibration
from niwaki.recipes.load import load_recipe
from niwaki.recipes.recipe import Recipe
from niwaki.report import Report
from niwaki.report.make import report_of
from niwaki.report.measures import Sample
from niwaki.runs.checkpoint import Checkpoint, Folder
from niwaki.training.joint import JointTraining
from niwaki.training.loop import distillation, train

# Inputs that are pruned and calibrated on, where there are more to train on.
_CALIBRATION, _PIECE = 512, 64
_RECURRENT = ("gru", "lstm", "rnn")
Compress = Callable[..., tuple[nn.Module, Report]]


def run_recipe(
    compress: Compress,
    model: nn.Module,
    calibration: Any,
    recipe: str | os.PathLike[str] | Recipe,
    *,
    transform: Callable[[Any], Any] | None,
    evaluate: Callable[[nn.Module], float] | None,
    checkpoint: Folder | None = None,
    progress: bool,
) -> tuple[nn.Module, Report]:
    """Does what a recipe says; with the same inputs and the same recipe, the same again.

    Args:
        compress: niwaki.compress, for what needs no training.
        model, calibration, transform, evaluate, checkpoint, progress: as there.
        recipe: a name, a path or a Recipe.
    """
    found = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    model = without_rounding(check_model(model, "compress"))
    found.check_patterns(model)
    quantize = found.quantize if transform is None else dataclasses.replace(found.quantize, transform=transform)
    with _seeded(found.seed):
        if found.finetune is None:
            module, report = compress(
                model, calibration, target=found.target, evaluate=evaluate, optimize=found.optimize, prune=found.prune,
                quantize=quantize, checkpoint=checkpoint, progress=progress,
            )  # fmt: skip
        else:
            options = _Training(dataclasses.replace(found, quantize=quantize), evaluate, checkpoint, progress)
            module, report = _trained(model, calibration, options)
    report = report.named(found.name).made_with({"recipe": found.name}, seed=found.seed)
    if found.promise is not None:
        recurrent = any(row.op in _RECURRENT for row in report)
        known = report.network
        broken = found.promise.broken(
            found.name, known.output_error, known.drop, margin=known.drop_margin, recurrent=recurrent
        )
        report = report.warned(broken) if broken else report
    return module, report


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds all generators, and gives the caller's back afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@dataclass(frozen=True)
class _Training:
    """What a run with training is called with."""

    recipe: Recipe
    evaluate: Callable[[nn.Module], float] | None
    checkpoint: Folder | None
    progress: bool


def _trained(model: nn.Module, calibration: Any, options: _Training) -> tuple[nn.Module, Report]:
    """Prunes, and trains on the calibration inputs, with the network as it was as the teacher."""
    recipe, evaluate, progress = options.recipe, options.evaluate, options.progress
    quantize = recipe.quantize
    assert recipe.finetune is not None
    accuracy = None if evaluate is None else Accuracy(evaluate, model)
    held = HeldOut(Cutter(model))
    calls = batches(check_calibration(calibration, model), quantize.transform, model)
    inputs = _joined(list(held.watch(calls)))
    plain = dataclasses.replace(quantize, transform=None)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(recipe.seed))
    chosen = list(inputs[order[:_CALIBRATION]].split(_PIECE))
    kept = None
    if options.checkpoint is not None:
        kept = Checkpoint(options.checkpoint, model, recipe, what="niwaki.compress")
    second_order = recipe.prune is not None and recipe.prune.importance == "second_order"
    data = Shuffled(inputs, recipe.finetune.batch, recipe.seed)
    joint = JointTraining(
        model, chosen, prune=recipe.prune, quantize=plain, steps=recipe.finetune.epochs * len(data),
        config=recipe.finetune, optimize=recipe.optimize, progress=progress,
        checkpoint=None if kept is None or not second_order else kept.part("pruning"),
    )  # fmt: skip
    module = train(
        joint, data, recipe.finetune, distillation(model, recipe.finetune), progress=progress,
        checkpoint=None if kept is None else kept.part("training"),
    )  # fmt: skip
    folded = optimize(model, recipe.optimize, args=(chosen[0],))
    if quantize.equalize:
        folded = equalize_with(folded, equalization_calls(chosen, plain, model), plain, progress=progress)
    squeezed = Squeezed(module, dict(named_layers(folded)), joint.reasons)
    sample = Sample.of(held, Batch(0, (chosen[0],), {}))
    return module, report_of(model, folded, squeezed, sample, accuracy)


def _joined(calls: list[Batch]) -> torch.Tensor:
    """All inputs in one tensor."""
    for call in calls:
        if call.kwargs or len(call.args) != 1 or not isinstance(call.args[0], torch.Tensor):
            raise TypeError(
                f"niwaki.compress: {call}: a recipe with fine-tuning trains networks of one tensor; for others, write "
                "the loop with niwaki.JointTraining."
            )
        if call.args[0].shape[1:] != calls[0].args[0].shape[1:]:
            raise ValueError(f"niwaki.compress: {call}: fine-tuning needs inputs of one shape; resize them.")
    return torch.cat([call.args[0] for call in calls])


class Shuffled:
    """Inputs in batches, in a new order in each walk; what does not fill a batch waits for the next walk.

    Args:
        inputs: [N, ...].
        batch: inputs of a batch; all of them, where there are fewer.
        seed: of the order.
    """

    def __init__(self, inputs: torch.Tensor, batch: int, seed: int) -> None:
        self._inputs, self._batch = inputs, min(batch, len(inputs))
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self._inputs) // self._batch

    def __iter__(self) -> Iterator[torch.Tensor]:
        order = torch.randperm(len(self._inputs), generator=self._generator)
        for chosen in order[: len(self) * self._batch].split(self._batch):
            yield self._inputs[chosen]
