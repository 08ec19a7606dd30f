"""Second-order pruning: a layer's zeros, and what its other weights become, from the covariance of its inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from niwaki.layerwise.allocate import SHARES, allocate
from niwaki.layerwise.moments import Moments, moments
from niwaki.layerwise.sensitivity import sensitivities
from niwaki.layerwise.solve import Project, Pruner, Quadratic, quadratic, solve
from niwaki.layerwise.walk import Visit, Walk
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.select import BLOCK, drop_smallest, keep_n_of_m, n_of_m
from niwaki.quantization.inputs import Batch

Layer = nn.Conv2d | nn.Linear
# What becomes of a layer's weights [G, O / G, K] after pruning: called with the visit, the form and scaled weights.
Finish = Callable[[Visit, Quadratic, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Pruned:
    """What became of a layer.

    Attributes:
        mask: bool, of the weight's shape; True is kept.
        error: of its outputs on the calibration inputs, root of the mean square over that of the outputs.
    """

    mask: torch.Tensor
    error: float


def prune_layers(
    model: nn.Module,
    layers: Sequence[Layer],
    config: PruneConfig,
    batches: Iterable[Batch],
    *,
    finish: Finish | None = None,
    progress: bool = True,
) -> dict[int, Pruned]:
    """Prunes layers in the order in which the network calls them; each sees what the pruned ones before it give.

    Args:
        model: a copy in float32 without parametrizations; its weights and biases are replaced.
        layers: those to prune; zeros in them stay zeros.
        config: sparsity, pattern and scope.
        batches: calibration inputs.
        finish: moves a layer's weights on, to a grid for instance.
        progress: shows progress bars, if stderr is a terminal.

    Returns:
        What became of each layer, by its id; layers that the network does not call are not in it.
    """
    walk = Walk(model, batches)
    chosen = [layer for layer in walk.layers() if any(layer is other for other in layers)]
    importance = sensitivities(model, chosen, walk.batches) or {}
    if config.scope == "global" and n_of_m(config.pattern) is None and config.share < 1:
        counts = _allocated(walk, chosen, config, importance, progress)
    else:
        counts = {id(layer): round(config.share * _units(layer, config.pattern)) for layer in chosen}
    results: dict[int, Pruned] = {}

    def visit(seen: Visit) -> None:
        if id(seen.layer) not in counts:
            return
        problem = _Problem(seen, config.pattern, importance.get(id(seen.layer)))
        keep = problem.search(counts[id(seen.layer)])
        v = problem.solve(keep)
        results[id(seen.layer)] = Pruned(keep.reshape(seen.weight.shape), problem.relative_error(v))
        weight = v / problem.form.scale if finish is None else finish(seen, problem.form, keep, v)
        problem.write(torch.where(keep, weight, 0))

    walk.run(visit, what="pruning", progress=progress)
    return results


def _units(layer: Layer, pattern: str) -> int:
    """How many weights or blocks there are to choose from."""
    return layer.weight.numel() // (BLOCK if pattern == "block4" else 1)


class _Problem:
    """One layer: the form, what its rows count, and the pattern."""

    def __init__(self, seen: Visit, pattern: str, rows: torch.Tensor | None, quick: bool = False) -> None:
        self.seen = seen
        self._pattern = pattern
        layer = seen.layer
        self._groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
        self._before = seen.weight.reshape(self._groups, len(seen.weight) // self._groups, -1)
        self.moments: Moments = moments(layer, seen.inputs, seen.references, centered=layer.bias is not None)
        self.form = quadratic(self._before, self.moments.covariance, self.moments.cross)
        self._allowed = self._before != 0
        self._best = solve(self.form, self._allowed, self._before * self.form.scale)
        energy = -self.form.error(self._best)
        self._energy = float(energy.clamp_min(0).sum())
        if rows is None:
            rows = torch.full((len(seen.weight),), 1 / max(self._energy, 1e-30))
        # A channel that counts for nothing would be pruned at random.
        self._rows = (rows + 1e-3 * rows.mean() + 1e-30).reshape(energy.shape)
        self._pruner = Pruner(self.form, 4, 4) if quick else Pruner(self.form)

    def search(self, count: int) -> torch.Tensor:
        """The mask [G, O / G, K] with `count` weights or blocks pruned."""
        if count == 0 and n_of_m(self._pattern) is None:
            return self._allowed
        if count >= _units(self.seen.layer, self._pattern):
            return torch.zeros_like(self._allowed)
        return self._pruner.search(self._best, self._project(count), self._rows)

    def _project(self, count: int) -> Project:
        shape, pattern, allowed = self.seen.weight.shape, self._pattern, self._allowed
        pair = n_of_m(pattern)

        def project(importance: torch.Tensor) -> torch.Tensor:
            importance = torch.where(allowed, importance, 0).reshape(shape)
            if pair is not None:
                keep = keep_n_of_m(importance, *pair)
            elif pattern == "block4":
                blocks = importance.reshape(shape[0], -1, BLOCK, *shape[2:])
                keep = drop_smallest([blocks.sum(2)], count)[0]
                keep = keep[:, :, None].expand(blocks.shape).reshape(shape)
            else:
                keep = drop_smallest([importance], count)[0]
            return keep.reshape(allowed.shape) & allowed

        return project

    def solve(self, keep: torch.Tensor) -> torch.Tensor:
        return solve(self.form, keep, self._best)

    def loss(self, v: torch.Tensor) -> float:
        """What the error costs at the network's output, beyond that of the best weights without more zeros."""
        return float((self._rows * (self.form.error(v) - self.form.error(self._best))).sum().clamp_min(0))

    def losses(self) -> list[float]:
        """The loss at each of SHARES, and at 1."""
        self._pruner.keep_inverses()
        units = _units(self.seen.layer, self._pattern)
        found = [self.loss(solve(self.form, self.search(round(s * units)), self._best, steps=10)) for s in SHARES]
        return [*found, self.loss(torch.zeros_like(self._best))]

    def zeros(self) -> int:
        """Weights or blocks that are zero already."""
        empty = ~self._allowed.reshape(self.seen.weight.shape)
        if self._pattern == "block4":
            empty = empty.reshape(len(empty), -1, BLOCK, *empty.shape[2:]).all(2)
        return int(empty.sum())

    def relative_error(self, v: torch.Tensor) -> float:
        if self._energy <= 0:
            return 0.0
        change = float((self.form.error(v) - self.form.error(self._best)).sum())
        return math.sqrt(max(change, 0.0) / self._energy)

    def write(self, weight: torch.Tensor) -> None:
        """Puts weights [G, O / G, K] into the layer; a bias takes the mean of what they change."""
        layer = self.seen.layer
        layer.weight.copy_(weight.reshape(layer.weight.shape))
        if layer.bias is not None and self.seen.bias is not None:
            was = torch.einsum("gok,gk->go", self._before, self.moments.reference_mean)
            now = torch.einsum("gok,gk->go", weight, self.moments.mean)
            layer.bias.copy_(self.seen.bias + (was - now).reshape(-1))


def _allocated(
    walk: Walk, layers: Sequence[Layer], config: PruneConfig, importance: dict[int, torch.Tensor], progress: bool
) -> dict[int, int]:
    """How many weights or blocks of each layer to prune, from what each would cost in the network as it is."""
    sizes = {id(layer): _units(layer, config.pattern) for layer in layers}
    losses: dict[int, list[float]] = {}
    floors: dict[int, int] = {}

    def visit(seen: Visit) -> None:
        if id(seen.layer) in sizes:
            problem = _Problem(seen, config.pattern, importance.get(id(seen.layer)), quick=True)
            losses[id(seen.layer)] = problem.losses()
            floors[id(seen.layer)] = problem.zeros()

    walk.run(visit, reference=False, what="measuring layers", progress=progress)
    keys = list(sizes)
    count = max(round(config.share * sum(sizes.values())), sum(floors.values()))
    counts = allocate([sizes[k] for k in keys], [losses[k] for k in keys], [floors[k] for k in keys], count)
    return dict(zip(keys, counts, strict=True))
