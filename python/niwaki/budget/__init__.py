"""A budget of bytes, milliseconds or accuracy, and the shares of zeros and the bits of each layer that meet it best."""

from niwaki.budget.target import Target

__all__ = ["Target"]


def __dir__() -> list[str]:
    return sorted(__all__)  # what completion shows
