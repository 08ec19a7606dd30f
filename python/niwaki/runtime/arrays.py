"""What callers hand in and get back: numpy arrays, torch's tensors, whatever else has DLPack and lies on the CPU.

Each input is taken where it lies: arrays that are dense are not copied. Results are torch tensors where an input is
one, else numpy arrays. torch is never imported for that: without it, nobody can have handed in a tensor of torch's.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from niwaki import _core
from niwaki.errors import first_sentence
from niwaki.runtime.pixels import pixels_expected, to_float32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from niwaki.runtime.signature import InputInfo

DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name) for name in ("float32", "int64", "int32", "bool", "uint8", "int8")
}
NARROW = ("uint8", "int8", "int16")
"""What is taken where int32 is."""

_NARROW = tuple(map(np.dtype, NARROW))
_HOSTS = (1, 3, 11, 13)  # DLPack's names of memory that the CPU reads: its own, pinned for CUDA or ROCm, and managed


class Library(Protocol):
    """What the arrays of one library need around a run."""

    def check(self, value: Any, info: InputInfo) -> Any:
        """The input as an array of the library, of the right dtype and rank; it may lie in memory anyhow.

        Raises:
            TypeError: another dtype, or no array.
            ValueError: another rank, device or layout, or pixels with a wrong number of channels.
        """

    def dense(self, array: Any) -> Any:
        """The array itself or, where its elements are not one after the other, a copy."""

    def address(self, array: Any) -> int:
        """Where the elements of a dense array are."""

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """A new array."""

    def from_numpy(self, array: NDArray[Any]) -> Any:
        """A numpy array that nobody else has, as one of the library."""


class _Numpy:
    def check(self, value: Any, info: InputInfo) -> NDArray[Any]:
        array: NDArray[Any] = value if type(value) is np.ndarray else plain_array(value, info)
        wanted = DTYPES[info.dtype]
        if array.dtype is not wanted:
            array = _converted(array, wanted, info)
        if array.ndim != len(info.dims):
            raise ValueError(rank_expected(info, array.shape))
        if info.dtype == "bool" and array.size and array.view(np.uint8).max() > 1:
            array = array.view(np.uint8) != 0  # bytes that somebody has called bools: numpy takes all but 0 for true
        return array

    def dense(self, array: NDArray[Any]) -> NDArray[Any]:
        flags = array.flags
        # Not ascontiguousarray, which makes one dimension of none, and minds no alignment.
        return array if flags.carray or (flags.c_contiguous and flags.aligned) else array.copy(order="C")

    def address(self, array: NDArray[Any]) -> int:
        address: int = array.__array_interface__["data"][0]
        return address

    def empty(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        return np.empty(shape, DTYPES[dtype])

    def from_numpy(self, array: NDArray[Any]) -> NDArray[Any]:
        return array


NUMPY: Library = _Numpy()


def library_of(value: Any) -> Library:
    """The library whose array this is; numpy for what is none of torch's."""
    return NUMPY if type(value) is np.ndarray or not is_torch(value) else _torch()


def default_library() -> Library:
    """The library of results where no array is there to go by: torch if it is imported, else numpy."""
    return _torch() if hasattr(sys.modules.get("torch"), "Tensor") else NUMPY


class Inputs:
    """The inputs of a call, checked.

    Attributes:
        arrays: each of its own library.
        libraries: of these.
        results: the library of the results: torch where an input is torch's.
    """

    __slots__ = ("arrays", "libraries", "results")

    def __init__(self, libraries: list[Library], arrays: list[Any]) -> None:
        self.libraries = libraries
        self.arrays = arrays
        self.results = next((each for each in libraries if each is not NUMPY), NUMPY if arrays else default_library())

    @classmethod
    def checked(cls, values: Sequence[Any], infos: Sequence[InputInfo]) -> Inputs:
        """What a caller gives. Raises what `Library.check` does."""
        libraries = [library_of(value) for value in values]
        return cls(
            libraries,
            [each.check(value, info) for each, value, info in zip(libraries, values, infos, strict=True)],
        )

    @classmethod
    def of(cls, library: Library, arrays: list[Any]) -> Inputs:
        """Arrays of one library that fit."""
        return cls([library] * len(arrays), arrays)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the arrays."""
        return [tuple(array.shape) for array in self.arrays]


def run(session: _core.Session, inputs: Inputs, dtypes: Sequence[str]) -> list[Any]:
    """Runs a session; the results are new arrays of the dtypes."""
    dense = [library.dense(array) for library, array in zip(inputs.libraries, inputs.arrays, strict=True)]
    shapes = inputs.shapes
    results = inputs.results
    outputs = [results.empty(shape, dtype) for shape, dtype in zip(session.output_shapes(shapes), dtypes, strict=True)]
    session.run(
        [
            (library.address(array), shape)
            for library, array, shape in zip(inputs.libraries, dense, shapes, strict=True)
        ],
        [results.address(array) for array in outputs],
    )
    return outputs


def is_torch(value: Any) -> bool:
    """Whether it is a torch.Tensor."""
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    return tensor is not None and isinstance(value, tensor)


def to_numpy(value: Any) -> NDArray[Any]:
    """An array of any library as one of numpy, which shares its memory where that can be."""
    return value.detach().numpy() if is_torch(value) else np.asarray(value)


def rank_expected(info: InputInfo, shape: Sequence[int]) -> str:
    """That an input has the wrong number of dimensions."""
    dims = ", ".join(map(str, info.dims))
    return f"input '{info.name}': rank {info.rank} [{dims}] is expected, not shape {tuple(shape)}."


def plain_array(value: Any, info: InputInfo) -> NDArray[Any]:
    """Whatever is no tensor of torch's as a numpy array that shares its memory.

    Raises:
        TypeError: it is no array, or one that is not whole, or numpy does not have its dtype.
        ValueError: it is on another device.
    """
    where = f"input '{info.name}'"
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{where}: a masked array has elements that are none; fill them with .filled(0), say.")
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if not hasattr(value, "__dlpack__"):
        raise TypeError(
            f"{where}: a numpy array, a torch.Tensor or another tensor with DLPack is expected, not "
            f"{type(value).__name__}; convert it with numpy.asarray."
        )
    if hasattr(value, "__dlpack_device__"):
        device = int(value.__dlpack_device__()[0])
        if device not in _HOSTS:
            raise ValueError(
                f"{where}: it is on a device (DLPack's type {device}), but niwaki runs on the CPU; copy it there first."
            )
    try:
        return np.from_dlpack(value)
    except Exception as error:  # of whichever kind its library raises
        raise TypeError(f"{where}: its DLPack cannot be read ({first_sentence(error)}); pass a numpy array.") from error


@functools.cache
def _torch() -> Library:
    from niwaki.runtime.torch_tensors import TORCH

    return TORCH


def _converted(array: NDArray[Any], wanted: np.dtype[Any], info: InputInfo) -> NDArray[Any]:
    """The array in another byte order, of narrow integers or of pixels, as the network takes it."""
    found = array.dtype
    if found == wanted or found.newbyteorder("=") == wanted:
        return array.astype(wanted)
    if info.dtype == "int32" and found.newbyteorder("=") in _NARROW:
        return array.astype(wanted)
    if found == np.uint8 and pixels_expected(info, array.shape):
        return to_float32(array, info)
    name = wanted.type.__name__  # numpy.bool is there in some releases only
    raise TypeError(
        f"input '{info.name}': {info.dtype} is expected, not {found.name}; convert it with .astype(numpy.{name})."
    )
