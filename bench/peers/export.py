"""The networks as ONNX files: python -m peers.export FOLDER SIZE CASE ...

Each case becomes two int8 files: `.qdq.onnx` (QuantizeLinear and DequantizeLinear around float operators, weights per
channel), which ONNX Runtime and OpenVINO run, and `.qlinear.onnx` (QLinearConv, weights per tensor): the form in which
DeepSparse gains from zeros. A file appears complete or not at all; one that is there is kept.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import onnx  # noqa: E402
import torch  # noqa: E402
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static  # noqa: E402
from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: E402

from peers.networks import build, calibration  # noqa: E402

OPSET = 13


class Reader(CalibrationDataReader):
    """The calibration batches, once."""

    def __init__(self, size: int) -> None:
        self._rest = iter(calibration(size))

    def get_next(self) -> dict | None:
        batch = next(self._rest, None)
        return None if batch is None else {"x": batch.numpy()}


def export(name: str, folder: Path, size: int) -> None:
    """Writes the files of one case into `folder`."""
    targets = {form: folder / f"{name}.{form}.onnx" for form in ("qdq", "qlinear")}
    if all(path.exists() for path in targets.values()):
        return
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        plain, prepared = Path(scratch, "float.onnx"), Path(scratch, "prepared.onnx")
        batch = {0: "images"}
        torch.onnx.export(
            build(name),
            (torch.zeros(1, 3, size, size),),
            plain,
            dynamo=False,
            opset_version=OPSET,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": batch, "y": batch},
        )
        quant_pre_process(plain, prepared)
        types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        forms = {
            "qdq": {"quant_format": QuantFormat.QDQ, "per_channel": True},
            "qlinear": {
                "quant_format": QuantFormat.QOperator,
                "per_channel": False,
                "op_types_to_quantize": ["Conv", "Gemm"],
            },
        }
        for form, options in forms.items():
            path = Path(scratch, f"{form}.onnx")
            quantize_static(prepared, path, Reader(size), **types, **options)
            keep_standard_operators(path)
            os.replace(path, targets[form])


def keep_standard_operators(path: Path) -> None:
    """Takes out the mention of operator domains that the file does not use, and the newest format version: DeepSparse
    refuses both."""
    model = onnx.load(path)
    standard = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(standard)
    model.ir_version = 7
    onnx.save(model, path)


if __name__ == "__main__":
    for case in sys.argv[3:]:
        export(case, Path(sys.argv[1]), int(sys.argv[2]))
        print(case, flush=True)
