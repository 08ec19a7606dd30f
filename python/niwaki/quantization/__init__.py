"""Quantization: scales, observers, calibration. The verb is `niwaki.quantize`, in quantization/quantize.py."""

# niwaki.nn needs the arithmetic of this package, and the verb needs niwaki.nn: so the verb is not imported here.
from niwaki.quantization.affine import qparams
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.ranges import RANGES_NAME, Ranges, attach_ranges, ranges_of

__all__ = ["QuantizeConfig", "RANGES_NAME", "Ranges", "attach_ranges", "qparams", "ranges_of"]


def __dir__() -> list[str]:
    return sorted(__all__)  # what completion shows
