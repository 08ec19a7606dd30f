"""Folds one batch norm into the layer before it."""

from __future__ import annotations

import torch
from torch import nn

from niwaki.modules.copies import replace_module

BatchNorm = nn.modules.batchnorm._BatchNorm
Foldable = nn.Linear | nn.modules.conv._ConvNd
_Transposed = nn.modules.conv._ConvTransposeNd


def outputs_of(layer: Foldable) -> int:
    """How many output channels a layer has."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def what_remains(norm: BatchNorm) -> nn.Module | None:
    """What a batch norm's module does after normalizing: nothing, or timm's dropout and activation. None: not known."""
    if type(norm).forward in (BatchNorm.forward, nn.SyncBatchNorm.forward):
        return nn.Identity()
    drop, act = getattr(norm, "drop", None), getattr(norm, "act", None)
    if isinstance(drop, nn.Module) and isinstance(act, nn.Module) and set(norm._modules) == {"drop", "act"}:
        rest = [module for module in (drop, act) if not isinstance(module, nn.Identity)]
        return rest[0] if len(rest) == 1 else nn.Sequential(*rest) if rest else nn.Identity()
    return None


def fold_batch_norm(model: nn.Module, layer: Foldable, norm: BatchNorm) -> nn.Module:
    """y = (w x + b - mean) * factor + beta, with factor = gamma / sqrt(var + eps), is a layer with weights w * factor.

    Computed in float64, so that the one rounding is the last. Returns the root of the model; where the batch norm does
    something that is not known, the model is left as it is.
    """
    rest = what_remains(norm)
    if rest is None or norm.running_mean is None or norm.running_var is None:
        return model
    offset = fold_shift(layer.bias, norm)
    weight, factor = layer.weight.double(), _factor(norm)
    if isinstance(layer, _Transposed):  # inputs, then outputs of each group
        factor = factor.reshape(layer.groups, 1, -1, *[1] * (weight.dim() - 2))
        weight = (weight.unflatten(0, (layer.groups, -1)) * factor).flatten(0, 1)
    else:
        weight = weight * factor.reshape(-1, *[1] * (weight.dim() - 1))
    layer.weight.copy_(weight.float())
    if layer.bias is None:
        layer.bias = nn.Parameter(offset, requires_grad=layer.weight.requires_grad)
    else:
        layer.bias.copy_(offset)
    return replace_module(model, norm, rest)


def fold_shift(bias: torch.Tensor | None, norm: BatchNorm) -> torch.Tensor:
    """float32 [O], the bias of a layer with its batch norm folded in."""
    assert norm.running_mean is not None
    offset = -norm.running_mean.detach().double()
    if bias is not None:
        offset = offset + bias.detach().double()
    offset = offset * _factor(norm)
    if norm.bias is not None:
        offset = offset + norm.bias.detach().double()
    return offset.float()


def _factor(norm: BatchNorm) -> torch.Tensor:
    assert norm.running_var is not None
    factor = (norm.running_var.detach().double() + norm.eps).rsqrt()
    return factor if norm.weight is None else factor * norm.weight.detach().double()
