"""Pruning by magnitude, with masks that survive fine-tuning."""

from niwaki.pruning.config import PruneConfig
from niwaki.pruning.mask import Mask
from niwaki.pruning.prune import prune

__all__ = ["Mask", "PruneConfig", "prune"]
