"""The options of every verb in one place."""

from niwaki import _needs_torch  # noqa: F401
from niwaki.optimization.low_rank import FactorizeConfig
from niwaki.optimization.optimize import OptimizeConfig
from niwaki.pruning.config import PruneConfig
from niwaki.quantization.config import QuantizeConfig
from niwaki.training.config import FinetuneConfig

__all__ = ["FactorizeConfig", "FinetuneConfig", "OptimizeConfig", "PruneConfig", "QuantizeConfig"]
