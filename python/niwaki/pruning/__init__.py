"""Pruning: at once or while training, by four measures of importance, of weights, blocks or whole channels."""

from niwaki.pruning.config import PruneConfig
from niwaki.pruning.mask import Mask
from niwaki.pruning.prune import prune
from niwaki.pruning.pruner import Pruner
from niwaki.pruning.schedule import ConstantSchedule, CubicSchedule, LinearSchedule, Schedule

__all__ = [
    "Mask",
    "PruneConfig",
    "Pruner",
    "Schedule",
    "ConstantSchedule",
    "CubicSchedule",
    "LinearSchedule",
    "prune",
]


def __dir__() -> list[str]:
    return sorted(__all__)  # what completion shows
