"""Zeros in the gates of recurrent layers and cells, which read their weights themselves."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from niwaki.capture import evaluating
from niwaki.layerwise.sensitivity import first_pieces
from niwaki.layerwise.sequences import Recurrent, joined, plain_form, watch, write_back
from niwaki.modules.copies import copy_model
from niwaki.modules.names import CELLS, RECURRENT, matches, recurrent_names, sharing_skipped
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
    """The recurrent layers and cells to prune, by name. What shares a weight with one that is skipped stays, too."""
    like_skipped = sharing_skipped(model, config.skip)
    return {
        name: part
        for name, part in model.named_modules()
        if isinstance(part, (*RECURRENT, *CELLS)) and not matches(name, config.skip) and name not in like_skipped
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


def _same_weights(a: Recurrent, b: Recurrent) -> bool:
    """Whether two layers are one under two names: of the same kind, with the same parameters."""
    forms = [[getattr(part, key, None) for key in ("nonlinearity", "num_layers", "bidirectional")] for part in (a, b)]
    names = zip(recurrent_names(a), recurrent_names(b), strict=False)
    return (
        type(a) is type(b)
        and forms[0] == forms[1]
        and len(recurrent_names(a)) == len(recurrent_names(b))
        and all(getattr(a, one) is getattr(b, other) for one, other in names)
    )


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
        if self._layers and config.balance:
            _log.info("prune: recurrent layers do not balance: they multiply a row at a time, which has no sets")
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
        partners = self._partners(name)
        if all(_same_weights(layer, self._layers[other]) for other in partners):
            self._one(name, layer, batches, partners)
        else:  # a solution for one would be put in the place of the other's
            shared = ", ".join(f"'{other}'" for other in partners)
            self.notes[name] = self._by_magnitude(name, layer, f"some of its weights, not all, are those of {shared}")

    def _partners(self, name: str) -> list[str]:
        """The other layers that have a weight of this one's."""
        own = {id(weight) for weight in self._layers[name].parameters()}
        return [
            other
            for other, layer in self._layers.items()
            if other != name and any(id(weight) in own for weight in layer.parameters())
        ]

    def _one(self, name: str, layer: Recurrent, batches: Sequence[Batch], others: Sequence[str]) -> None:
        """Prunes a layer, which the network may have under other names, too, for the calls of all of them."""
        known = None if self._checkpoint is None else self._checkpoint.load(f"recurrent {name}")
        if known is None:
            self.notes[name] = self._prune(name, layer, batches, others)
            if self._checkpoint is not None:
                state = {"layer": layer.state_dict(), "note": self.notes[name]}
                self._checkpoint.save(f"recurrent {name}", state)
        else:
            layer.load_state_dict(known["layer"])
            self.notes[name] = known["note"]
        for other in others:
            self.notes[other] = f"{self.notes[name]}; as '{name}', whose weights it has"

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

    def _prune(self, name: str, layer: Recurrent, batches: Sequence[Batch], others: Sequence[str] = ()) -> str:
        """Prunes a layer, and says how."""
        names = (name, *others)
        if self._config.share == 1:
            prune_recurrent([layer], self._config)
            return "pruned: all of its weights"
        parts = [self._layers[each] for each in names]
        if any(type(part) not in (*RECURRENT, *CELLS) or has_hooks(part) for part in parts):
            return self._by_magnitude(name, layer, "it computes something of its own, or has hooks")
        pieces = first_pieces(self._model, batches, INPUTS)
        calls = [watch(self._model, self._before, each, pieces, most=_VALUES // len(names)) for each in names]
        found_calls = [seen for seen in calls if seen is not None]
        if not found_calls:
            why = "the network does not call it, or calls it otherwise than before it was pruned"
            return self._by_magnitude(name, layer, why)
        before = plain_form(self._before.get_submodule(name))  # type: ignore[arg-type]
        by_magnitude = plain_form(layer)
        prune_recurrent([by_magnitude], self._config)
        found = prune_and_refit(before, by_magnitude, joined(found_calls), self._config, name)
        write_back(found.layer, layer)
        return found.note

    def _by_magnitude(self, name: str, layer: Recurrent, why: str) -> str:
        prune_recurrent([layer], self._config)
        _log.warning("layer '%s': %s, so it is pruned by magnitude", name, why)
        return f"pruned by magnitude: {why}"
