"""Copies of networks, so that the caller's is never changed, and what is changed in a copy."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from niwaki.errors import NiwakiError, first_sentence


def copy_model(model: nn.Module) -> nn.Module:
    """A deep copy that shares nothing with `model`.

    Raises:
        NiwakiError: a part of the model cannot be copied.
    """
    # Tensors that are computed from parameters (a pruned `weight`, say) refuse deepcopy; their values are copied.
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        with torch.inference_mode(False):
            copied = copy.deepcopy(model, memo)
    except Exception as error:
        raise NiwakiError(
            f"The model cannot be copied, and niwaki never changes the caller's: {first_sentence(error)}."
        ) from error
    # A parametrized module has a class of its own, which deepcopy shares: what is done to one, torch would do to the
    # other.
    for module in copied.modules():
        if parametrize.is_parametrized(module):
            kind = type(module)
            members = {key: value for key, value in vars(kind).items() if key not in ("__dict__", "__weakref__")}
            module.__class__ = type(kind.__name__, kind.__bases__, members)
    return copied


def bake_parametrizations(model: nn.Module) -> None:
    """Turns masks and other parametrizations of a copy into plain parameters with the values that they compute."""
    with torch.no_grad():
        for module in model.modules():
            if parametrize.is_parametrized(module):
                for name in list(module.parametrizations):  # type: ignore[arg-type]
                    parametrize.remove_parametrizations(module, name, leave_parametrized=True)
                    if name not in module._parameters:  # what is computed of several tensors is left as a plain tensor
                        value = getattr(module, name).detach()
                        delattr(module, name)
                        setattr(module, name, nn.Parameter(value))
            for key, hook in list(module._forward_pre_hooks.items()):
                if isinstance(hook, torch_prune.BasePruningMethod):
                    torch_prune.remove(module, hook._tensor_name)
                elif isinstance(hook, (WeightNorm, SpectralNorm)):
                    # The old form of these: hooks that compute the weight anew before each call.
                    modes = module.training
                    module.training = False  # spectral_norm iterates in training mode
                    hook(module, ())
                    weight = getattr(module, hook.name).detach().clone()
                    module.training = modes
                    del module._forward_pre_hooks[key]
                    for name in (hook.name, f"{hook.name}_g", f"{hook.name}_v", f"{hook.name}_orig", f"{hook.name}_u"):
                        if name in module._parameters or name in module._buffers or name in vars(module):
                            delattr(module, name)
                    setattr(module, hook.name, nn.Parameter(weight))


def replace_module(model: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """Puts `new` wherever `old` is in the tree. Returns the root: `new`, where the root was `old`."""
    if model is old:
        return new
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                parent._modules[name] = new
    return model


def keep_frozen(network: nn.Module, model: nn.Module) -> None:
    """Freezes those parameters of a copy that are frozen in the original; a network frozen as a whole is to be trained.

    Parameters that the original lacks, such as a bias that a batch norm left, follow their layer's weight.
    """
    known = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    plain = ((name.replace("parametrizations.weight.original", "weight").removesuffix("_orig"), name) for name in known)
    known |= {name: known[own] for name, own in list(plain)}
    whole = not any(known.values())
    for name, parameter in network.named_parameters():
        weight = f"{name.rpartition('.')[0]}.weight"
        parameter.requires_grad_(whole or known.get(name, known.get(weight, True)))
