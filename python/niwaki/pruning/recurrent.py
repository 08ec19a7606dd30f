"""Zeros in the gates of recurrent layers and cells, which read their weights themselves."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from niwaki.capture import evaluating
from niwaki.layerwise.sensitivity import first_pieces
from niwaki.layerwise.sequences import Recurrent, plain_form, watch, write_back
from niwaki.modules.copies import copy_model
from niwaki.modules.names import CELLS, RECURRENT, matches, recurrent_names
from niwaki.modules.plain import has_hooks
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.gates import pattern_of
from niwaki.pruning.refit import prune_and_refit
from niwaki.pruning.select import expand, keep_largest, scores_of
from niwaki.quantization.inputs import Batch
from niwaki.runs.checkpoint import Checkpoint

_log = logging.getLogger("niwaki")
# Inputs of the network that are looked at, and values of a layer that are kept: 256 MB.
INPUTS, _VALUES = 2048, 1 << 26


def recurrent_targets(model: nn.Module, config: PruneConfig) -> dict[str, Recurrent]:
    """The recurrent layers and cells to prune, by name."""
    parts = model.named_modules()
    return {
        name: part for name, part in parts if isinstance(part, (*RECURRENT, *CELLS)) and not matches(name, config.skip)
    }


def prune_recurrent(layers: Iterable[Recurrent], config: PruneConfig) -> None:
    """Sets `config.sparsity` of each weight matrix of recurrent layers and cells to zero, by magnitude.

    Blocks of four inputs go together, where the pattern is 'block4' and inputs come in fours; else single weights. The
    share holds for each matrix, whatever the scope.
    """
    with torch.no_grad():
        for module in layers:
            for key in recurrent_names(module):
                if key.startswith("weight"):
                    weight = getattr(module, key)
                    pattern = pattern_of(weight, config)
                    (keep,) = keep_largest([scores_of(weight, pattern)], config.share)
                    weight.copy_(torch.where(expand(keep, weight.shape, pattern), weight, 0))


class RecurrentPruner:
    """Prunes recurrent layers by second order, one after the other.

    Args:
        model: a copy in float32 without parametrizations; weights and biases of its layers are replaced.
        config: sparsity, pattern and skip.
        checkpoint: where layers that are done are kept, and found again.

    Attributes:
        notes: what became of each layer, by name.
    """

    def __init__(self, model: nn.Module, config: PruneConfig, checkpoint: Checkpoint | None = None) -> None:
        self._model, self._config, self._checkpoint = model, config, checkpoint
        self._layers = recurrent_targets(model, config)
        self._before = copy_model(model) if self._layers else model
        self.notes: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._layers)

    def __call__(self, name: str, batches: Sequence[Batch]) -> None:
        """Prunes the layer of a name; what the network does before it is done.

        Args:
            name: one that is no target is left as it is.
            batches: calibration inputs of the network.
        """
        layer = self._layers.get(name)
        if layer is None or name in self.notes:
            return
        known = None if self._checkpoint is None else self._checkpoint.load(f"recurrent {name}")
        if known is None:
            self.notes[name] = self._prune(name, layer, batches)
            if self._checkpoint is not None:
                state = {"layer": layer.state_dict(), "note": self.notes[name]}
                self._checkpoint.save(f"recurrent {name}", state)
        else:
            layer.load_state_dict(known["layer"])
            self.notes[name] = known["note"]

    def all(self, batches: Sequence[Batch]) -> None:
        """Prunes the layers that are left, in the order in which the network calls them."""
        for name in [*self._called(batches[:1]), *self._layers]:
            self(name, batches)

    def _called(self, batches: Sequence[Batch]) -> list[str]:
        found: list[str] = []
        hooks = [
            layer.register_forward_pre_hook(lambda *_, name=name: found.append(name))
            for name, layer in self._layers.items()
        ]
        try:
            with evaluating(self._model):
                for batch in batches:
                    copied = batch.copy()
                    self._model(*copied.args, **copied.kwargs)
        finally:
            for hook in hooks:
                hook.remove()
        return list(dict.fromkeys(found))

    def _prune(self, name: str, layer: Recurrent, batches: Sequence[Batch]) -> str:
        """Prunes a layer, and says how."""
        if self._config.share == 1:
            prune_recurrent([layer], self._config)
            return "pruned: all of its weights"
        if type(layer) not in (*RECURRENT, *CELLS) or has_hooks(layer):
            return self._by_magnitude(name, layer, "it computes something of its own, or has hooks")
        pieces = first_pieces(self._model, batches, INPUTS)
        seen = watch(self._model, self._before, name, pieces, most=_VALUES)
        if seen is None:
            why = "the network does not call it, or calls it otherwise than before it was pruned"
            return self._by_magnitude(name, layer, why)
        before = plain_form(self._before.get_submodule(name))  # type: ignore[arg-type]
        by_magnitude = plain_form(layer)
        prune_recurrent([by_magnitude], self._config)
        found = prune_and_refit(before, by_magnitude, seen, self._config, name)
        write_back(found.layer, layer)
        return found.note

    def _by_magnitude(self, name: str, layer: Recurrent, why: str) -> str:
        prune_recurrent([layer], self._config)
        _log.warning("layer '%s': %s, so it is pruned by magnitude", name, why)
        return f"pruned by magnitude: {why}"
