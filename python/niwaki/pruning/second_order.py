"""Second-order pruning: a layer's zeros, and what its other weights become, from the covariance of its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from niwaki.layerwise.allocate import allocate
from niwaki.layerwise.exact import Exact
from niwaki.layerwise.sensitivity import sensitivities
from niwaki.layerwise.solve import Quadratic
from niwaki.layerwise.spread import restore_spread
from niwaki.layerwise.walk import Visit, Walk, first
from niwaki.modules.layer import Layer
from niwaki.modules.names import matches
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.left_out import choose_damping, left_out, measure_losses
from niwaki.pruning.problem import Problem, units_of
from niwaki.pruning.recurrent import INPUTS, RecurrentPruner
from niwaki.pruning.select import n_of_m
from niwaki.quantization.inputs import Batch
from niwaki.runs.checkpoint import Checkpoint
from niwaki.runs.dealt import Dealt, known_to_all


class Finish(Protocol):
    """What becomes of a layer's weights after pruning: moves them to a grid, say.

    Attributes:
        scales: the distance of two grid points of each output channel, by the layer's name.
        options: what the result depends on.
    """

    scales: dict[str, torch.Tensor]
    options: Any

    def __call__(self, seen: Visit, form: Quadratic, keep: torch.Tensor, v: torch.Tensor, /) -> torch.Tensor:
        """Weights [G, O / G, K] from the visit, the form, the mask and scaled weights."""

    def restore(self, seen: Visit, /) -> None:
        """Gives the layer's outputs their mean and spread back, and keeps its weights on the grid."""


@dataclass(frozen=True)
class Pruned:
    """What became of a layer.

    Attributes:
        mask: bool, of the weight's shape; True is kept.
        error: of its outputs on the calibration inputs, root of the mean square over that of the outputs.
        note: what was out of the ordinary; empty where nothing was.
    """

    mask: torch.Tensor
    error: float
    note: str = ""


def prune_layers(
    model: nn.Module,
    layers: Sequence[Layer],
    config: PruneConfig,
    batches: Iterable[Batch],
    *,
    finish: Finish | None = None,
    checkpoint: Checkpoint | None = None,
    counts: Mapping[Layer, int] | None = None,
    recurrent: RecurrentPruner | None = None,
    progress: bool = True,
) -> dict[Layer, Pruned]:
    """Prunes layers in the order in which the network calls them; each sees what the pruned ones before it give.

    What zeros took of the mean and spread of a channel of outputs is given back, in layers that are not pruned, too.

    Args:
        model: a copy in float32 without parametrizations; its weights and biases are replaced.
        layers: those to prune; zeros in them stay zeros.
        config: sparsity, pattern and scope.
        batches: calibration inputs.
        finish: moves a layer's weights on, to a grid for instance.
        checkpoint: where layers that are done are kept, and found again.
        counts: how many weights or blocks of each layer to prune, instead of config's sparsity.
        recurrent: prunes recurrent layers, each before the network first runs it.
        progress: tells on stderr how far it is.

    Returns:
        What became of each layer; layers that the network does not call are not in it.
    """
    if not layers and recurrent:  # nothing that the network's graph has to be walked through for
        recurrent.all(list(first(batches, INPUTS)))
        return {}
    walk = Walk(model, batches, vary=True)
    chosen = [layer for layer in walk.layers() if layer in layers]
    importance = sensitivities(model, chosen, walk.batches, progress=progress) or {}
    if len(importance) < len(chosen):
        importance = {}  # energies and Jacobians have other units
    if counts is None:
        known = known_to_all(checkpoint.load("counts") if checkpoint is not None else None)
        found = _counts(model, walk, chosen, config, importance, progress) if known is None else known["counts"]
        if checkpoint is not None and known is None:
            checkpoint.save("counts", {"counts": found})
        counts = dict(zip(chosen, found, strict=True))
    zeros = {layer: counts[layer] for layer in chosen if layer in counts}
    results: dict[Layer, Pruned] = {}

    def visit(seen: Visit) -> None:
        if seen.layer not in zeros:
            skipped = matches(seen.name, config.skip) or type(seen.layer.module) is not seen.layer.kind
            if not skipped and any(count > 0 for count in zeros.values()):
                restore_spread(seen)
            return
        state = checkpoint.load(f"layer {seen.name}") if checkpoint is not None else None
        if state is None:
            rows, count = importance.get(seen.layer), zeros[seen.layer]
            damping, known = choose_damping(seen, config.pattern, rows, count, config.balance)
            problem = Problem(seen, config.pattern, rows, damping=damping, known=known, balance=config.balance)
            keep = problem.search(count)
            v = problem.solve(keep)
            weight = v / problem.form.scale if finish is None else finish(seen, problem.form, keep, v)
            problem.write(torch.where(keep, weight, 0))
            restore = restore_spread if finish is None else finish.restore
            restore(seen)
            result = Pruned(keep.reshape(seen.weight.shape), problem.relative_error(v), problem.note)
            if checkpoint is not None:
                scale = None if finish is None else finish.scales.get(seen.name)
                checkpoint.save(f"layer {seen.name}", _state(seen.layer, result, scale))
        else:
            result = Pruned(state["mask"], state["error"], state["note"])
            seen.layer.module.load_state_dict(state["layer"])
            if finish is not None and state["scale"] is not None:
                finish.scales[seen.name] = state["scale"]
        results[seen.layer] = result

    def visit_recurrent(name: str) -> None:
        if recurrent is not None:
            recurrent(name, walk.batches)

    walk.run(visit, recurrent=visit_recurrent if recurrent else None, what="pruning", progress=progress)
    if recurrent:
        recurrent.all(walk.batches)
    return results


def _state(layer: Layer, result: Pruned, scale: torch.Tensor | None) -> dict[str, Any]:
    known = {"mask": result.mask, "error": result.error, "note": result.note}
    return {**known, "layer": layer.module.state_dict(), "scale": scale}


def _counts(
    model: nn.Module,
    walk: Walk,
    layers: Sequence[Layer],
    config: PruneConfig,
    importance: dict[Layer, torch.Tensor],
    progress: bool,
) -> list[int]:
    """How many weights or blocks of each layer to prune."""
    if config.scope == "global" and n_of_m(config.pattern) is None and config.share < 1:
        return _allocated(model, walk, layers, config, importance, progress)
    return [round(config.share * units_of(layer, config.pattern)) for layer in layers]


def _allocated(
    model: nn.Module,
    walk: Walk,
    layers: Sequence[Layer],
    config: PruneConfig,
    importance: dict[Layer, torch.Tensor],
    progress: bool,
) -> list[int]:
    """How many weights or blocks of each layer to prune, from what each would cost in the network as it is."""
    sizes = {layer: units_of(layer, config.pattern) for layer in layers}
    exact = Exact(model, left_out(walk.batches)) if importance else None
    dealt, order = Dealt(model, walk.batches, config, len(sizes)), list(sizes)
    measured: dict[str, tuple[list[float], int]] = {}

    def visit(seen: Visit) -> None:
        if seen.layer in sizes and dealt.mine():
            rows = importance.get(seen.layer)
            measured[str(order.index(seen.layer))] = measure_losses(seen, config.pattern, rows, exact, config.balance)

    found = dealt.run(lambda: walk.run(visit, reference=False, what="measuring layers", progress=progress), measured)
    losses, floors = zip(*(found[str(number)] for number in range(len(order))), strict=True)
    count = max(round(config.share * sum(sizes.values())), sum(floors))
    return allocate(list(sizes.values()), list(losses), list(floors), count)
