"""Copies of networks and the layers in them: what optimize, prune and quantize all need."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from niwaki.errors import NiwakiError, first_sentence

Config = TypeVar("Config")

RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


def unwrapped(module: Any) -> Any:
    """The module that torch.compile has wrapped; any other object as it is."""
    while isinstance(module, nn.Module):
        parts = vars(module).get("_modules")
        inner = parts.get("_orig_mod") if isinstance(parts, dict) else None  # TorchScript has another type
        if not isinstance(inner, nn.Module):
            break
        module = inner
    return module


def check_module(module: Any, what: str) -> nn.Module:
    """The module itself, without what torch.compile put around it. `what` names the function that was called.

    Raises:
        TypeError: it is no module, or one of TorchScript.
    """
    module = unwrapped(module)
    if isinstance(module, type) and issubclass(module, nn.Module):
        raise TypeError(f"niwaki.{what}: {module.__name__} is a class; give a module, such as {module.__name__}(...).")
    if not isinstance(module, nn.Module):
        raise TypeError(f"niwaki.{what}: model must be a torch.nn.Module, not {type(module).__name__}.")
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError(
            f"niwaki.{what}: {type(module).__name__} is TorchScript, whose layers cannot be taken apart; give the "
            "module that it was made of."
        )
    return module


def check_model(model: Any, what: str) -> nn.Module:
    """A float32 module on the CPU, without what torch.compile put around it. `what` names the function that was called.

    Raises:
        TypeError: it is something else.
    """
    checked: nn.Module = check_module(model, what)
    for name, tensor in [*checked.named_parameters(), *checked.named_buffers()]:
        if tensor.device.type != "cpu":
            raise TypeError(
                f"niwaki.{what}: '{name}' is on device '{tensor.device}'; niwaki works on CPUs, "
                "so move the model with model.cpu()."
            )
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise TypeError(
                f"niwaki.{what}: '{name}' is {str(tensor.dtype).removeprefix('torch.')}; "
                "convert the model with model.float()."
            )
    return checked


def config_or_default(config: Config | None, kind: type[Config], what: str) -> Config:
    """`config`, or kind() where it is None. Raises TypeError for anything else."""
    if config is None:
        return kind()
    if not isinstance(config, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"niwaki.{what}: config must be {article} {kind.__name__}, not {type(config).__name__}.")
    return config


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


def named_layers(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d | nn.Linear]]:
    """Every convolution and linear layer once, in the order of `named_modules`; a network that is one layer is ''."""
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            yield name, module


def named_tables(model: nn.Module) -> Iterator[tuple[str, nn.Embedding]]:
    """Every embedding once, but for those that change their table while they run."""
    for name, module in model.named_modules():
        own = isinstance(module, nn.Embedding) and type(module).forward is nn.Embedding.forward
        if own and module.max_norm is None:
            yield name, module


def replace_module(model: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """Puts `new` wherever `old` is in the tree. Returns the root: `new`, where the root was `old`."""
    if model is old:
        return new
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                parent._modules[name] = new
    return model


def has_hooks(module: nn.Module) -> bool:
    """Whether the module does something besides its forward."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a layer's name matches one of the patterns ('fc', 'layer1.*', '*.downsample.*')."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def check_finite(name: str, layer: nn.Module) -> None:
    """Raises ValueError, naming the layer, if its weight or bias holds NaN or infinity."""
    for what in ("weight", "bias"):
        tensor = getattr(layer, what, None)
        if tensor is not None and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"Layer '{name}': its {what} holds NaN or infinity; train or load the network again.")


def check_patterns(value: Any, field: str) -> tuple[str, ...]:
    """A tuple of name patterns from what a config was given."""
    if isinstance(value, str):
        raise TypeError(
            f"{field} must be a tuple of layer names or patterns, not a string; write {field}=('{value}',)."
        )
    try:
        patterns = tuple(value)
    except TypeError:
        patterns = (value,)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError(f"{field} must be a tuple of layer names or patterns such as ('fc', 'layer1.*').")
    return patterns


def check_skips(model: nn.Module, patterns: tuple[str, ...], what: str) -> None:
    """Raises ValueError for a pattern that matches no layer: most likely a slip; names are given that are close."""
    check_names(model, {"skip": patterns}, f"niwaki.{what}")


def check_names(model: nn.Module, patterns: Mapping[str, Iterable[str]], where: str) -> None:
    """As `check_skips`, for the patterns of several options; `dynamic` is about linear layers alone."""
    names = [name for name, _ in named_layers(model)]
    names += [name for name, module in model.named_modules() if isinstance(module, (*RECURRENT, nn.Embedding))]
    linear = [name for name, layer in named_layers(model) if isinstance(layer, nn.Linear)]
    for option, listed in patterns.items():
        known, kind = (linear, "linear layer") if option == "dynamic" else (names, "convolution or linear layer")
        for pattern in listed:
            if not any(fnmatchcase(name, pattern) for name in known):
                close = difflib.get_close_matches(pattern, known, cutoff=0.5) or known[:3]
                raise ValueError(
                    f"{where}: {option} pattern '{pattern}' matches no {kind}; "
                    f"close names are {', '.join(repr(name) for name in close) or '(there are none)'}."
                )


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
