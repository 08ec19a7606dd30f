"""A pruned recurrent layer, judged on calls that decided nothing, and its weights trained to give what the layer gave.

Zeros are chosen as if the states of a layer were given. They are its own, so what they lose comes back at every later
step. So weights and biases that are left are trained, zeros fixed, until the layer's results are near to those of the
layer as it was: reconstruction as in BRECQ (Li et al., 2021), through time, without labels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from niwaki.layerwise.sequences import Results, Seen, run
from niwaki.layerwise.solve import DAMPING
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.gates import GatePruner

# Of four sequences one is left out, to judge by; the damping is chosen among these.
_ONE_OF, _DAMPINGS = 4, (DAMPING, 1e-4, 1.0)
# Steps of training and how often results are looked at; a step's length, of a weight's size; sums of a batch; products
# and sums in all, beyond which there are fewer steps, but not fewer than the least.
_STEPS, _LOOK, _LEAST, _RATE, _COLUMNS, _WORK = 150, 25, 25, 0.003, 512, 3e12
# What errors of results count at least that the network's outputs do not see, of the mean.
_FLOOR = 0.01


@dataclass(frozen=True)
class Refitted:
    """A pruned layer, a plain form (sequences.py), and how it was made."""

    layer: nn.RNNBase
    note: str


def prune_and_refit(
    before: nn.RNNBase, by_magnitude: nn.RNNBase, seen: Seen, config: PruneConfig, name: str
) -> Refitted:
    """Prunes a recurrent layer by second order, and trains what is left; by magnitude, where that serves better.

    Args:
        before: the layer as it was, a plain form.
        by_magnitude: the same, pruned by magnitude.
        seen: its calls.
        config: sparsity and pattern.
        name: of the layer, for messages.
    """
    left = seen.now.origins % _ONE_OF == _ONE_OF - 1
    if not bool(left.any()) or bool(left.all()):
        layer, _ = GatePruner(before, seen, config, name).prune(damping=1.0)
        return Refitted(layer, "pruned by second order; with four inputs or more, some would judge what that costs")
    fitted, held = seen.of(~left), _Judge(seen.of(left))
    pruner = GatePruner(before, fitted, config, name)
    layer, masks = pruner.prune(damping=_DAMPINGS[0])
    found = [(held.error(layer), _DAMPINGS[0], layer)]
    for damping in _DAMPINGS[1:]:
        layer, _ = pruner.prune(damping=damping, masks=masks)
        found.append((held.error(layer), damping, layer))
    magnitude = held.error(by_magnitude)
    error, damping, layer = min(found, key=lambda each: each[0])
    error, steps = _best_steps(layer, fitted, held, error)
    if error < magnitude:
        # With what was found to serve best, once more on all calls: more of them cost less than what is said.
        layer, _ = GatePruner(before, seen, config, name).prune(damping=damping)
        for step in _train(layer, seen):
            if step == steps:
                break
        fit = held.error(layer.requires_grad_(False))
        if fit < magnitude:
            return Refitted(layer, f"pruned by second order, which costs {error:.2%} of its results and magnitude "
                            f"{magnitude:.2%}, on inputs that decided nothing")  # fmt: skip
        error = fit  # numbers that overflow, say
    return Refitted(by_magnitude, f"pruned by magnitude, which costs {magnitude:.2%} of its results and second "
                    f"order {error:.2%}, on inputs that decided nothing")  # fmt: skip


class _Judge:
    """How far the results of a layer are from those that it gave as it was.

    Args:
        seen: calls.
    """

    def __init__(self, seen: Seen) -> None:
        self._seen, self._counts = seen, _counts(seen)
        self._energy = float(_squared(seen.wanted, None, self._counts))

    def error(self, layer: nn.RNNBase) -> float:
        """Root of the mean square, of that of the results, each by what it counts."""
        with torch.no_grad():
            change = float(_squared(run(layer, self._seen.now), self._seen.wanted, self._counts))
        return float("inf") if change != change else (change / max(self._energy, 1e-30)) ** 0.5


def _counts(seen: Seen) -> Results:
    """What a squared error of each result counts: the squared gradient of the network's outputs there."""
    y, *last = (pull.square() for pull in seen.pulls.parts)
    mean = sum(float(part.sum()) for part in (y, *last)) / sum(part.numel() for part in (y, *last))
    return Results((y + _FLOOR * mean) * seen.now.active[:, :, None], tuple(last))


def _squared(found: Results, wanted: Results | None, counts: Results) -> torch.Tensor:
    pairs = zip(found.parts, found.parts if wanted is None else wanted.parts, counts.parts, strict=True)
    return torch.stack([(count * (a if wanted is None else a - b).square()).sum() for a, b, count in pairs]).sum()


def _best_steps(layer: nn.RNNBase, seen: Seen, held: _Judge, error: float) -> tuple[float, int]:
    """After how many steps of training the error on what was left out is least, and that; `error` is that of none."""
    best, trained = (error, 0), copy.deepcopy(layer)
    last = _steps_of(layer)
    for step in _train(trained, seen):
        if step > 0 and (step % _LOOK == 0 or step == last):
            best = min(best, (held.error(trained), step))
    return best


def _steps_of(layer: nn.RNNBase) -> int:
    count = sum(value.numel() for key, value in layer.named_parameters() if key.startswith("weight"))
    return max(_LEAST, min(_STEPS, round(_WORK / max(1, 6 * count * _COLUMNS))))


def _train(layer: nn.RNNBase, seen: Seen) -> Iterator[int]:
    """Trains a layer in its place, zeros fixed; gives the number of steps so far, from 0 on."""
    yield 0
    layer.requires_grad_(True)
    weights = {key: value for key, value in layer.named_parameters() if bool(value.detach().any())}
    if not weights:
        return
    masks = {key: value.detach() != 0 for key, value in weights.items() if key.startswith("weight")}
    rates = {key: _RATE * float(value.detach()[value != 0].square().mean().sqrt()) for key, value in weights.items()}
    adam = torch.optim.Adam(
        [{"params": [value], "lr": rates[key]} for key, value in weights.items()], betas=(0.9, 0.99)
    )
    counts = _counts(seen)
    size = max(1, round(_COLUMNS / float(seen.now.lengths.float().mean())))
    steps = _steps_of(layer)
    try:
        for step, rows in zip(range(steps), _batches(len(seen.now), size), strict=False):
            for group, rate in zip(adam.param_groups, rates.values(), strict=True):
                group["lr"] = rate * (1 - step / steps) * min(1.0, (step + 1) / 10)
            part = seen.of(rows)
            with torch.enable_grad():
                loss = _squared(run(layer, part.now), part.wanted, counts.of(rows, len(part.now.x)))
                adam.zero_grad()
                loss.backward()
            for key, mask in masks.items():
                gradient = weights[key].grad
                if gradient is not None:
                    gradient.mul_(mask)
            adam.step()
            yield step + 1
    finally:
        adam.zero_grad()
        layer.requires_grad_(False)


def _batches(count: int, size: int) -> Iterator[torch.Tensor]:
    """Numbers of sequences, without an end, in a new order in each round."""
    generator = torch.Generator().manual_seed(0)
    while True:
        yield from torch.randperm(count, generator=generator).split(size)
