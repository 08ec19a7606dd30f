"""Importance of weights from gradients: first-order Taylor, and movement."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from niwaki.errors import first_sentence
from niwaki.modules.layer import Layer
from niwaki.pruning.mask import original_of
from niwaki.pruning.select import BLOCK

_log = logging.getLogger("niwaki")
# The loss of a network on one item of the calibration, a scalar with a gradient.
Loss = Callable[[nn.Module, Any], torch.Tensor]


class Gradients:
    """Adds up, over backward passes, what the gradients say of each weight or block.

    'taylor': the squared change of the loss if it were gone, (sum of w g)^2, to first order (Molchanov et al., 2019).
    'movement': - sum of w g: how far training moves it away from zero (Sanh et al., 2020).

    Attributes:
        scores: by name of the layer, what was added up since the last `clear`.
    """

    def __init__(self, kind: str, pattern: str) -> None:
        self._kind = kind
        self._pattern = pattern
        self.scores: dict[str, torch.Tensor] = {}

    def add(self, layers: Mapping[str, Layer]) -> None:
        """Takes the gradients that lie at the layers' weights. Those that are not finite are left out, and named."""
        for name, layer in layers.items():
            weight = original_of(layer.module)
            if weight.grad is None:
                continue
            product = weight.detach() * weight.grad
            if not bool(torch.isfinite(product).all()):
                _log.warning("layer '%s': a gradient is NaN or infinite; this step does not count for pruning", name)
                continue
            if self._pattern == "block4":
                product = product.reshape(len(product), -1, BLOCK, *product.shape[2:]).sum(2)
            score = product.square() if self._kind == "taylor" else -product
            self.scores[name] = self.scores[name] + score if name in self.scores else score

    def clear(self) -> None:
        """Starts anew."""
        self.scores = {}


def taylor_scores(
    model: nn.Module, layers: Mapping[str, Layer], items: Iterable[Any], loss: Loss, pattern: str
) -> dict[str, torch.Tensor]:
    """Taylor scores over the items of a calibration, in eval mode.

    Args:
        model: a copy, whose gradients are written.
        layers: those to score, by name.
        items: what `loss` is called with.
        loss: returns the loss of the network on one item.
        pattern: of the scores.

    Raises:
        TypeError, ValueError: the loss fails, or is no scalar with a gradient; or there are no items.
    """
    gradients = Gradients("taylor", pattern)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    for layer in layers.values():
        original_of(layer.module).requires_grad_(True)
    try:
        for _ in backward_of(model, items, loss):
            gradients.add(layers)
            model.zero_grad(set_to_none=True)
    finally:
        for module, mode in modes:
            module.training = mode
    return gradients.scores


def backward_of(model: nn.Module, items: Iterable[Any], loss: Loss) -> Iterator[int]:
    """The backward pass of the loss of each item. Gradients add up, unless the caller clears them in between."""
    number = -1
    model.zero_grad(set_to_none=True)
    for number, item in enumerate(items):
        with torch.inference_mode(False), torch.enable_grad():
            try:
                value = loss(model, item)
            except Exception as error:
                raise ValueError(f"calibration item {number}: loss failed: {first_sentence(error)}.") from error
            if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
                raise TypeError(
                    "niwaki.prune: loss(model, item) must return a scalar tensor with a gradient, such as "
                    "cross_entropy(model(item[0]), item[1])."
                )
            value.reshape(()).backward()
        yield number
    if number < 0:
        raise ValueError("calibration is empty; give at least one item, better some hundred inputs with labels.")
