"""Imported first by what people import by itself and what needs torch, so that its absence is told in a sentence."""

from niwaki._lazy import missing

try:
    import torch  # noqa: F401
except ModuleNotFoundError as error:
    raise missing("This part of niwaki", error) from None
