"""Whether a layer computes what its base class does: then it can be replaced by what computes the same."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_LINEAR = ("input", "weight", "bias")
_ANY = math.inf  # number of calls


def has_hooks(module: nn.Module) -> bool:
    """Whether the module does something besides its forward."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def is_conv2d(module: nn.Module) -> bool:
    """A Conv2d, or a subclass that computes the same."""
    if not isinstance(module, nn.Conv2d):
        return False
    kind = type(module)
    if kind.forward is nn.Conv2d.forward and kind._conv_forward is nn.Conv2d._conv_forward:
        return True
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        return False
    return _computes(module, lambda x: x, (module.padding[0], module.padding[1]), most=1)


def pads_same(module: nn.Module) -> bool:
    """A subclass of Conv2d that pads its inputs with zeros first, by `same_padding`, as TensorFlow's layers do."""
    if not isinstance(module, nn.Conv2d) or is_conv2d(module):
        return False
    sizes = (module.kernel_size, module.stride, module.dilation)
    return _computes(module, lambda x: F.pad(x, same_padding(*sizes, x.shape[-2:])), (0, 0), most=2)


def same_padding(
    kernel_size: Sequence[int], stride: Sequence[int], dilation: Sequence[int], shape: Sequence[int]
) -> list[int]:
    """Zeros for which a convolution has ceil(size / stride) outputs: left, right, top, bottom; odd ones at the end.

    Arguments are vertical and horizontal.
    """
    ends: list[int] = []
    for k, s, d, size in zip(kernel_size, stride, dilation, shape, strict=True):
        reach = d * (k - 1) + 1
        whole = ((size + s - 1) // s - 1) * s + reach - size
        if reach < s:  # else it never is, and a size that is being captured stays a shorter expression
            whole = max(0, whole)
        ends = [whole // 2, whole - whole // 2, *ends]
    return ends


def made_parameters(module: nn.Conv2d, *, same: bool) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """Weight and bias of a subclass of Conv2d that makes them of its parameters and else computes what Conv2d does.

    As layers do that standardize their weights. None where it is another kind of layer.

    Args:
        module: the layer, in eval mode.
        same: it pads by `same_padding`, instead of by its `padding`.
    """
    if same:
        sizes = (module.kernel_size, module.stride, module.dilation)
        calls = _calls(module, lambda x: F.pad(x, same_padding(*sizes, x.shape[-2:])), (0, 0), _ANY)
    elif module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    else:
        calls = _calls(module, lambda x: x, (module.padding[0], module.padding[1]), _ANY)
    if calls is None:
        return None
    weight, bias = calls[0]["weight"], calls[0].get("bias")
    # What follows from the inputs differs from call to call.
    if not all(_equal(weight, each["weight"]) and _equal(bias, each.get("bias")) for each in calls):
        return None
    if weight.shape != module.weight.shape or weight.dtype != module.weight.dtype:
        return None
    return weight.detach().clone(), None if bias is None else bias.detach().clone()


def _equal(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))


def is_linear(module: nn.Module) -> bool:
    """A Linear, or a subclass that computes the same; not those whose weights nn.MultiheadAttention reads itself."""
    from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

    if not isinstance(module, nn.Linear) or isinstance(module, NonDynamicallyQuantizableLinear):
        return False
    if type(module).forward is nn.Linear.forward:
        return True
    x = torch.ones(1, module.in_features)
    given = _last_call(module, F.linear, _LINEAR, x, most=1)
    return given is not None and given["input"] is x and _own(module, given)


def _own(module: nn.Module, given: Mapping[str, Any]) -> bool:
    return given.get("weight") is module.weight and given.get("bias") is module.bias


def _computes(
    module: nn.Conv2d, before: Callable[[torch.Tensor], torch.Tensor], padding: tuple[int, int], most: int
) -> bool:
    """Whether a convolution's forward is `before`, then a call of conv2d with its attributes and this padding.

    It makes `most` new tensors or fewer.
    """
    calls = _calls(module, before, padding, most)
    return calls is not None and all(_own(module, given) for given in calls)


def _calls(
    module: nn.Conv2d, before: Callable[[torch.Tensor], torch.Tensor], padding: tuple[int, int], most: float
) -> list[dict[str, Any]] | None:
    """The arguments of conv2d in calls of a convolution with inputs of several sizes; None where they are others."""
    wanted = {"stride": module.stride, "padding": padding, "dilation": module.dilation, "groups": (module.groups,) * 2}
    smallest = [d * (k - 1) + 1 for d, k in zip(module.dilation, module.kernel_size, strict=True)]
    # Padding that follows the size of the inputs shows at one of these sizes.
    calls: list[dict[str, Any]] = []
    for more in range(1 + max(module.stride)):
        shape = (1, module.in_channels, smallest[0] + more, smallest[1] + more)
        x = torch.linspace(-1, 1 + more, math.prod(shape)).reshape(shape)
        given = _last_call(module, F.conv2d, _CONV, x, most)
        if given is None or {name: _pair(given.get(name)) for name in _CONV[3:]} != wanted:
            return None
        if not torch.equal(given["input"], before(x)):
            return None
        calls.append(given)
    return calls


class _Recorder(TorchFunctionMode):
    """Keeps the calls that make new tensors, and the version of each tensor when it was new."""

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


def _last_call(
    module: nn.Module,
    function: Callable[..., torch.Tensor],
    names: tuple[str, ...],
    x: torch.Tensor,
    most: float,
) -> dict[str, Any] | None:
    """The arguments of the call that gives a layer's answer; None where there is none that fits.

    It fits if it is one of `function`, the last of `most` calls or fewer, and nothing writes to its answer.
    """
    kind: Any = type(module)  # not what was put into this one layer, such as hooks
    recorder = _Recorder()
    try:
        # What it may keep of its inputs, it keeps in a copy, which shares the parameters alone.
        copied = copy.deepcopy(module, {id(parameter): parameter for parameter in module.parameters()})
        with torch.no_grad(), recorder:
            answer = kind.forward(copied, x)
    except Exception:  # it asks for other inputs than its base class
        return None
    if not 1 <= len(recorder.calls) <= most:
        return None
    called, args, kwargs, found, version = recorder.calls[-1]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    return given if called is function and found is answer and found._version == version else None


def _pair(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)
