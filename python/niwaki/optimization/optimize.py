"""niwaki.optimize: the same network in eval mode, with fewer layers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from niwaki.modules.checks import check_model, config_or_default
from niwaki.modules.copies import bake_parametrizations, copy_model, replace_module
from niwaki.modules.plain import has_hooks
from niwaki.optimization.dead import try_to_remove
from niwaki.optimization.pairs import fold_batch_norms
from niwaki.optimization.plain_copy import call_parts
from niwaki.optimization.rewrite import rewrite_layers
from niwaki.options import says_its_options

_log = logging.getLogger("niwaki")

_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


@says_its_options
@dataclass(frozen=True)
class OptimizeConfig:
    """What niwaki.optimize does.

    Attributes:
        fold_batch_norm: multiplies batch norms into the convolution or linear layer before them.
        remove_dropout: replaces dropout, which does nothing after training, by nn.Identity.
        remove_dead_channels: cuts out channels without weights, whose value never changes; it goes into the bias of the
            layer that reads them. Needs an example input.
    """

    fold_batch_norm: bool = True
    remove_dropout: bool = True
    remove_dead_channels: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, bool):
                raise TypeError(f"OptimizeConfig: {field.name} must be True or False, not {value!r}.")


def optimize(
    model: nn.Module,
    config: OptimizeConfig | None = None,
    *,
    args: tuple[Any, ...] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Returns a copy that computes the same in eval mode with fewer steps; layers keep their names.

    A batch norm is folded only where the layer before it is called once and feeds nothing else. Zeros in the weights
    stay zeros; masks and other parametrizations become plain weights. Layers that are a two-dimensional convolution or
    linear layers in another guise become that: convolutions along one or three dimensions, transposed ones, those that
    pad in a mode of their own or as TensorFlow does, and nn.MultiheadAttention. The new layers lie in them: `head`
    becomes `head.conv`.

    Args:
        model: a float32 network on the CPU. It is not changed.
        config: what to do; OptimizeConfig() where None.
        args, kwargs: an example input. With one, the network's graph comes from torch.export, which sees through more
            networks than symbolic tracing, and shapes are known.

    Examples:
        >>> folded = niwaki.optimize(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).eval())
        >>> folded[1]
        Identity()

    Raises:
        TypeError: an argument is of a wrong type.
        NiwakiError: the model cannot be copied.

    Warns:
        UserWarning: the network's graph cannot be found, so no batch norm was folded.
    """
    model = check_model(model, "optimize")
    config = config_or_default(config, OptimizeConfig, "optimize")
    if args is not None and not isinstance(args, tuple):
        raise TypeError(f"niwaki.optimize: args must be a tuple such as (x,), not {type(args).__name__}.")
    copied = copy_model(model).eval()
    bake_parametrizations(copied)
    if config.fold_batch_norm:
        copied, failure = fold_batch_norms(copied, args, kwargs)
        if failure:
            warnings.warn(f"niwaki.optimize folded no batch norm: {failure}", stacklevel=2)
    copied = rewrite_layers(copied)
    if config.remove_dropout:
        for module in list(copied.modules()):
            if type(module) in _DROPOUT and not has_hooks(module):
                copied = replace_module(copied, module, nn.Identity())
    call_parts(copied)
    if config.remove_dead_channels:
        for name, count in try_to_remove(copied, args, kwargs).items():
            _log.info("optimize: layer '%s' loses %d channels that have no weights", name, count)
    return copied
