"""Channels that can only go together, and which of them go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from niwaki.modules.layer import Layer, layer_of
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.select import keep_largest


class Group:
    """The channels of a layer and, for each, all that reads or writes it: one of Torch-Pruning's groups.

    Args:
        graph: Torch-Pruning's dependency graph.
        group: one of its groups, with all channels of the first layer.
        saliency: of convolutions and linear layers, what each of its weights counts, of the weight's shape.

    Attributes:
        scores: [channels], the mean over the layers that a channel runs through of what its weights count. Grouped
            convolutions lose the same channels in each of their groups: one score for all of them.
    """

    def __init__(self, graph: Any, group: Any, saliency: Mapping[Layer, torch.Tensor]) -> None:
        self._graph = graph
        self._root = group[0].dep
        self._readers: list[tuple[Layer, list[int], list[int]]] = []  # layer, its inputs, their channels here
        count = len(group[0].idxs)
        total, number = torch.zeros(count), torch.zeros(count)
        self._writers: list[torch.Tensor] = []
        self._copies = 1
        for item in group:
            layer = layer_of(item.dep.target.module)
            where = torch.tensor(item.root_idxs)
            writes = graph.is_out_channel_pruning_fn(item.dep.handler)
            if layer is None or layer not in saliency:
                continue
            values = saliency[layer]
            if not writes:
                self._readers.append((layer, list(item.idxs), list(item.root_idxs)))
            if 1 < layer.groups < len(layer.weight):
                self._copies = max(self._copies, layer.groups)
            if writes:
                self._writers.append(where)
            elif layer.groups > 1:
                continue  # its inputs are split over groups
            values = values.flatten(2) if values.dim() > 2 else values
            found = values.transpose(0, 1).flatten(1).sum(1) if not writes else values.flatten(1).sum(1)
            total.index_add_(0, where, found[torch.tensor(item.idxs)])
            number.index_add_(0, where, torch.ones(len(where)))
        self._count = count
        self.scores = (total / number.clamp_min(1)).reshape(self._copies, -1).mean(0)

    @property
    def layer(self) -> nn.Module:
        """The layer whose channels these are."""
        module: nn.Module = self._root.target.module
        return module

    def chosen(self, drop: torch.Tensor) -> list[int]:
        """The channels that a mask [channels / groups] cuts out; of each layer, at least the best one stays."""
        drop = drop.repeat(self._copies)
        scores = self.scores.repeat(self._copies)
        for where in self._writers:
            if bool(drop[where].all()):
                best = where[scores[where].argmax()] % (self._count // self._copies)
                drop[best :: self._count // self._copies] = False
        channels: list[int] = drop.nonzero().flatten().tolist()
        return channels

    def cut(self, chosen: list[int]) -> None:
        """Cuts these channels out of every layer that they run through."""
        if chosen:
            self._graph.get_pruning_group(self._root.target.module, self._root.handler, chosen).prune()

    def ignore(self, chosen: list[int], twins: Mapping[nn.Module, nn.Module]) -> None:
        """Sets the weights to zero by which the twins of the layers that read these channels do so.

        What such a network answers, it has to answer without the channels, too.
        """
        gone = set(chosen)
        for layer, inputs, channels in self._readers:
            twin = layer_of(twins[layer.module])
            assert twin is not None
            columns = sorted({i for i, channel in zip(inputs, channels, strict=True) if channel in gone})
            per_group = twin.weight.shape[1]
            for group, rows in enumerate(twin.by_input(twin.weight.data)):
                rows[:, [i - group * per_group for i in columns if i // per_group == group]] = 0


def choose_channels(groups: Sequence[Group], config: PruneConfig) -> list[torch.Tensor]:
    """Masks of the channels to cut out of each group: of each the share, or of all together.

    Between groups, scores are compared as multiples of the group's mean: layers differ in scale.
    """
    scores = [group.scores / group.scores.mean().clamp_min(1e-30) for group in groups]
    if config.scope == "global":
        return [~keep for keep in keep_largest(scores, config.share)]
    return [~keep_largest([score], config.share)[0] for score in scores]
