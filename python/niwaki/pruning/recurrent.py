"""Zeros in the gates of recurrent layers, by magnitude: a layer reads its weights itself, so nothing else is known."""

from __future__ import annotations

import torch
from torch import nn

from niwaki.modules.names import CELLS, RECURRENT, matches, recurrent_names
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.select import BLOCK, expand, keep_largest, scores_of


def recurrent_targets(model: nn.Module, config: PruneConfig) -> list[nn.RNNBase | nn.RNNCellBase]:
    """The recurrent layers and cells to prune."""
    parts = model.named_modules()
    return [part for name, part in parts if isinstance(part, (*RECURRENT, *CELLS)) and not matches(name, config.skip)]


def prune_recurrent(model: nn.Module, config: PruneConfig) -> None:
    """Sets `config.sparsity` of each weight matrix of each nn.LSTM, GRU, RNN and cell of a copy to zero.

    Blocks of four inputs go together, where the pattern is 'block4' and inputs come in fours; else single weights. The
    share holds for each matrix, whatever the scope.
    """
    with torch.no_grad():
        for module in recurrent_targets(model, config):
            for key in recurrent_names(module):
                if key.startswith("weight"):
                    weight = getattr(module, key)
                    pattern = (
                        "block4" if config.pattern == "block4" and weight.shape[1] % BLOCK == 0 else "unstructured"
                    )
                    (keep,) = keep_largest([scores_of(weight, pattern)], config.share)
                    weight.copy_(torch.where(expand(keep, weight.shape, pattern), weight, 0))
