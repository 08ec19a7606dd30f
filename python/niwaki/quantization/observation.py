"""Ranges of a compressed network observed anew, after its graph has changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from niwaki.errors import NiwakiError
from niwaki.nn.layers import quantized_layers
from niwaki.quantization import QuantizeConfig, Ranges
from niwaki.quantization.arithmetic import Weights, dequantized
from niwaki.quantization.calibrate import Calibration
from niwaki.quantization.inputs import batches, check_calibration


def observe_values(module: nn.Module, calibration: Iterable[Any], config: QuantizeConfig | None = None) -> Ranges:
    """The range of every value of the module's graph on these inputs.

    Args:
        module: a compressed network. It is not changed.
        calibration: inputs, as for `niwaki.compress`.
        config: which observer, and the transform; QuantizeConfig() where None.

    Raises:
        TypeError, ValueError: an input does not suit the module, there is none, or NaN or infinity occurs.
        NiwakiError: the module can't be captured.
    """
    config = QuantizeConfig() if config is None else config
    layers = quantized_layers(module)
    observed = Calibration(module, {layer: Weights(dequantized(layer), layer.bias) for layer in layers}, config)
    for batch in batches(check_calibration(calibration, module), config.transform, module):
        if observed.programs.find(batch) is None:
            raise NiwakiError(observed.programs.failure)
        observed.observe(batch)
    return Ranges(observed.programs.fingerprint, observed.value_ranges())
