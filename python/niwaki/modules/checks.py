"""What the verbs check before they begin: the module, its values, the options."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.parameter import is_lazy

Config = TypeVar("Config")


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
        ValueError: it has lazy layers that were never called.
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
    for name, part in module.named_modules():
        if any(is_lazy(tensor) for tensor in (*part._parameters.values(), *part._buffers.values())):
            raise ValueError(
                f"niwaki.{what}: '{name}' ({type(part).__name__}) has no weights yet; call the network once with an "
                "input, and load its weights or train it."
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


def check_finite(name: str, layer: nn.Module) -> None:
    """Raises ValueError, naming the layer, if its weight or bias holds NaN or infinity."""
    for what in ("weight", "bias"):
        tensor = getattr(layer, what, None)
        if tensor is not None and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"Layer '{name}': its {what} holds NaN or infinity; train or load the network again.")
