"""torch's tensors around a run. Imported only once somebody has handed one in, so that torch is there already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from niwaki.runtime.arrays import DTYPES, NARROW, Library, rank_expected
from niwaki.runtime.pixels import pixels_expected, to_float32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from niwaki.runtime.signature import InputInfo

_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPES}
_NARROW = tuple(getattr(torch, name) for name in NARROW)


class _Torch:
    def check(self, value: torch.Tensor, info: InputInfo) -> torch.Tensor:
        where = f"input '{info.name}'"
        tensor = value.detach()
        wanted = _DTYPES.get(info.dtype) or getattr(torch, info.dtype)
        if tensor.dtype != wanted:
            tensor = _converted(tensor, wanted, info)
        if tensor.device.type != "cpu":
            raise ValueError(f"{where}: it is on {tensor.device}, but niwaki runs on the CPU; pass it as .cpu().")
        if tensor.layout is not torch.strided:
            raise ValueError(
                f"{where}: a dense tensor is expected, not one with layout {tensor.layout}; pass it as .to_dense()."
            )
        if tensor.dim() != len(info.dims):
            raise ValueError(rank_expected(info, tensor.shape))
        return tensor

    def dense(self, array: torch.Tensor) -> torch.Tensor:
        return array.contiguous()

    def address(self, array: torch.Tensor) -> int:
        return array.data_ptr()

    def empty(self, shape: tuple[int, ...], dtype: str) -> torch.Tensor:
        return torch.empty(shape, dtype=_DTYPES[dtype])

    def from_numpy(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array)


TORCH: Library = _Torch()


def _converted(tensor: torch.Tensor, wanted: torch.dtype, info: InputInfo) -> torch.Tensor:
    """Narrow integers or pixels as the network takes them."""
    if wanted == torch.int32 and tensor.dtype in _NARROW:
        return tensor.to(torch.int32)
    plain = tensor.device.type == "cpu" and tensor.layout is torch.strided
    if tensor.dtype == torch.uint8 and plain and pixels_expected(info, tensor.shape):
        return torch.from_numpy(to_float32(tensor.numpy(), info))
    found = str(tensor.dtype).removeprefix("torch.")
    raise TypeError(
        f"input '{info.name}': {info.dtype} is expected, not {found}; convert it with .to(torch.{info.dtype})."
    )
