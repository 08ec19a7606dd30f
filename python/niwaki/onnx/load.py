"""niwaki.from_onnx: reads a file, checks it, and converts it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from niwaki.errors import NiwakiError, first_sentence
from niwaki.onnx.registry import NEWEST


def from_onnx(
    model: str | os.PathLike[str] | bytes | Any,
    *,
    fixed: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
) -> nn.Module:
    """Makes a module of an ONNX file, for niwaki.compress, niwaki.quantize and all else that takes modules.

    Layers are torch's (Conv2d, Linear, LSTM, Embedding, ...), with the file's weights as parameters, and are called
    after the modules that the file was exported from, where it tells. `forward` takes the file's inputs, in their
    order and by their names, and returns its output, or a tuple of its outputs. Sizes that the file leaves free are
    free; of others, what it does not allow is refused. What is quantized in the file is computed as it says, on the
    same grid, in float32.

    Args:
        model: the path of an .onnx file, its bytes, or an onnx.ModelProto. Weights in files beside it are read, too.
        fixed: inputs that are to be constants, and free sizes that are to be numbers, by their names in the file:
            fixed={"sample_rate": 16000, "height": 224}. Branches (If) that depend on them are decided by it.
        shapes: the shapes of inputs, by their names, where the file leaves sizes free without naming them: None for
            those that stay free.

    Returns:
        A torch.fx.GraphModule in eval mode; `print(module.code)` shows what it computes.

    Raises:
        TypeError: `model` is none of these.
        ValueError: `fixed` or `shapes` names what the file does not have, or gives what does not fit.
        FileNotFoundError: there is no such file.
        NiwakiError: the package onnx is not installed; the file is damaged, or lacks the files of its weights; or it
            uses what is not supported (docs/onnx.md says what is): all such nodes are named at once.
    """
    try:
        import onnx
    except ImportError as error:
        raise NiwakiError(
            "niwaki.from_onnx needs the package onnx; install it with pip install 'niwaki[onnx]'."
        ) from error
    name, proto = _read(onnx, model)
    opsets = _opsets(onnx, name, proto)
    from niwaki.onnx.convert import Converter
    from niwaki.onnx.prepare import prepared

    return Converter(prepared(name, proto, opsets), opsets, dict(fixed or {}), dict(shapes or {})).convert(name)


def _read(onnx: Any, model: Any) -> tuple[str, Any]:
    if isinstance(model, onnx.ModelProto):
        copied = onnx.ModelProto()
        copied.CopyFrom(model)
        return "The ONNX model", _checked("The ONNX model", copied)
    if isinstance(model, bytes):
        return "The ONNX model", _checked("The ONNX model", _parsed(onnx, "The ONNX model", model))
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(
            f"niwaki.from_onnx: model must be the path of an .onnx file, its bytes or an onnx.ModelProto, "
            f"not {type(model).__name__}."
        )
    path = Path(model)
    if not path.is_file():
        raise FileNotFoundError(f"niwaki.from_onnx: there is no file '{path}'.")
    name = f"'{path}'"
    proto = _checked(name, _parsed(onnx, name, path.read_bytes()))
    _read_beside(onnx, name, proto, path.parent)
    return name, proto


def _parsed(onnx: Any, name: str, data: bytes) -> Any:
    try:
        return onnx.ModelProto.FromString(data)
    except Exception as error:
        raise NiwakiError(f"{name} is no ONNX file, or is cut short: {first_sentence(error)}.") from error


def _checked(name: str, proto: Any) -> Any:
    if not proto.ir_version or not proto.HasField("graph") or not proto.graph.output:
        raise NiwakiError(f"{name} is no ONNX file, or is cut short: it holds no graph.")
    graph = proto.graph
    names = [each.name for kind in (graph.input, graph.output, graph.initializer, graph.node) for each in kind]
    names += [each for node in graph.node for each in (node.op_type, *node.input, *node.output)]
    if not all(isinstance(each, str) for each in names):  # what is no text, protobuf gives as bytes
        raise NiwakiError(f"{name} is damaged: it holds names that are no text.")
    return proto


def _read_beside(onnx: Any, name: str, proto: Any, folder: Path) -> None:
    """Reads weights that lie in other files."""
    from onnx import external_data_helper as external

    wanted = {
        entry.value
        for tensor in external._get_all_tensors(proto)
        if external.uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    missing = sorted(each for each in wanted if not (folder / each).is_file())
    if missing:
        raise NiwakiError(
            f"{name} keeps weights in {', '.join(repr(each) for each in missing)}, which is not in its folder "
            f"'{folder}'; copy it there."
        )
    if wanted:
        try:
            onnx.load_external_data_for_model(proto, str(folder))
        except Exception as error:
            raise NiwakiError(
                f"{name} keeps weights in other files, which cannot be read: {first_sentence(error)}."
            ) from error


def _opsets(onnx: Any, name: str, proto: Any) -> dict[str, int]:
    opsets = {"" if each.domain == "ai.onnx" else each.domain: each.version for each in proto.opset_import}
    known = min(onnx.defs.onnx_opset_version(), NEWEST)
    own = opsets.get("", 1)
    if own > known:
        package = onnx.defs.onnx_opset_version()
        what = f"the installed package onnx knows {package}" if package < NEWEST else f"niwaki knows {NEWEST}"
        raise NiwakiError(f"{name} uses opset {own}, and {what}; export it with opset_version={known}.")
    return opsets
