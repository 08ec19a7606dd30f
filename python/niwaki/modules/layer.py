"""One view of the layers that are compressed: convolutions and linear layers.

Both multiply a matrix with columns that are made of their inputs. How a weight is that matrix, how inputs become
columns, and which dimension of a value holds the channels, is asked here and nowhere else: a new kind of layer is a
class in this file, one in niwaki.nn, and its lowering.

Recurrent layers and embeddings have no such view. A recurrent layer has several matrices, and multiplies some of them
with its own states, which nobody sees; an embedding multiplies nothing, it looks rows up. Of both, weights alone are
rounded (niwaki.nn).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from niwaki.modules.plain import is_conv2d, is_linear

_aten = torch.ops.aten


@dataclass(frozen=True)
class Layer(ABC):
    """A layer of O outputs, C inputs and G groups; each output is a sum of K = C / G * taps products.

    Two views of one module are equal, and one key of a dict.

    Attributes:
        module: the layer itself.
        kind: the class of torch.
        op: what the engine calls it.
        calls: the operators of torch that run it.
        spatial: how many dimensions of a value come after its channels.
        may_be_dynamic: its inputs can be rounded with a range for each row.
    """

    module: nn.Module
    kind: ClassVar[type[nn.Module]]
    op: ClassVar[str]
    calls: ClassVar[tuple[Any, ...]]
    spatial: ClassVar[int]
    may_be_dynamic: ClassVar[bool] = False
    _counts: ClassVar[tuple[str, str]]  # the module's attributes for O and C

    @property
    def weight(self) -> torch.Tensor:
        """[O, C / G, ...]."""
        weight: Any = self.module.weight
        return weight  # type: ignore[no-any-return]

    @property
    def bias(self) -> torch.Tensor | None:
        """[O]."""
        bias: Any = self.module.bias
        return bias  # type: ignore[no-any-return]

    @property
    def groups(self) -> int:
        """Channels are split into so many, and each output sees those of its own."""
        return 1

    @property
    def inputs(self) -> int:
        """Input channels."""
        return self.weight.shape[1] * self.groups

    @property
    def pads(self) -> bool:
        """Whether a border of its inputs is made up."""
        return False

    @property
    def pointwise(self) -> bool:
        """Whether an output depends on all channels at one position, and on nothing else."""
        return True

    @property
    def unsupported(self) -> str:
        """Why it cannot be int8; empty where it can."""
        return ""

    @abstractmethod
    def is_plain(self) -> bool:
        """Whether it computes what its class of torch does."""

    def matrix(self, weight: torch.Tensor) -> torch.Tensor:
        """[G, O / G, K] of a tensor of the weight's shape; `reshape` brings it back."""
        return weight.reshape(self.groups, len(weight) // self.groups, -1)

    def by_input(self, weight: torch.Tensor) -> torch.Tensor:
        """[G, O / G, C / G, taps] of a tensor of the weight's shape; `reshape` brings it back."""
        return weight.reshape(self.groups, len(weight) // self.groups, weight.shape[1], -1)

    def axis(self, rank: int) -> int:
        """The dimension of the channels, of a value of so many dimensions."""
        return rank - 1 - self.spatial

    @abstractmethod
    def columns(self, x: torch.Tensor, chosen: torch.Tensor | None = None) -> torch.Tensor:
        """What the matrix is multiplied with: [G, K, columns]. `chosen` are the places to take, of each image."""

    @abstractmethod
    def images(self, x: torch.Tensor) -> int:
        """How many inputs have the same places each."""

    @abstractmethod
    def places(self, x: torch.Tensor) -> int:
        """How many columns an image makes."""

    @abstractmethod
    def parts(self, x: torch.Tensor, most: int) -> Sequence[torch.Tensor]:
        """Images in numbers whose columns hold about `most` values."""

    @abstractmethod
    def one(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        """The shape of a single input as the engine takes it, from that of a batch; None where it takes none."""

    @abstractmethod
    def attributes(self) -> dict[str, int | list[int]]:
        """Those of the engine's operator."""

    @abstractmethod
    def in_two(self, rank: int) -> tuple[Layer, Layer]:
        """Two new layers with `rank` channels between them, which can do what a pointwise one does."""

    def cut(self, *, outputs: torch.Tensor | None = None, inputs: torch.Tensor | None = None) -> None:
        """Keeps the channels for which a mask, bool [O] or [C], is set. For layers of one group."""
        module: Any = self.module
        weight, bias = module.weight, module.bias
        if inputs is not None:
            module.weight = nn.Parameter(weight[:, inputs].clone(), weight.requires_grad)
        if outputs is not None:
            module.weight = nn.Parameter(module.weight[outputs].clone(), weight.requires_grad)
            if bias is not None:
                module.bias = nn.Parameter(bias[outputs].clone(), bias.requires_grad)
        for name, count in zip(self._counts, module.weight.shape, strict=False):
            setattr(module, name, count)


@dataclass(frozen=True)
class Conv2dLayer(Layer):
    """A convolution of [N, C, H, W] or [C, H, W]."""

    module: nn.Conv2d
    kind = nn.Conv2d
    op = "conv2d"
    calls = (_aten.conv2d.default, _aten.conv2d.padding)
    spatial = 2
    _counts = ("out_channels", "in_channels")

    @property
    def groups(self) -> int:
        return self.module.groups

    @property
    def pads(self) -> bool:
        return any(self._border())

    @property
    def pointwise(self) -> bool:
        return self.module.kernel_size == (1, 1) and self.groups == 1 and not self.pads

    @property
    def unsupported(self) -> str:
        mode = self.module.padding_mode
        return "" if mode == "zeros" else f"padding_mode '{mode}'; only 'zeros' is supported"

    def is_plain(self) -> bool:
        return is_conv2d(self.module)

    def _border(self) -> list[int]:
        """Top, left, bottom, right."""
        padding = self.module.padding
        if padding == "valid":
            return [0, 0, 0, 0]
        if padding == "same":
            rows, columns = (d * (k - 1) for d, k in zip(self.module.dilation, self.module.kernel_size, strict=True))
            # An odd pixel goes below and to the right, as in torch.
            return [rows // 2, columns // 2, rows - rows // 2, columns - columns // 2]
        rows, columns = (int(border) for border in padding)
        return [rows, columns, rows, columns]

    def _padded(self, x: torch.Tensor) -> torch.Tensor:
        top, left, bottom, right = self._border()
        if not any((top, left, bottom, right)):
            return x
        mode = self.module.padding_mode
        return F.pad(x, [left, right, top, bottom], mode="constant" if mode == "zeros" else mode)

    def columns(self, x: torch.Tensor, chosen: torch.Tensor | None = None) -> torch.Tensor:
        layer = self.module
        x = self._padded(x if x.dim() == 4 else x.unsqueeze(0))
        unfolded = F.unfold(x, layer.kernel_size, layer.dilation, 0, layer.stride)
        if chosen is not None:
            unfolded = unfolded[:, :, chosen]
        images, depth, _ = unfolded.shape
        return unfolded.reshape(images, layer.groups, depth // layer.groups, -1).permute(1, 2, 0, 3).flatten(2)

    def images(self, x: torch.Tensor) -> int:
        return x.shape[0] if x.dim() == 4 else 1

    def places(self, x: torch.Tensor) -> int:
        padded = self._padded(x[:1] if x.dim() == 4 else x)
        layer = self.module
        sizes = zip(padded.shape[-2:], layer.kernel_size, layer.dilation, layer.stride, strict=True)
        height, width = ((size - d * (k - 1) - 1) // step + 1 for size, k, d, step in sizes)
        return height * width

    def parts(self, x: torch.Tensor, most: int) -> Sequence[torch.Tensor]:
        if x.dim() != 4:
            return (x,)
        (height, width), (down, right) = self.module.kernel_size, self.module.stride
        size = max(1, x[0].numel() * height * width // (down * right))
        parts: Sequence[torch.Tensor] = x.split(max(1, most // size))
        return parts

    def one(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        return (1, *shape[1:]) if len(shape) == 4 else None

    def attributes(self) -> dict[str, int | list[int]]:
        layer = self.module
        return {
            "stride": list(layer.stride), "padding": self._border(), "dilation": list(layer.dilation),
            "groups": layer.groups,
        }  # fmt: skip

    def in_two(self, rank: int) -> tuple[Layer, Layer]:
        layer = self.module
        # The stride comes first: positions that are left out need no second layer.
        stride = (layer.stride[0], layer.stride[1])
        first = nn.Conv2d(layer.in_channels, rank, 1, stride, bias=False)
        return Conv2dLayer(first), Conv2dLayer(nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None))


@dataclass(frozen=True)
class LinearLayer(Layer):
    """A linear layer on the last dimension."""

    module: nn.Linear
    kind = nn.Linear
    op = "linear"
    calls = (_aten.linear.default,)
    spatial = 0
    may_be_dynamic = True
    _counts = ("out_features", "in_features")

    def is_plain(self) -> bool:
        return is_linear(self.module)

    def columns(self, x: torch.Tensor, chosen: torch.Tensor | None = None) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        return (rows if chosen is None else rows[chosen]).T[None]

    def images(self, x: torch.Tensor) -> int:
        return 1

    def places(self, x: torch.Tensor) -> int:
        return x.numel() // x.shape[-1]

    def parts(self, x: torch.Tensor, most: int) -> Sequence[torch.Tensor]:
        return (x,)

    def one(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        rows = 1
        for size in shape[1:-1]:
            rows *= size
        return (max(1, rows), shape[-1])

    def attributes(self) -> dict[str, int | list[int]]:
        return {}

    def in_two(self, rank: int) -> tuple[Layer, Layer]:
        layer = self.module
        first = nn.Linear(layer.in_features, rank, bias=False)
        return LinearLayer(first), LinearLayer(nn.Linear(rank, layer.out_features, bias=layer.bias is not None))


KINDS: tuple[type[Layer], ...] = (Conv2dLayer, LinearLayer)
LAYER_CALLS = tuple(call for kind in KINDS for call in kind.calls)


def layer_of(module: nn.Module) -> Layer | None:
    """The view of a module; None where it is no such layer."""
    return next((kind(module) for kind in KINDS if isinstance(module, kind.kind)), None)


def named_layers(model: nn.Module) -> Iterator[tuple[str, Layer]]:
    """Every layer once, in the order of `named_modules`; a network that is one layer is ''."""
    for name, module in model.named_modules():
        layer = layer_of(module)
        if layer is not None:
            yield name, layer
