"""One network: compressed, compiled, saved, loaded, and compared with its module at several sizes."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

import niwaki
from niwaki import _core
from whole.models import Model, build

# The most parameters of networks that scalar kernels run, and of families' networks that are quantized: others would
# take minutes.
_SCALAR = 8_000_000
_QUANTIZED = 4_000_000
_ONLY_FLOAT = (
    "torchvision/s3d",
    "torchvision/mvit_v1_b",
    "torchvision/swin3d_t",
)  # films: quantized, they take an hour
_QUICK = niwaki.QuantizeConfig(observer="minmax", precision="int8", correct_bias=False)


def call(net: Callable[..., Any], inputs: Any) -> Any:
    """A network's answer to a tuple, or to arguments by name."""
    with torch.no_grad():
        return net(**inputs) if isinstance(inputs, dict) else net(*inputs)


def error(found: Any, wanted: Any) -> float | str:
    """The largest ||found - wanted|| / ||wanted|| of the results, or what else is wrong with them."""
    most = 0.0
    results, right = (
        [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)] for tree in (found, wanted)
    )
    if len(results) != len(right):
        return f"{len(results)} results, not {len(right)}"
    for a, b in zip(results, right, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"{a.dtype} {list(a.shape)}, not {b.dtype} {list(b.shape)}"
        if not torch.equal(a.isfinite(), b.isfinite()):
            return "other infinities"
        a, b = a.double().nan_to_num(0, 0, 0), b.double().nan_to_num(0, 0, 0)
        most = max(most, float((a - b).norm() / b.norm().clamp_min(1e-12)))
    return most


def same(found: Any, wanted: Any) -> bool:
    """Whether all results are the same to the bit."""
    pairs = zip(pytree.tree_leaves(found), pytree.tree_leaves(wanted), strict=True)
    return all(
        not isinstance(b, torch.Tensor) or (a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes())
        for a, b in pairs
    )


def enliven(net: nn.Module, inputs: Any) -> None:
    """Weights that are all alike get values of their own, and batch norms the statistics of these inputs.

    As they are made, scales of layers are 1e-6 and heads 0: then nothing of a network would be seen in its answer.
    """
    norms = [part for part in net.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for weight in net.parameters():
            if weight.numel() < 2 or not bool((weight == weight.flatten()[0]).all()):
                continue
            value = float(weight.flatten()[0])
            if value == 0:
                weight.uniform_(-0.1, 0.1)
            elif abs(value) < 0.2:
                weight.uniform_(0.3, 1.0)
            else:
                weight.mul_(torch.empty_like(weight).uniform_(0.8, 1.2))
    for norm in norms:
        norm.train()
        norm.momentum = None
    if norms:
        call(net, inputs)
    net.eval()


def check(name: str) -> dict[str, Any]:
    """What was found about the network of a name, see models.build.

    It is compressed as users do it. Of families, small networks are quantized with the quickest options; the others
    stay float32, which still says which operators run natively, and at which sizes.
    """
    torch.set_num_threads(1)
    model = build(name)
    net = model.module.eval()
    parameters = sum(each.numel() for each in net.parameters())
    kind = "float32" if name in _ONLY_FLOAT else "compress"
    if name.startswith("family/"):
        kind = "quantize" if parameters <= _QUANTIZED else "float32"
    row: dict[str, Any] = {"name": name, "kind": kind, "parameters": parameters}
    base = model.sizes[0]
    torch.manual_seed(1)
    calibration = [model.inputs(4, base) for _ in range(3)]
    enliven(net, model.inputs(16, base))
    start = time.perf_counter()
    small = net
    if kind == "compress":
        small, _ = niwaki.compress(net, calibration, progress=False)
    elif kind == "quantize":
        small = niwaki.quantize(net, calibration[:1], _QUICK, progress=False)
    row["seconds"] = round(time.perf_counter() - start, 1)
    compiled = niwaki.compile(small, *_example(model.inputs(2, base)), threads=1)
    left = [step for step in compiled.plan if step.scheme == "torch"]
    row["reasons"] = [f"{step.name}: {step.reason}" for step in left]
    row["sizes"] = {size.name: [size.low, size.high] for size in compiled.sizes}
    loaded = {} if left else _loaded(compiled, every=kind == "compress", scalar=parameters <= _SCALAR)
    return row | _compare(model, net, small, compiled, loaded)


def _example(inputs: Any) -> tuple[Any, ...]:
    return ((), inputs) if isinstance(inputs, dict) else (inputs,)


def _loaded(compiled: niwaki.Network, *, every: bool, scalar: bool) -> dict[str, niwaki.Network]:
    """The network from its file, for instruction sets and one and two threads."""
    found: dict[str, niwaki.Network] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "network.niwaki")
        compiled.save(path)
        for isa in _core.isas() if every else [compiled.isa]:
            if isa == "scalar" and not scalar:
                continue
            os.environ["NIWAKI_ISA"] = isa
            for threads in (1, 2) if every else (2,):
                found[f"{isa}, {threads} threads"] = niwaki.load(path, threads=threads)
        os.environ.pop("NIWAKI_ISA")
    return found


def _compare(
    model: Model, net: nn.Module, small: nn.Module, compiled: niwaki.Network, loaded: dict[str, niwaki.Network]
) -> dict[str, Any]:
    """Errors at the sizes that the module takes, and what is wrong."""
    errors: list[list[Any]] = []
    wrong: list[str] = []
    refused: list[str] = []
    for size in model.sizes:
        for batch in (1, 3):
            torch.manual_seed(2)
            inputs = model.inputs(batch, size)
            try:
                wanted = call(net, inputs)
            except Exception:  # of whatever kind: the module does not take this size
                break
            where = f"batch {batch}, size {size}"
            try:
                found = call(compiled, inputs)
            except ValueError as problem:
                refused.append(f"{where}: {problem}")
                continue
            far, near = error(found, wanted), error(found, call(small, inputs))
            errors.append([where, far, near])
            wrong += [f"{where}: {each}" for each in (far, near) if isinstance(each, str)]
            wrong += [
                f"{where}: {name}: other bits" for name, each in loaded.items() if not same(call(each, inputs), found)
            ]
    return {"errors": errors, "wrong": wrong, "refused": refused}
