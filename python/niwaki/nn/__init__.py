"""Quantized layers that work inside any model: float32 in and out, native int8 kernels inside."""

from niwaki import _needs_torch  # noqa: F401
from niwaki.nn.embedding import Embedding
from niwaki.nn.layers import Conv2d, Linear
from niwaki.nn.recurrent import GRU, LSTM, RNN
from niwaki.nn.threads import get_threads, set_threads

__all__ = ["GRU", "LSTM", "RNN", "Conv2d", "Embedding", "Linear", "get_threads", "set_threads"]


def __dir__() -> list[str]:
    return sorted(__all__)  # what completion shows
