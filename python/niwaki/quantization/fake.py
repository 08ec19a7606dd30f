"""Quantization in float32, with gradients: what a network trains with that will run in int8."""

from __future__ import annotations

import logging
import math

import torch
from torch import distributed, nn

from niwaki.quantization.affine import SMALLEST_SCALE, qparams, row_qparams
from niwaki.runs.ranks import together

_log = logging.getLogger("niwaki")
_SMALLEST_FACTOR = 1e-20


def round_through(x: torch.Tensor) -> torch.Tensor:
    """Rounds; the gradient passes as if it did not (Bengio et al., 2013, https://arxiv.org/abs/1308.3432)."""
    return x + (x.round() - x).detach()


def scaled_gradient(x: torch.Tensor, factor: float | torch.Tensor) -> torch.Tensor:
    """x, whose gradient is multiplied by a factor."""
    return x * factor + (x * (1 - factor)).detach()


class WeightQuantizer(nn.Module):
    """A parametrization: weights rounded to -largest ... largest times a scale per output channel. Zeros stay zeros.

    Args:
        weight: float32 [O, ...], to begin with.
        scale: float32 [O], to begin with.
        largest: 127 for 8 bits.
        learned: whether the scale is trained, too, as in LSQ (Esser et al., 2020, https://arxiv.org/abs/1902.08153);
            else it follows the largest weight of each channel, of which it cuts off as much as it did of `weight`.
    """

    keeps_zeros = True
    largest: torch.Tensor

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor, largest: int, *, learned: bool) -> None:
        super().__init__()
        # Which layers keep more bits is measured. It travels with the state, so that processes which train together,
        # each calibrated on inputs of its own, have those of the first.
        self.register_buffer("largest", torch.tensor(float(largest)))
        self.learned = learned
        if learned:
            self.scale = nn.Parameter(scale.detach().clone())
        else:
            ends = self._ends(weight)
            self.register_buffer("ratio", torch.where(ends > 0, scale / ends.clamp_min(SMALLEST_SCALE), 1.0))

    def scale_of(self, weight: torch.Tensor) -> torch.Tensor:
        """float32 [O], positive."""
        if self.learned:
            count = max(1, weight[0].numel())
            scale = scaled_gradient(self.scale, (count * self.largest).rsqrt())
            return scale.abs().clamp_min(SMALLEST_SCALE)
        return (self._ends(weight) * self.ratio).clamp_min(SMALLEST_SCALE)  # type: ignore[operator]

    def _ends(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.detach().reshape(len(weight), -1).abs().amax(1) / self.largest

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        scale = self.scale_of(weight).reshape(-1, *[1] * (weight.dim() - 1))
        return round_through((weight / scale).clamp(-self.largest, self.largest)) * scale


def fold_factor(norm: nn.modules.batchnorm._BatchNorm, dims: int) -> torch.Tensor:
    """What a batch norm multiplies its channels by in eval mode: [O, 1, ...], of so many dimensions. Never 0."""
    assert norm.running_var is not None
    factor = (norm.running_var.detach() + norm.eps).rsqrt()
    if norm.weight is not None:
        factor = factor * norm.weight
    # A channel whose gamma is 0 gives its constant, whatever its weights are.
    factor = torch.where(factor.abs() < _SMALLEST_FACTOR, _SMALLEST_FACTOR, factor)
    return factor.reshape(-1, *[1] * (dims - 1))


class FoldedQuantizer(nn.Module):
    """A parametrization of a layer that a batch norm follows: rounds its weights as they are when that is folded in.

    weight = round(weight * f) / f, with f = gamma / sqrt(running variance + eps): the batch norm multiplies by f again,
    so in eval mode both compute what the folded layer will, and while training the batch norm may use each batch's
    statistics (Krishnamoorthi, "Quantizing deep convolutional networks", 2018, https://arxiv.org/abs/1806.08342).

    Args:
        quantizer: of the folded weights.
        norm: the batch norm, which stays where it is in the network.
    """

    keeps_zeros = True

    def __init__(self, quantizer: WeightQuantizer, norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__()
        self.quantizer = quantizer
        # Not a submodule of this one, or its parameters would have two names.
        self._norm = (norm,)

    @property
    def norm(self) -> nn.modules.batchnorm._BatchNorm:
        """The batch norm."""
        return self._norm[0]

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        factor = fold_factor(self.norm, weight.dim())
        rounded: torch.Tensor = self.quantizer(weight * factor)
        return rounded / factor


class RowQuantizer(nn.Module):
    """A linear layer's input as it is where its range is measured when it runs: uint8, with a range for each row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            scale, _ = row_qparams(x)
        return round_through(x / scale) * scale


class InputQuantizer(nn.Module):
    """A layer's input as uint8 would hold it.

    In training, the range follows that of the batches, as an exponential mean; or its scale is learned (LSQ). In
    distributed training it does so when the whole network has run, with what all processes saw: see `follow_together`.
    In eval mode nothing changes.

    Args:
        scale, zero_point: to begin with, from calibration.
        learned: whether the scale is trained.
        momentum: of the mean; 0 keeps the range of calibration.
        symmetric: ranges that follow keep the zero point in the middle, where a value is negative.
    """

    zero_point: torch.Tensor
    range: torch.Tensor

    def __init__(
        self, scale: float, zero_point: int, *, learned: bool, momentum: float, symmetric: bool = False
    ) -> None:
        super().__init__()
        self.learned = learned
        self.momentum = momentum
        self.symmetric = symmetric
        self._seen = torch.full((2,), -torch.inf)
        self.scale: torch.Tensor
        low, high = -zero_point * scale, (255 - zero_point) * scale
        self.register_buffer("zero_point", torch.tensor(zero_point, dtype=torch.int32))
        self.register_buffer("range", torch.tensor([low, high], dtype=torch.float32))
        value = torch.tensor(scale, dtype=torch.float32)
        if learned:
            self.scale = nn.Parameter(value)
        else:
            self.register_buffer("scale", value)

    @property
    def follows(self) -> bool:
        """Whether the range follows that of the batches."""
        return not self.learned and self.momentum > 0

    def _see(self, x: torch.Tensor) -> None:
        if x.numel() > 0:
            low, high = torch.aminmax(x.detach())
            self._seen = torch.maximum(self._seen.to(x.device), torch.stack([-low, high]))

    def taken(self) -> torch.Tensor:
        """float32 [2]: minus the lowest and the highest value since the last call; minus infinity where none was."""
        seen, self._seen = self._seen.to(self.range), torch.full((2,), -torch.inf)
        return seen

    def follow(self, ends: torch.Tensor) -> None:
        """Moves the range towards what was seen: `ends` as `taken` gives them."""
        if bool((ends == -torch.inf).all()):  # there was no input
            return
        seen = torch.stack([-ends[0], ends[1]])
        if not bool(torch.isfinite(seen).all()):
            # The loss says it, too; the range outlives a batch that is bad.
            _log.warning("training: a layer's input holds NaN or infinity, which its range does not follow")
            return
        self.range.lerp_(seen, self.momentum)
        low_, high_ = self.range.tolist()
        if self.symmetric and low_ < 0:
            step = max(-low_, high_) / 127
            low_, high_ = -128 * step, 127 * step
        scale, zero_point = qparams(min(low_, high_), high_)
        self.scale.fill_(scale)
        self.zero_point.fill_(zero_point)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and self.follows:
            with torch.no_grad():
                self._see(x)
                if not together():
                    self.follow(self.taken())
        # A copy: gradients need the scale as it was, and a layer that is called again moves it.
        scale = self.scale.clone()
        if self.learned:
            factor = 1 / math.sqrt(max(1, x.numel()) * 255)
            scale = scaled_gradient(scale, factor).abs().clamp_min(SMALLEST_SCALE)
        zero_point = self.zero_point.float()
        low, high = -zero_point, 255 - zero_point
        return round_through(torch.clamp(x / scale, low, high)) * scale


def follow_together(network: nn.Module, *_: object) -> None:
    """A forward hook: in distributed training, ranges of inputs follow what all processes saw, and stay equal.

    Once for the network, not once for each layer: a layer may be reached in one process and not in another, which
    would then wait for a call that never comes.
    """
    if not network.training or not together():
        return
    parts = [part for part in network.modules() if isinstance(part, InputQuantizer) and part.follows]
    if parts:
        with torch.no_grad():
            ends = torch.stack([part.taken() for part in parts])
            distributed.all_reduce(ends, op=distributed.ReduceOp.MAX)
            for part, seen in zip(parts, ends, strict=True):
                part.follow(seen)
