"""niwaki.factorize: a linear layer as two smaller ones, where that is faster here and costs little."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from niwaki.layerwise.moments import moments
from niwaki.layerwise.timing import time_layer
from niwaki.layerwise.walk import Visit, Walk
from niwaki.modules.checks import check_model, config_or_default
from niwaki.modules.copies import replace_module
from niwaki.modules.layer import Layer
from niwaki.modules.names import check_patterns, check_skips, matches
from niwaki.modules.plain import has_hooks
from niwaki.onnx.plain import without_rounding
from niwaki.optimization.plain_copy import plain_copy
from niwaki.options import says_its_options
from niwaki.quantization.inputs import batches, check_calibration

_log = logging.getLogger("niwaki")
# Two layers have to be so much faster than one: measurements waver.
_GAIN = 0.9


@says_its_options
@dataclass(frozen=True)
class FactorizeConfig:
    """Which layers become two.

    Attributes:
        error: of a layer's outputs, root of the mean square over that of the outputs: above 0, below 1.
        threads: on which times are measured.
        skip: names or patterns of layers that stay one.
    """

    error: float = 0.05
    threads: int = 1
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.error, bool) or not isinstance(self.error, (int, float)) or not 0 < self.error < 1:
            raise ValueError(f"FactorizeConfig: error must be a number above 0 and below 1, not {self.error!r}.")
        if isinstance(self.threads, bool) or not isinstance(self.threads, int) or self.threads < 1:
            raise ValueError(f"FactorizeConfig: threads must be a whole number of at least 1, not {self.threads!r}.")
        object.__setattr__(self, "skip", check_patterns(self.skip, "FactorizeConfig: skip"))


def factorize(
    model: nn.Module, calibration: Any, config: FactorizeConfig | None = None, *, progress: bool = True
) -> nn.Module:
    """A copy in which linear layers and 1 x 1 convolutions are products of two, where that is faster in int8 here.

    A layer W [O, I] becomes U' W [r, I] and U [O, r]: U are the r leading directions of the layer's outputs on the
    calibration inputs (as in Zhang et al., "Accelerating very deep convolutional networks", 2016), the least r that
    keeps `config.error`. Both are timed with the engine's own kernels; what is not a tenth faster stays one. The bias
    takes up the mean of what is lost.

    Args:
        model: a float32 network on the CPU, in eval mode. It is not changed.
        calibration: as in niwaki.compress, some hundred inputs.
        config: FactorizeConfig() where None.
        progress: tells on stderr how far it is.

    Returns:
        The network; a layer 'fc' that became two is an nn.Sequential of 'fc.0' and 'fc.1'. The logger 'niwaki' says,
        for each layer, its rank and times.

    Raises:
        TypeError, ValueError: an argument is not fit; says which and why.
        NiwakiError: the network cannot be captured.
    """
    model = without_rounding(check_model(model, "factorize"))
    config = config_or_default(config, FactorizeConfig, "factorize")
    check_skips(model, config.skip, "factorize")
    copied = plain_copy(model)
    found: list[tuple[Layer, tuple[Layer, Layer]]] = []

    def visit(seen: Visit) -> None:
        layer = seen.layer
        if matches(seen.name, config.skip) or not _fits(layer):
            return
        pair = _split(seen, config.error)
        if pair is not None and _faster(seen, pair, config.threads):
            found.append((layer, pair))

    with torch.inference_mode(False), torch.no_grad():
        walk = Walk(copied, batches(check_calibration(calibration, copied), None, copied))
        walk.run(visit, reference=False, what="factorizing", progress=progress)
    for layer, pair in found:
        copied = replace_module(copied, layer.module, nn.Sequential(*(part.module for part in pair)).eval())
    return copied


def _fits(layer: Layer) -> bool:
    return layer.pointwise and layer.is_plain() and layer.weight.numel() > 0 and not has_hooks(layer.module)


def _split(seen: Visit, error: float) -> tuple[Layer, Layer] | None:
    """Two layers of the least rank that keeps the error; None where they hold no less than one."""
    layer = seen.layer
    weight = seen.weight.flatten(1).double()
    known = moments(layer, seen.inputs, seen.inputs, centered=layer.bias is not None)
    outputs = known.covariance.times(weight[None])[0] @ weight.T
    values, directions = torch.linalg.eigh(outputs)
    values = values.clamp_min(0)
    # Ascending: what is lost when the first k directions are left out.
    lost = torch.cumsum(values, 0) / values.sum().clamp_min(1e-30)
    rank = len(values) - int((lost <= error**2).sum())
    rank = max(4, -(-rank // 4) * 4)  # kernels work on fours
    size = weight.shape[0] + weight.shape[1]
    if rank * size >= weight.numel():
        return None
    basis = directions[:, len(values) - rank :]
    first, second = (basis.T @ weight).float(), basis.float()
    one, other = layer.in_two(rank)
    one.weight.copy_(first.reshape(one.weight.shape))
    other.weight.copy_(second.reshape(other.weight.shape))
    if seen.bias is not None and other.bias is not None:
        other.bias.copy_(seen.bias + ((weight - basis @ (basis.T @ weight)) @ known.mean[0].double()).float())
    return one, other


def _faster(seen: Visit, pair: tuple[Layer, Layer], threads: int) -> bool:
    shape = tuple(seen.inputs[0].shape)
    one = _milliseconds(seen.layer, shape, threads)
    with torch.no_grad():
        between = tuple(pair[0].module(seen.inputs[0][:1]).shape)
    two = [_milliseconds(part, at, threads) for part, at in zip(pair, (shape, (shape[0], *between[1:])), strict=True)]
    if one is None or any(part is None for part in two):
        return False
    total = sum(part for part in two if part is not None)
    better = total < _GAIN * one
    rank = len(pair[0].weight)
    _log.info(
        "factorize: layer '%s', rank %d of %d: %.3f ms in two, %.3f ms in one: %s",
        seen.name, rank, min(seen.weight.shape[:2]), total, one, "two" if better else "stays one",
    )  # fmt: skip
    return better


def _milliseconds(layer: Layer, shape: tuple[int, ...], threads: int) -> float | None:
    weight = layer.weight.detach()
    q = (weight / weight.abs().amax().clamp_min(1e-30) * 127).round().to(torch.int8)
    return time_layer(layer, np.ascontiguousarray(q.numpy()), shape, threads)
