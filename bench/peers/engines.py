"""One engine with one network, as a process: python -m peers.engines ENGINE CASE IMAGES THREADS SIZE MODELS

It speaks JSON, a line at a time. First {"version": ...} once the network is warm, or {"error": ...}; then, for each
line "N" on its standard input, {"milliseconds": [...]} of N calls with the whole batch, after one that is not timed.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Job:
    """What to run. `x`: float32 [images, 3, size, size]. `models`: the folder with the ONNX files."""

    case: str
    threads: int
    x: np.ndarray
    models: Path


Call = Callable[[], object]


def onnxruntime(job: Job) -> Call:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = job.threads
    path = str(job.models / f"{job.case}.qdq.onnx")
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {"x": job.x}
    return lambda: session.run(None, feed)


def openvino(job: Job) -> Call:
    import openvino as ov

    core = ov.Core()
    model = core.read_model(job.models / f"{job.case}.qdq.onnx")
    model.reshape(list(job.x.shape))
    options = {"INFERENCE_NUM_THREADS": job.threads, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    feed = {0: job.x}
    return lambda: request.infer(feed)


def deepsparse(job: Job) -> Call:
    from deepsparse import compile_model

    path = str(job.models / f"{job.case}.qlinear.onnx")
    engine = compile_model(path, batch_size=len(job.x), num_cores=job.threads)
    feed = [job.x]
    return lambda: engine.run(feed)


def torch_fp32(job: Job) -> Call:
    import torch

    from peers.networks import build

    torch.set_num_threads(job.threads)
    network = build(job.case).to(memory_format=torch.channels_last)
    x = torch.from_numpy(job.x).to(memory_format=torch.channels_last)
    return torch.inference_mode()(lambda: network(x))


def torch_int8(job: Job) -> Call:
    import torch
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    from peers.networks import build, calibration

    torch.set_num_threads(job.threads)
    torch.backends.quantized.engine = "x86"
    x = torch.from_numpy(job.x)
    observed = prepare_fx(build(job.case), get_default_qconfig_mapping("x86"), (x[:1],))
    with torch.inference_mode():
        for batch in calibration(job.x.shape[-1]):
            observed(batch)
    network = convert_fx(observed)
    return torch.inference_mode()(lambda: network(x))


def niwaki(job: Job) -> Call:
    import torch

    import niwaki
    from peers.networks import build, calibration

    torch.set_num_threads(job.threads)
    x = torch.from_numpy(job.x)
    small, _ = niwaki.compress(build(job.case), calibration(job.x.shape[-1]))
    network = niwaki.compile(small, (x,), threads=job.threads)
    return lambda: network(x)


ENGINES: dict[str, tuple[Callable[[Job], Call], str]] = {
    "niwaki": (niwaki, "niwaki"),
    "onnxruntime": (onnxruntime, "onnxruntime"),
    "openvino": (openvino, "openvino"),
    "deepsparse": (deepsparse, "deepsparse"),
    "torch-int8": (torch_int8, "torch"),
    "torch-fp32": (torch_fp32, "torch"),
}
"""How to make each engine's call, and the package whose version counts."""


def version_of(package: str) -> str:
    """As it was installed; of a package that is only on the path, what it says of itself."""
    try:
        return version(package)
    except PackageNotFoundError:
        return str(getattr(sys.modules[package], "__version__", "of unknown version"))


def main(engine: str, case: str, images: str, threads: str, size: str, models: str) -> None:
    """Answers until its standard input ends."""
    warnings.filterwarnings("ignore")
    # Engines print banners: what they write to standard output goes to the log with their other words.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content: dict) -> None:
        print(json.dumps(content), file=answers, flush=True)

    noise = np.random.RandomState(2).randn(int(images), 3, int(size), int(size)).astype(np.float32)
    make, package = ENGINES[engine]
    try:
        call = make(Job(case, int(threads), noise, Path(models)))
        for _ in range(3):
            call()
    except Exception as error:  # whatever an engine raises, the table says why it is not there
        answer({"error": f"{type(error).__name__}: {error}".splitlines()[0]})
        raise
    answer({"version": version_of(package)})
    for line in sys.stdin:
        call()
        milliseconds = []
        for _ in range(int(line)):
            begin = time.perf_counter()
            call()
            milliseconds.append((time.perf_counter() - begin) * 1e3)
        answer({"milliseconds": milliseconds})


if __name__ == "__main__":
    main(*sys.argv[1:])
