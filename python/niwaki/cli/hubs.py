"""Networks by the names that timm, torchvision and transformers know them by."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from torch import nn

from niwaki._compat import import_torchvision
from niwaki.cli.console import UsageError

HUBS = {"timm": "timm", "torchvision": "torchvision", "hf": "transformers"}
"""The package behind each prefix of a name, as in timm:resnet18."""


def is_hub(source: str) -> bool:
    """Whether a network is named as timm:NAME, torchvision:NAME or hf:NAME."""
    return source.partition(":")[0] in HUBS and bool(source.partition(":")[2])


def load_from_hub(source: str, keywords: dict[str, Any], *, pretrained: bool) -> nn.Module:
    """Makes a network of timm, torchvision or transformers.

    Args:
        source: timm:NAME, torchvision:NAME, or hf:NAME, where NAME may be a folder.
        keywords: for the function that makes it; of hf, entries of its configuration.
        pretrained: with the weights that the package fetches or has kept; else with random ones.

    Raises:
        UsageError: the package is missing, or it cannot make the network; says why.
    """
    hub, _, name = source.partition(":")
    import_torchvision()  # timm and transformers import it where it is installed
    try:
        package = importlib.import_module(HUBS[hub])
    except ImportError as error:
        raise UsageError(f"'{source}' needs {HUBS[hub]}: pip install {HUBS[hub]}.") from error
    try:
        model = _MAKERS[hub](package, name, keywords, pretrained)
    except Exception as error:
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise UsageError(f"{HUBS[hub]} cannot make '{name}': {type(error).__name__}: {first}") from error
    assert isinstance(model, nn.Module)
    return model


def usual_pixels(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std of the images that a network of timm was trained on; None where it does not say."""
    said = getattr(model, "pretrained_cfg", None) or {}
    if not isinstance(said, dict) or not said.get("mean") or not said.get("std"):
        return None
    return tuple(map(float, said["mean"])), tuple(map(float, said["std"]))


def _timm(package: Any, name: str, keywords: dict[str, Any], pretrained: bool) -> Any:
    return package.create_model(name, pretrained=pretrained, **keywords)


def _torchvision(package: Any, name: str, keywords: dict[str, Any], pretrained: bool) -> Any:
    models = importlib.import_module(f"{package.__name__}.models")
    options: dict[str, Any] = {"weights": "DEFAULT" if pretrained else None}
    if not pretrained and "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        options["weights_backbone"] = None  # by default it is pretrained even where the network is not
    return models.get_model(name, **options, **keywords)


def _transformers(package: Any, name: str, keywords: dict[str, Any], pretrained: bool) -> Any:
    config = package.AutoConfig.from_pretrained(name, **keywords)
    architectures = config.architectures or []
    kind = getattr(package, architectures[0], None) if architectures else None
    if kind is None:
        kind = package.AutoModel
        return kind.from_pretrained(name, config=config) if pretrained else kind.from_config(config)
    return kind.from_pretrained(name, config=config) if pretrained else kind(config)


_MAKERS = {"timm": _timm, "torchvision": _torchvision, "hf": _transformers}
