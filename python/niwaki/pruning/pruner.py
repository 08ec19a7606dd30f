"""niwaki.Pruner: zeros that grow in number while the caller trains the network."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import distributed, nn

from niwaki.modules.checks import check_module
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.criteria import Gradients
from niwaki.pruning.mask import bake_mask, find_mask, mask_of, original_of, set_mask
from niwaki.pruning.schedule import ConstantSchedule, Schedule
from niwaki.pruning.select import choose, expand, scores_of
from niwaki.pruning.targets import find_targets

_log = logging.getLogger("niwaki")


class Pruner:
    """Prunes a network in the caller's own training loop.

        pruner = niwaki.Pruner(model, niwaki.PruneConfig(0.75), schedule=niwaki.CubicSchedule(0, 2000, every=50))
        for x, y in loader:
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
            pruner.step()
        pruner.finish()

    The masks are parametrizations of the weights, put before others (fake quantization, say). Parameters stay the same
    objects, so the optimizer may be made before or after. What is pruned once stays pruned.

    Under torch.distributed, with DistributedDataParallel or without, scores are averaged over all ranks and the masks
    of rank 0 hold for all; each rank calls `step` as often.

    Args:
        model: the network; its weights get masks in place. It may be on any device. For DistributedDataParallel, make
            the pruner before wrapping the network.
        config: how much, in which pattern and scope, and by which importance: 'magnitude', 'taylor' or 'movement'. The
            last two read the gradients at each `step`, so call it before they are cleared.
        schedule: when, and what part of the sparsity; by default, all of it at step 0.

    Raises:
        TypeError, ValueError: an argument or a layer is not fit; says which and why.
    """

    def __init__(self, model: nn.Module, config: PruneConfig, *, schedule: Schedule | None = None) -> None:
        check_module(model, "Pruner")
        if not isinstance(config, PruneConfig):
            raise TypeError(f"niwaki.Pruner: config must be a PruneConfig, not {type(config).__name__}.")
        if schedule is not None and not isinstance(schedule, Schedule):
            raise TypeError("niwaki.Pruner: schedule must be a ConstantSchedule, LinearSchedule or CubicSchedule.")
        if config.importance == "second_order":
            raise ValueError(
                "niwaki.Pruner: importance='second_order' adapts the weights itself and is done at once; use "
                "niwaki.prune, and train what it returns."
            )
        if config.pattern == "channels":
            raise ValueError("niwaki.Pruner: whole channels are cut out at once; use niwaki.prune, then train.")
        self._model = model
        self._config = config
        self._schedule = schedule or ConstantSchedule(0)
        self._layers, self.reasons = find_targets(model, config)
        self._gradients = Gradients(config.importance, config.pattern)
        self._step = 0
        self._share = 0.0
        self._finished = False
        for layer in self._layers.values():
            if find_mask(layer.module) is None:
                set_mask(layer.module, torch.ones_like(original_of(layer.module), dtype=torch.bool))

    @property
    def sparsity(self) -> float:
        """Share of the weights of the layers that can be pruned that are masked now."""
        masks = [mask_of(layer.module) for layer in self._layers.values()]
        total = sum(mask.numel() for mask in masks)
        return 1 - sum(int(mask.sum()) for mask in masks) / total if total else 0.0

    def step(self) -> None:
        """After each step of the optimizer, before the gradients are cleared."""
        if self._finished:
            raise RuntimeError("niwaki.Pruner: finish() has baked the masks in; make a new pruner to prune on.")
        if self._config.importance != "magnitude":
            self._gradients.add(self._layers)
        if self._schedule.due(self._step):
            self._prune(self._config.share * self._schedule.share(self._step))
        self._step += 1

    @torch.no_grad()
    def _prune(self, share: float) -> None:
        together = distributed.is_available() and distributed.is_initialized()
        bad = self._not_finite()
        if together:  # all of them stop, or none: a process that waits for one that has stopped waits for ever
            stops = torch.tensor(float(bool(bad)), device=next(iter(self._layers.values())).weight.device)
            distributed.all_reduce(stops, op=distributed.ReduceOp.MAX)
            bad = bad or ("one of another process" if float(stops) else "")
        if bad:
            raise ValueError(f"niwaki.Pruner: layer '{bad}' holds NaN or infinity; restore the last good weights.")
        scores = [self._score(name) for name in self._layers]
        if together:
            for score in scores:
                distributed.all_reduce(score)
                score /= distributed.get_world_size()
        groups = [layer.groups for layer in self._layers.values()] if self._config.balance else None
        kept = choose(scores, self._config.pattern, self._config.scope, share, groups)
        masks = []
        for layer, keep in zip(self._layers.values(), kept, strict=True):
            weight = original_of(layer.module)
            mask = expand(keep, weight.shape, self._config.pattern).to(weight.device) & mask_of(layer.module)
            if together:
                flags = mask.to(torch.uint8)
                distributed.broadcast(flags, 0)
                mask = flags.bool()
            masks.append(mask)
        # All are known before the first is set: an interruption leaves no layer ahead of the others for long.
        for layer, mask in zip(self._layers.values(), masks, strict=True):
            set_mask(layer.module, mask)
        self._share = share
        if self._config.importance == "taylor":
            self._gradients.clear()  # the network is another one now; movement counts from the start

    def _not_finite(self) -> str:
        """The first layer whose weights or scores hold NaN or infinity; empty where there is none."""
        for name, layer in self._layers.items():
            score = self._gradients.scores.get(name)
            parts = [original_of(layer.module)] if score is None else [original_of(layer.module), score]
            if not all(bool(torch.isfinite(part).all()) for part in parts):
                return name
        return ""

    def _score(self, name: str) -> torch.Tensor:
        """What is gone already is lowest, so that it counts among what is pruned."""
        layer, pattern = self._layers[name], self._config.pattern
        magnitude = scores_of(original_of(layer.module), pattern)
        score = magnitude if self._config.importance == "magnitude" else self._gradients.scores.get(name)
        if score is None:
            _log.warning("layer '%s': no finite gradient reached it, so it counts as if the loss ignored it", name)
            score = torch.zeros_like(magnitude)
        return torch.where(scores_of(mask_of(layer.module).float(), pattern) > 0, score, -torch.inf)

    def finish(self) -> nn.Module:
        """Bakes the zeros into plain weights and takes the masks away. Returns the network, the same object."""
        if self._share < self._config.share:
            _log.warning(
                "Pruner: finished at a sparsity of %.3g, before the %.3g that were asked for; the schedule ends at "
                "step %d, and this is step %d",
                self._share, self._config.share, self._schedule.end, self._step,
            )  # fmt: skip
        for layer in self._layers.values():
            bake_mask(layer.module)
        self._finished = True
        return self._model

    def state_dict(self) -> dict[str, Any]:
        """Step, share of zeros, masks and gathered scores; for torch.save beside those of network and optimizer."""
        return {
            "step": self._step,
            "share": self._share,
            "masks": {name: mask_of(layer.module).clone() for name, layer in self._layers.items()},
            "scores": {name: score.clone() for name, score in self._gradients.scores.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of `state_dict`.

        Raises:
            ValueError: it is that of another network.
        """
        if set(state) != {"step", "share", "masks", "scores"}:
            raise ValueError("niwaki.Pruner: this is no state of a Pruner; give what its state_dict() returned.")
        shapes = {name: tuple(mask_of(layer.module).shape) for name, layer in self._layers.items()}
        other = {name: tuple(mask.shape) for name, mask in state["masks"].items()}
        if shapes != other:
            names = sorted(name for name in {*shapes, *other} if shapes.get(name) != other.get(name))
            raise ValueError(f"niwaki.Pruner: the state is of another network; layer '{names[0]}' differs.")
        for name, mask in state["masks"].items():
            set_mask(self._layers[name].module, mask)
        self._step, self._share = int(state["step"]), float(state["share"])
        self._gradients.scores = {
            name: score.to(original_of(self._layers[name].module).device) for name, score in state["scores"].items()
        }
