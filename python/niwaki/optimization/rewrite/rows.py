"""Linear layers that are written in another way."""

from __future__ import annotations

import torch
from torch import nn


def rewritten(module: nn.Module) -> nn.Module | None:
    """An nn.Linear for the Conv1D of transformers' GPT models: a linear layer with its weight as [inputs, outputs]."""
    weight, bias = module._parameters.get("weight"), module._parameters.get("bias")
    if type(module).__name__ != "Conv1D" or weight is None or bias is None or weight.dim() != 2 or module._modules:
        return None
    x = torch.linspace(-1, 1, 2 * len(weight)).reshape(2, -1)
    with torch.no_grad():
        try:
            found = module(x)
        except Exception:  # it takes something else
            return None
        if found.shape != (2, weight.shape[1]) or not torch.allclose(found, x @ weight + bias, atol=1e-5):
            return None
        linear = nn.Linear(*weight.shape)
        linear.weight.copy_(weight.t()).requires_grad_(weight.requires_grad)
        linear.bias.copy_(bias).requires_grad_(bias.requires_grad)
    return linear
