"""Quantized layers: drop-in for torch.nn's, float32 in and out, int8 inside."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import nn

from niwaki.modules.layer import Layer
from niwaki.nn.ops import conv2d, dynamic_linear, linear
from niwaki.quantization.affine import qparams
from niwaki.quantization.weights import WeightRange, check_reduction, quantize_weight

Size = int | tuple[int, int]


def _pair(value: Size, name: str, lowest: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(item, int) and item >= lowest for item in pair):
        raise ValueError(f"{name} must be one or two integers of at least {lowest}, not {value!r}.")
    return pair


class QuantizedLayer(nn.Module):
    """Buffers of a quantized layer, and how they follow from a float layer.

    Attributes:
        spatial: how many dimensions of a value come after its channels.
        may_be_dynamic: whether `dynamic` may be set.
        dynamic: each row of the inputs is rounded with the range that it has; input_scale and input_zero_point are not
            used then.
    """

    spatial: ClassVar[int]
    may_be_dynamic: ClassVar[bool] = False
    dynamic: bool = False
    weight: torch.Tensor
    weight_scale: torch.Tensor
    bias: torch.Tensor | None
    input_scale: torch.Tensor
    input_zero_point: torch.Tensor

    def __init__(self, weight_shape: tuple[int, ...], bias: bool) -> None:
        super().__init__()
        self.name = ""  # the layer's place in its network, for messages
        # Tensors made in inference mode do not count writes, which the native sessions need.
        with torch.inference_mode(False):
            self.register_buffer("weight", torch.zeros(weight_shape, dtype=torch.int8))
            self.register_buffer("weight_scale", torch.ones(weight_shape[0]))
            self.register_buffer("bias", torch.zeros(weight_shape[0]) if bias else None)
            self.register_buffer("input_scale", torch.tensor(qparams(0.0, 1.0)[0], dtype=torch.float32))
            self.register_buffer("input_zero_point", torch.tensor(0, dtype=torch.int32))

    def set_from_float(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        input_range: tuple[float, float],
        *,
        per_channel: bool = True,
        weight_range: WeightRange = "auto",
        bits: int = 8,
        scales: torch.Tensor | None = None,
    ) -> None:
        """Quantizes float32 weight and bias for inputs in a range, into this layer. Options: see quantize_weight."""
        with torch.inference_mode(False), torch.no_grad():
            scale, zero_point = qparams(*input_range)
            q, weight_scale = quantize_weight(
                weight, bias, scale, per_channel=per_channel, weight_range=weight_range, bits=bits, scales=scales
            )
            self.weight.copy_(q)
            self.weight_scale.copy_(weight_scale)
            self.input_scale.fill_(scale)
            self.input_zero_point.fill_(zero_point)
            if self.bias is not None and bias is not None:
                self.bias.copy_(bias)

    @classmethod
    def _check_float(cls, module: nn.Module, kind: type[nn.Module], name: str) -> None:
        if not isinstance(module, kind):
            raise TypeError(
                f"niwaki.nn.{cls.__name__}.from_float needs a torch.nn.{kind.__name__}, not {type(module).__name__}."
            )
        for what in ("weight", "bias"):
            tensor = getattr(module, what)
            if tensor is not None and (tensor.dtype != torch.float32 or tensor.device.type != "cpu"):
                raise TypeError(
                    f"Layer '{name}': its {what} must be float32 on the CPU, "
                    f"not {str(tensor.dtype).removeprefix('torch.')} on '{tensor.device}'; "
                    "convert the layer with .float().cpu()."
                )
            if tensor is not None and not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"Layer '{name}': its {what} holds NaN or infinity.")
        check_reduction(name, module.weight)  # type: ignore[arg-type]

    def _where(self) -> str:
        return f"Layer '{self.name}' ({type(self).__name__})" if self.name else f"niwaki.nn.{type(self).__name__}"

    def _held(self) -> str:
        """What tells the layer from torch's, where a network is printed."""
        count = self.weight.numel()
        return f"int8, {1 - int(self.weight.count_nonzero()) / max(1, count):.0%} zeros"

    def _check_input(self, x: Any) -> None:
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{self._where()}: the input must be a torch.Tensor, not {type(x).__name__}.")
        if x.dtype != torch.float32:
            raise TypeError(
                f"{self._where()}: the input must be float32, not {str(x.dtype).removeprefix('torch.')}; "
                "convert it with x.float()."
            )
        if x.device.type not in ("cpu", "meta"):
            raise ValueError(
                f"{self._where()}: the input is on device '{x.device}'; niwaki runs on CPUs, so move it with x.cpu()."
            )


