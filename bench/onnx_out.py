r"""Networks that niwaki.to_onnx has written: what runtimes make of them, how close they answer, and how long it takes.

    python bench/onnx_out.py write FOLDER resnet50-dense mobilenet_v2-dense minilm
    python bench/onnx_out.py run FOLDER

The first needs torchvision and, for a file of ONNX Runtime's own quantizer to compare with, onnxruntime. The second
needs onnxruntime, and takes openvino along where it is installed; niwaki is timed where it is. Times are those of one
image, or one text of 128 tokens, on one thread: the engines take turns, and the fastest round of each counts. Weights
are seeded, not trained.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SIZE, TOKENS = 224, 128


def _case(case: str) -> tuple[Any, list[Any], dict[str, Any]]:
    """A network, its calibration, and an input by the names of its arguments."""
    import torch

    generator = torch.Generator().manual_seed(7)
    if case == "minilm":
        import encoder

        batches = [encoder.inputs(TOKENS, 2, seed) for seed in range(8)]
        return encoder.build(), batches, dict(zip(("ids", "mask"), encoder.inputs(TOKENS, 1, 99), strict=True))
    from peers.networks import build, calibration

    return build(case), calibration(SIZE // 2), {"x": torch.randn(1, 3, SIZE, SIZE, generator=generator)}


def write(folder: Path, cases: list[str]) -> None:
    """For each case the .niwaki file, both ONNX files, that of ONNX Runtime's quantizer, an input and its answer."""
    import torch

    import niwaki

    torch.set_num_threads(1)
    for case in cases:
        network, batches, inputs = _case(case)
        config = niwaki.QuantizeConfig(precision="int8") if case != "minilm" else niwaki.QuantizeConfig()
        small = niwaki.quantize(network, batches, config)
        net = niwaki.compile(small, tuple(inputs.values()), threads=1)
        net.save(folder / f"{case}.niwaki")
        for runtime in ("onnxruntime", "openvino"):
            niwaki.to_onnx(net, folder / f"{case}.{runtime}.onnx", runtime=runtime)
        given = {f"in.{port.name}": value.numpy() for port, value in zip(net.inputs, inputs.values(), strict=True)}
        with torch.no_grad():
            plain = network(*inputs.values()).numpy()
        np.savez(folder / f"{case}.npz", y=net(*inputs.values()).numpy(), plain=plain, **given)
        _quantized_by_onnx_runtime(network, folder / f"{case}.own.onnx", batches, inputs)


def _quantized_by_onnx_runtime(network: Any, path: Path, batches: list[Any], inputs: dict[str, Any]) -> None:
    """Q/DQ with ranges of the calibration for images; with ranges that are found when it runs for texts, as it advises
    for transformers."""
    import tempfile
    import warnings

    import torch
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        left = iter([{"x": batch.numpy()} for batch in batches]) if "x" in inputs else iter(())

        def get_next(self) -> Any:
            return next(self.left, None)

    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = Path(scratch, "float.onnx")
        axes = {"x": {0: "n", 2: "h", 3: "w"}, "ids": {0: "n", 1: "t"}, "mask": {0: "n", 1: "t"}}
        torch.onnx.export(
            network, tuple(inputs.values()), plain, dynamo=False, opset_version=17, input_names=list(inputs),
            dynamic_axes={name: axes[name] for name in inputs},
        )  # fmt: skip
        if "x" not in inputs:
            quantize_dynamic(plain, path, per_channel=True, weight_type=QuantType.QInt8)
            return
        quantize_static(
            plain, path, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip


Engine = tuple[str, Callable[[], Any], str]


def engines(folder: Path, case: str, inputs: dict[str, np.ndarray[Any, Any]]) -> Iterator[Engine]:
    """Name, what runs it once, and what it is made of."""
    try:
        import niwaki

        net = niwaki.load(folder / f"{case}.niwaki", threads=1)
        yield "niwaki", lambda: net(**inputs), ""
    except ImportError:
        pass
    import onnxruntime

    for name, what in (("onnxruntime", "ONNX Runtime, to_onnx"), ("own", "ONNX Runtime, its own quantizer")):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        path = folder / f"{case}.{name}.onnx"
        if not path.exists():
            continue
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        given = {each.name: inputs[each.name] for each in session.get_inputs()}
        yield what, lambda session=session, given=given: session.run(None, given)[0], ""
    try:
        import openvino
    except ImportError:
        return
    core = openvino.Core()
    for name, what in (("openvino", "OpenVINO, to_onnx"), ("own", "OpenVINO, ONNX Runtime's quantizer")):
        path = folder / f"{case}.{name}.onnx"
        if not path.exists():
            continue
        model = core.read_model(path)
        given = [inputs[port.get_any_name()] for port in model.inputs]
        model.reshape({port: list(each.shape) for port, each in zip(model.inputs, given, strict=True)})
        hints = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(model, "CPU", hints)
        request = compiled.create_infer_request()
        yield what, lambda request=request, given=given: request.infer(given)[0], _kinds(compiled)


def _kinds(compiled: Any) -> str:
    """Types in which OpenVINO computes convolutions and matrix products."""
    found: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        info = node.get_rt_info()
        kind = info["layerType"].astype(str)
        if kind in ("Convolution", "FullyConnected", "MatMul"):
            found[f"{kind} {info['runtimePrecision'].astype(str)}"] += 1
    return ", ".join(f"{count} x {name}" for name, count in sorted(found.items()))


def run(folder: Path, rounds: int) -> None:
    """Prints a table."""
    for path in sorted(folder.glob("*.npz")):
        case, data = path.stem, np.load(path)
        inputs = {name.removeprefix("in."): data[name] for name in data.files if name.startswith("in.")}
        found = list(engines(folder, case, inputs))
        best = dict.fromkeys((name for name, _, _ in found), float("inf"))
        answers = {name: call() for name, call, _ in found}
        for _ in range(rounds):
            for name, call, _ in found:
                begin = time.perf_counter()
                call()
                best[name] = min(best[name], time.perf_counter() - begin)
        print(f"| {case} | ms | largest difference from niwaki's | from float32 | |\n|---|---|---|---|---|")
        for name, _, kinds in found:
            apart, wrong = (np.abs(answers[name] - y).max() / np.abs(y).max() for y in (data["y"], data["plain"]))
            print(f"| {name} | {best[name] * 1e3:.2f} | {apart:.1e} | {wrong:.1e} | {kinds} |")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("write", "run"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases", nargs="*", help="cases of bench/peers (resnet50-dense), or minilm")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    if arguments.what == "write":
        write(arguments.folder, arguments.cases)
    else:
        run(arguments.folder, arguments.rounds)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    main()
