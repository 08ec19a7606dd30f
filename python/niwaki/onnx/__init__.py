"""ONNX files as modules of torch: niwaki.from_onnx. docs/onnx.md says what is supported."""

from niwaki.onnx.load import from_onnx

__all__ = ["from_onnx"]


def __dir__() -> list[str]:
    return sorted(__all__)  # what completion shows
