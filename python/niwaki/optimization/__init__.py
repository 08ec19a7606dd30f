"""Rewrites that keep what a network computes: batch norms folded, dropout taken out."""

from niwaki.optimization.optimize import OptimizeConfig, optimize

__all__ = ["OptimizeConfig", "optimize"]


def __dir__() -> list[str]:
    return sorted(__all__)  # what completion shows
