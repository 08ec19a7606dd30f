"""The network that a command is given: "module:callable", "timm:NAME", an ONNX file and the like, and its weights."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from niwaki._compat import import_torchvision
from niwaki.cli.console import UsageError
from niwaki.cli.hubs import is_hub, load_from_hub
from niwaki.errors import NiwakiError, meant


def load_model(source: str, arguments: str | None, weights: str | None, *, pretrained: bool = False) -> torch.nn.Module:
    """Makes the network, loads its weights and puts it into eval mode.

    Args:
        source: "package.module:callable" or "path/to/file.py:callable". The callable returns a module (or is one). Or
            the path of an .onnx file. Or a name of timm, torchvision or transformers: see hubs.py.
        arguments: keyword arguments for the callable, as a JSON object; None for none. Of an .onnx file, the inputs and
            sizes that `niwaki.from_onnx` is to fix.
        weights: a .safetensors, .pt or .pth file with a state dict; None keeps what the callable made.
        pretrained: with the weights that timm, torchvision or transformers have for it.

    Raises:
        UsageError: names what cannot be found, imported, called or loaded.
    """
    keywords = _parse_arguments(arguments)
    if source.endswith(".onnx"):
        if weights is not None:
            raise UsageError(f"--weights: '{source}' has its own weights.")
        return _read_onnx(source, keywords)
    if pretrained and (weights is not None or not is_hub(source)):
        raise UsageError("--pretrained is for timm:NAME, torchvision:NAME and hf:NAME, and without --weights.")
    target = None if is_hub(source) else _find(source)
    if target is None:
        model = load_from_hub(source, keywords, pretrained=pretrained)
    elif isinstance(target, torch.nn.Module):
        if keywords:
            raise UsageError(f"--args: '{source}' is a module already and takes no arguments.")
        model = target
    else:
        try:
            model = target(**keywords)
        except Exception as error:
            raise UsageError(f"calling '{source}' failed: {type(error).__name__}: {_first_line(error)}") from error
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"'{source}' returned {type(model).__name__}; it has to return a torch.nn.Module.")
    if weights is not None:
        _load_weights(model, Path(weights))
    return model.eval()


def _read_onnx(path: str, fixed: dict[str, Any]) -> torch.nn.Module:
    from niwaki.onnx import from_onnx

    if not Path(path).is_file():
        raise UsageError(f"there is no file '{path}'.")
    try:
        return from_onnx(path, fixed=fixed)
    except (NiwakiError, ValueError) as error:
        raise UsageError(str(error)) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no message"


def _parse_arguments(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        arguments = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"--args is not JSON ({error}); write it like --args '{{\"num_classes\": 10}}'.") from error
    if not isinstance(arguments, dict):
        raise UsageError(f"--args has to be a JSON object of keyword arguments, not {type(arguments).__name__}.")
    return arguments


def _find(source: str) -> Any:
    place, colon, name = source.rpartition(":")
    if not colon or not place or not name:
        raise UsageError(
            f"'{source}' does not name a network; write module:callable or path/to/file.py:callable, "
            "for example torchvision.models:resnet50; or timm:NAME, torchvision:NAME or hf:NAME, or the path of an "
            ".onnx file."
        )
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    target: Any = module
    for part in name.split("."):
        if not hasattr(target, part):
            raise UsageError(f"'{place}' has nothing called '{name}'{meant(part, dir(target))}")
        target = getattr(target, part)
    if not callable(target):
        raise UsageError(f"'{source}' is {type(target).__name__}, not something that returns a network.")
    return target


def _import_module(name: str) -> ModuleType:
    if name.partition(".")[0] in ("torchvision", "timm"):
        import_torchvision()
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: a module in the current folder is found
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise UsageError(f"importing '{name}' failed: {type(error).__name__}: {_first_line(error)}") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file '{path}'.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"'{path}' cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python file.py` does
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise UsageError(f"importing '{path}' failed: {type(error).__name__}: {_first_line(error)}") from error
    return module


def _load_weights(model: torch.nn.Module, path: Path) -> None:
    state = _unwrap(_read_state(path), path)
    state = {_plain_name(name): value for name, value in state.items()}
    own = model.state_dict()
    problems = [f"lacks '{name}'" for name in own if name not in state]
    problems += [f"has '{name}', which the network has not" for name in state if name not in own]
    problems += [
        f"has '{name}' as {tuple(value.shape)} where the network has {tuple(own[name].shape)}"
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    if problems:
        more = f", and {len(problems) - 1} more differences" if len(problems) > 1 else ""
        raise UsageError(f"--weights '{path}' does not fit the network: it {problems[0]}{more}.")
    model.load_state_dict(state)


def _plain_name(name: str) -> str:
    """Without what DistributedDataParallel and torch.compile put before the names of a network that they wrap."""
    for prefix in ("module.", "_orig_mod.", "module."):
        name = name.removeprefix(prefix)
    return name.replace("._orig_mod.", ".")  # a part that was compiled by itself


def _read_state(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"--weights: there is no file '{path}'.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if path.suffix in (".pt", ".pth", ".bin"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(f"--weights '{path}' cannot be read: {_first_line(error)}") from error
    raise UsageError(f"--weights '{path}': the file has to end in .safetensors, .pt or .pth.")


def _unwrap(state: Any, path: Path) -> dict[str, torch.Tensor]:
    """The state dict within a checkpoint: training scripts like to put it beside the optimizer's."""
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
            break
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UsageError(f"--weights '{path}' holds no state dict (a mapping from names to tensors).")
    return dict(state)
