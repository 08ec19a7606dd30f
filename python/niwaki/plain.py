"""Whether a layer computes what its base class does: then it can be replaced by what computes the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_LINEAR = ("input", "weight", "bias")


def is_conv2d(module: nn.Module) -> bool:
    """A Conv2d, or a subclass that computes the same."""
    if not isinstance(module, nn.Conv2d):
        return False
    kind = type(module)
    if kind.forward is nn.Conv2d.forward and kind._conv_forward is nn.Conv2d._conv_forward:
        return True
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return False
    wanted = (*(getattr(module, name) for name in _CONV[3:6]), module.groups)
    sizes = [d * (k - 1) + 1 for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    # Padding that follows the size of the input shows at one of two sizes.
    return all(
        _only_calls(module, F.conv2d, _CONV, wanted, (1, module.in_channels, sizes[0] + more, sizes[1] + more))
        for more in (0, 1)
    )


def is_linear(module: nn.Module) -> bool:
    """A Linear, or a subclass that computes the same; not those whose weights nn.MultiheadAttention reads itself."""
    from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

    if not isinstance(module, nn.Linear) or isinstance(module, NonDynamicallyQuantizableLinear):
        return False
    return type(module).forward is nn.Linear.forward or _only_calls(
        module, F.linear, _LINEAR, (), (1, module.in_features)
    )


class _Recorder(TorchFunctionMode):
    """Keeps the calls that make new tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], Mapping[str, Any], torch.Tensor, int]] = []

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        # A conversion to the dtype that a tensor has gives the tensor itself.
        if isinstance(found, torch.Tensor) and not any(found is given for given in (*args, *kwargs.values())):
            self.calls.append((func, args, kwargs, found, found._version))
        return found


def _only_calls(
    module: nn.Conv2d | nn.Linear,
    function: Callable[..., torch.Tensor],
    names: tuple[str, ...],
    wanted: tuple[Any, ...],
    shape: tuple[int, ...],
) -> bool:
    """Whether all that the module does with an input is one call of a function, with its own weight and bias.

    Args:
        function: of torch.nn.functional.
        names: of its arguments, in order.
        wanted: what those after the bias have to be.
        shape: of the input.
    """
    x = torch.zeros(shape)
    kind: Any = type(module)  # not what was put into this one layer, such as hooks
    recorder = _Recorder()
    try:
        with torch.no_grad(), recorder:
            answer = kind.forward(module, x)
    except Exception:  # it asks for other inputs than its base class
        return False
    if len(recorder.calls) != 1:
        return False
    called, args, kwargs, found, version = recorder.calls[0]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    same = all(given.get(name) is value for name, value in zip(names, (x, module.weight, module.bias), strict=False))
    rest = tuple(_pair(given.get(name)) for name in names[3:])
    untouched = found is answer and found._version == version  # nothing wrote to it in place
    return called is function and untouched and same and rest == tuple(_pair(value) for value in wanted)


def _pair(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)
