"""The options of every verb in one place."""

from niwaki.optimization.optimize import OptimizeConfig
from niwaki.pruning.config import PruneConfig
from niwaki.quantization.config import QuantizeConfig

__all__ = ["OptimizeConfig", "PruneConfig", "QuantizeConfig"]
