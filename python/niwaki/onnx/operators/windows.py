"""What convolutions and pools say about their windows."""

from __future__ import annotations

from dataclasses import dataclass

from niwaki.onnx.call import Call
from niwaki.onnx.errors import Refusal


@dataclass
class Windows:
    """Windows along each spatial axis.

    Attributes:
        kernel, stride, dilation: of each axis.
        pads: before and after each axis; None where they follow from sizes.
        auto: "" or "SAME_UPPER" or "SAME_LOWER", where they do.
    """

    kernel: list[int]
    stride: list[int]
    dilation: list[int]
    pads: list[tuple[int, int]] | None
    auto: str

    @property
    def symmetric(self) -> list[int] | None:
        """The padding of each axis, where it is the same before and after it."""
        if self.pads is None or any(before != after for before, after in self.pads):
            return None
        return [before for before, _ in self.pads]


def windows_of(call: Call, kernel: list[int]) -> Windows:
    """Reads strides, dilations, pads and auto_pad."""
    spatial = len(kernel)
    stride = call.integers("strides") or [1] * spatial
    dilation = call.integers("dilations") or [1] * spatial
    pads = call.integers("pads") or [0] * (2 * spatial)
    auto = call.only("auto_pad", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "")
    if not len(stride) == len(dilation) == spatial or len(pads) != 2 * spatial:
        raise Refusal("its kernel, strides, dilations and pads are of different lengths")
    if min(stride) < 1 or min(dilation) < 1 or min(pads) < 0:
        raise Refusal(f"its strides {stride}, dilations {dilation} or pads {pads} are out of range")
    around = list(zip(pads[:spatial], pads[spatial:], strict=True))
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        if all(s == 1 for s in stride):  # then it does not depend on sizes
            whole = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
            halves = [(each // 2, each - each // 2) for each in whole]
            return Windows(kernel, stride, dilation, [h if auto == "SAME_UPPER" else h[::-1] for h in halves], "")
        return Windows(kernel, stride, dilation, None, auto)
    return Windows(kernel, stride, dilation, [(0, 0)] * spatial if auto == "VALID" else around, "")
