"""What makes a compressed network accurate again: distillation, and one schedule of pruning and quantization."""

from niwaki.training.config import FinetuneConfig
from niwaki.training.distillation import DistillationLoss
from niwaki.training.joint import JointTraining

__all__ = ["DistillationLoss", "FinetuneConfig", "JointTraining"]


def __dir__() -> list[str]:
    return sorted(__all__)  # what completion shows