class Conv2d(QuantizedLayer):
    """A quantized two-dimensional convolution, run by a native kernel.

    Weights are int8 with a scale per output channel; the input is quantized to uint8 with one scale. Padding is with
    zeros.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: as in torch.nn.Conv2d; padding
            may be 'same' or 'valid'. A fresh layer has zero weights; it is filled by `from_float` or `load_state_dict`.

    Shape:
        float32 [N, C, H, W] or [C, H, W] to float32 [N, O, H', W'] or [O, H', W'].

    Raises:
        ValueError: the settings do not fit together.
    """

    spatial = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | Literal["same", "valid"] = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        if groups < 1 or in_channels < 1 or out_channels < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{in_channels} input and {out_channels} output channels must be positive "
                f"and divide into {groups} groups."
            )
        kernel = _pair(kernel_size, "kernel_size", 1)
        super().__init__((out_channels, in_channels // groups, *kernel), bias)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = kernel
        self.stride = _pair(stride, "stride", 1)
        self.dilation = _pair(dilation, "dilation", 1)
        self.padding = self._padding(padding)

    def _padding(self, padding: Size | str) -> tuple[int, int, int, int]:
        """Top, left, bottom, right."""
        if isinstance(padding, str):
            if padding == "valid":
                return (0, 0, 0, 0)
            if padding != "same":
                raise ValueError(f"padding must be 'same', 'valid', or one or two integers, not '{padding}'.")
            if self.stride != (1, 1):
                raise ValueError("padding='same' needs a stride of 1.")
            rows, columns = (d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True))
            # An odd pixel goes below and to the right, as in torch.
            return (rows // 2, columns // 2, rows - rows // 2, columns - columns // 2)
        rows, columns = _pair(padding, "padding", 0)
        return (rows, columns, rows, columns)

    @classmethod
    def like(cls, module: nn.Conv2d) -> Conv2d:
        """A fresh layer of the settings of torch's, with padding_mode 'zeros'."""
        return cls(
            module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding,  # type: ignore[arg-type]
            module.dilation, module.groups, module.bias is not None,  # type: ignore[arg-type]
        )  # fmt: skip

    @classmethod
    def from_float(
        cls,
        module: nn.Conv2d,
        input_range: tuple[float, float],
        *,
        name: str = "",
        per_channel: bool = True,
        weight_range: WeightRange = "auto",
        bits: int = 8,
    ) -> Conv2d:
        """Quantizes a torch.nn.Conv2d, which is not changed.

        Args:
            module: float32, on the CPU, with padding_mode 'zeros'.
            input_range: lowest and highest value of its input; what lies outside is cut off.
            name: its place in the network, for messages.
            per_channel, weight_range: as in QuantizeConfig.
            bits: of the weights, 2 to 8.

        Raises:
            TypeError, ValueError: the module or the range cannot be quantized; says why.
        """
        cls._check_float(module, nn.Conv2d, name)
        if module.padding_mode != "zeros":
            raise ValueError(f"Layer '{name}': padding_mode '{module.padding_mode}' is not supported; only 'zeros' is.")
        layer = cls.like(module)
        layer.name = name
        layer.set_from_float(
            module.weight, module.bias, input_range, per_channel=per_channel, weight_range=weight_range, bits=bits
        )
        return layer.eval()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self._check_input(input)
        if input.dim() not in (3, 4) or input.shape[-3] != self.in_channels:
            raise ValueError(
                f"{self._where()}: the input must be [N, {self.in_channels}, H, W], not {list(input.shape)}."
            )
        y: torch.Tensor = conv2d(
            input if input.dim() == 4 else input.unsqueeze(0), self.weight, self.weight_scale, self.bias,
            self.input_scale, self.input_zero_point, list(self.stride), list(self.padding), list(self.dilation),
            self.groups,
        )  # fmt: skip
        return y if input.dim() == 4 else y.squeeze(0)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if any(self.padding):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return f"{text}{'' if self.bias is not None else ', bias=False'}, {self._held()}"


class Linear(QuantizedLayer):
    """A quantized linear layer, run by a native kernel.

    Args:
        in_features, out_features, bias: as in torch.nn.Linear. A fresh layer has zero weights; it is filled by
            `from_float` or `load_state_dict`.
        dynamic: each row of the inputs is rounded with the range that it has; input_scale and input_zero_point are not
            used then.

    Shape:
        float32 [..., in_features] to float32 [..., out_features].
    """

    spatial = 0
    may_be_dynamic = True

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, dynamic: bool = False) -> None:
        if in_features < 1 or out_features < 1:
            raise ValueError(f"in_features and out_features must be at least 1, not {in_features} and {out_features}.")
        super().__init__((out_features, in_features), bias)
        self.in_features, self.out_features, self.dynamic = in_features, out_features, dynamic

    @classmethod
    def like(cls, module: nn.Linear) -> Linear:
        """A fresh layer of the settings of torch's."""
        return cls(module.in_features, module.out_features, module.bias is not None)

    @classmethod
    def from_float(
        cls,
        module: nn.Linear,
        input_range: tuple[float, float],
        *,
        name: str = "",
        per_channel: bool = True,
        weight_range: WeightRange = "auto",
        bits: int = 8,
        dynamic: bool = False,
    ) -> Linear:
        """Quantizes a torch.nn.Linear, which is not changed. Arguments and errors as in Conv2d.from_float."""
        cls._check_float(module, nn.Linear, name)
        layer = cls.like(module)
        layer.name, layer.dynamic = name, dynamic
        layer.set_from_float(
            module.weight, module.bias, input_range, per_channel=per_channel, weight_range=weight_range, bits=bits
        )
        return layer.eval()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self._check_input(input)
        if input.dim() < 1 or input.shape[-1] != self.in_features:
            raise ValueError(f"{self._where()}: the input must be [..., {self.in_features}], not {list(input.shape)}.")
        y: torch.Tensor
        if self.dynamic:
            y = dynamic_linear(input, self.weight, self.weight_scale, self.bias)
        else:
            y = linear(input, self.weight, self.weight_scale, self.bias, self.input_scale, self.input_zero_point)
        return y

    def extra_repr(self) -> str:
        text = f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
        return f"{text}{', dynamic=True' * self.dynamic}, {self._held()}"


def like(layer: Layer) -> QuantizedLayer:
    """A fresh layer that stands for one of torch's; it has zero weights until `set_from_float`."""
    kinds: dict[str, Any] = {"conv2d": Conv2d, "linear": Linear}
    new: QuantizedLayer = kinds[layer.op].like(layer.module)
    return new


def quantized_layers(model: nn.Module) -> list[QuantizedLayer]:
    """The quantized convolutions and linear layers in a network."""
    return [part for part in model.modules() if isinstance(part, QuantizedLayer)]
