"""What a change of one layer's weights does to the network's outputs, measured by running the network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.utils import _pytree as pytree

from niwaki.capture import evaluating
from niwaki.layerwise.sensitivity import first_pieces
from niwaki.modules.layer import Layer
from niwaki.quantization.inputs import Batch

# Inputs that are run for each measurement: it only scales what all inputs tell of a layer alone.
_INPUTS = 16


class Exact:
    """Runs a network with other weights in one layer.

    Sensitivities take errors at different positions and channels as independent of each other. They are not: what a
    convolution loses at all positions of an image alike adds up in the mean over them. On EfficientNet-lite0, its last
    convolutions cost 5 to 11 times the squared error that sensitivities say, and its first ones no more than that.

    Args:
        model: float32, in eval mode.
        batches: of inputs; those that decide nothing tell most.
    """

    def __init__(self, model: nn.Module, batches: Sequence[Batch]) -> None:
        self._model = model
        self._pieces = list(first_pieces(model, batches, _INPUTS))
        with evaluating(model):
            self._answers = [self._run(piece) for piece in self._pieces]

    @property
    def energy(self) -> float:
        """The squared outputs, the sum of one input's, the mean over inputs; 0 where there are none."""
        answers = [answer for found in self._answers for answer in found]
        inputs = sum(_inputs(found) for found in self._answers)
        return sum(_squared(answer) for answer in answers) / inputs if inputs else 0.0

    def cost(self, layer: Layer, weight: torch.Tensor, bias: torch.Tensor | None) -> float:
        """The squared change of the outputs, the sum of one input's, the mean over inputs. NaN where it has none.

        Args:
            layer: of the model.
            weight, bias: float32, of the layer's shapes.
        """
        before = layer.weight.detach().clone(), None if layer.bias is None else layer.bias.detach().clone()
        total, inputs = 0.0, 0
        try:
            with evaluating(self._model):
                _write(layer, weight, bias)
                for piece, answers in zip(self._pieces, self._answers, strict=True):
                    for answer, found in zip(answers, self._run(piece), strict=True):
                        total += _squared(found - answer)
                    inputs += _inputs(answers)
        finally:
            with torch.no_grad():
                _write(layer, *before)
        return total / inputs if inputs else float("nan")

    def _run(self, piece: Batch) -> list[torch.Tensor]:
        copied = piece.copy()
        leaves = pytree.tree_leaves(self._model(*copied.args, **copied.kwargs))
        return [x for x in leaves if isinstance(x, torch.Tensor) and x.is_floating_point()]


def _inputs(answers: Sequence[torch.Tensor]) -> int:
    return 0 if not answers else len(answers[0]) if answers[0].dim() else 1


def _write(layer: Layer, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    layer.weight.copy_(weight)
    if layer.bias is not None and bias is not None:
        layer.bias.copy_(bias)


def _squared(change: torch.Tensor) -> float:
    if change.dim() == 2 and change.shape[1] > 1:
        # Logits [N, classes] that all move alike change no answer.
        change = change - change.mean(1, keepdim=True)
    return float(change.double().square().sum())
