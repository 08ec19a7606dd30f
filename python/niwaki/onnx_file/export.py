"""niwaki.to_onnx: from a compressed module, or a network, to an ONNX file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from niwaki.errors import NiwakiError
from niwaki.runtime.entries import EntryNetwork
from niwaki.runtime.network import Network

RUNTIMES = ("onnxruntime", "openvino")
_MOST = 2**31 - 2**20
"""Bytes that a file of protobuf holds, with some left; larger tensors lie beside it."""


def to_onnx(
    model: Any,
    path: str | os.PathLike[str],
    args: tuple[Any, ...] | Mapping[str, Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    runtime: Literal["onnxruntime", "openvino"] = "onnxruntime",
) -> None:
    """Writes a compressed network as an ONNX file, for ONNX Runtime, OpenVINO and other runtimes.

    The file computes what the compiled network does, on the same grids: layers are Conv, Gemm and the like between
    QuantizeLinear and DequantizeLinear, with int8 weights, a scale for each output channel and int32 biases, which
    runtimes compute with integers; the rest is float32. Where a sum is fused into a layer here, it is rounded once
    more there, and halves may be rounded otherwise: docs/onnx.md says how far answers are apart. It needs the package
    onnx, and no torch where `model` is a network.

    Args:
        model: what niwaki.compile or niwaki.load returned; or a compressed module, as for niwaki.compile. Of several
            entry points, one: net["image"].
        path: of the file, which appears complete or not at all. Tensors of a network beyond 2 GB are written into
            PATH.data beside it.
        args, kwargs: example inputs of a module, as for niwaki.compile. Sizes that are free stay free.
        runtime: what is to run it, where there is a choice. Both run both files. ONNX Runtime computes convolutions
            without a grid for their results, and layers whose rows have ranges of their own, with integers only if
            they are written as such, and refuses sizes that the network refuses. OpenVINO has kernels of its own for
            these layers, and no way to refuse sizes.

    Raises:
        TypeError: `model` is neither, or a network comes with example inputs.
        ValueError: as of niwaki.compile; or there is no such runtime.
        NiwakiError: the package onnx is not installed; or a layer stays in torch, or is one that ONNX does not have:
            the message names it.
    """
    try:
        import onnx
    except ImportError as error:
        raise NiwakiError("niwaki.to_onnx needs the package onnx; install it with pip install onnx.") from error
    from niwaki.onnx_file.model import to_model

    if runtime not in RUNTIMES:
        raise ValueError(f"niwaki.to_onnx: runtime must be {' or '.join(map(repr, RUNTIMES))}, not {runtime!r}.")
    network = _network(model, args, kwargs)
    if isinstance(network, EntryNetwork):
        name = network.entries[0]
        raise NiwakiError(
            f"an ONNX file holds one network, and this one has several entry points; write each: net['{name}']."
        )
    network.check_native(path)
    made = to_model(network.graph, network.graph.metadata.get("source", "network"), runtime=runtime)
    _write(onnx, made, Path(path))


def _network(model: Any, args: Any, kwargs: Any) -> Network:
    if isinstance(model, Network):
        if args is not None or kwargs is not None:
            raise TypeError("niwaki.to_onnx: a compiled network needs no example inputs; leave args and kwargs out.")
        return model
    if not hasattr(model, "forward"):
        raise TypeError(
            f"niwaki.to_onnx: model must be what niwaki.compile or niwaki.load returned, or a compressed module, not "
            f"{type(model).__name__}."
        )
    if args is None and kwargs is None:
        raise TypeError("niwaki.to_onnx: a module needs example inputs; write niwaki.to_onnx(module, path, (x,)).")
    from niwaki.network.compilation import compile

    return compile(model, () if args is None else args, kwargs)


def _write(onnx: Any, model: Any, path: Path) -> None:
    """Writes beside the path and then renames."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        part = Path(folder) / path.name
        beside = f"{path.name}.data" if model.ByteSize() > _MOST else None
        if beside is None:
            part.write_bytes(model.SerializeToString())
        else:
            onnx.save(model, part, save_as_external_data=True, location=beside)
            os.replace(Path(folder) / beside, path.parent / beside)
        os.replace(part, path)
