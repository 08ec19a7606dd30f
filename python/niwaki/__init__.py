"""niwaki prunes and quantizes PyTorch networks and runs them in int8 on CPUs, skipping the zeros.

small, report = niwaki.compress(model, calibration, sparsity=0.75)
net = niwaki.compile(small, (x,), threads=2)
net.save("network.niwaki")

A file needs neither torch nor the network's code, only numpy:

net = niwaki.load("network.niwaki")
y = net(x)  # arrays in, arrays out; tensors in, tensors out
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from niwaki._core import isa
from niwaki._lazy import LazyNames
from niwaki._version import __version__
from niwaki.errors import NiwakiError

if TYPE_CHECKING:
    from niwaki import configs, nn
    from niwaki.budget import Target
    from niwaki.compression.compress import compress
    from niwaki.configs import OptimizeConfig, PruneConfig, QuantizeConfig
    from niwaki.modules.entries import EntryPoints
    from niwaki.network.compilation import compile
    from niwaki.network.pipelines import pipeline_model
    from niwaki.nn import set_threads
    from niwaki.onnx import from_onnx
    from niwaki.onnx_file.export import to_onnx
    from niwaki.optimization import optimize
    from niwaki.optimization.equalize import equalize
    from niwaki.optimization.low_rank import FactorizeConfig, factorize
    from niwaki.prediction.predict import predict
    from niwaki.pruning import ConstantSchedule, CubicSchedule, LinearSchedule, Pruner
    from niwaki.pruning.prune import prune
    from niwaki.quantization.quantize import quantize
    from niwaki.quantization.training import convert, freeze_batch_norm, prepare
    from niwaki.recipes import Promise, Recipe, load_recipe, recipe_names
    from niwaki.report import LayerReport, NetworkReport, Report
    from niwaki.runtime.image import ImageConfig
    from niwaki.runtime.inspection import inspect
    from niwaki.runtime.load import load, save
    from niwaki.runtime.network import Network
    from niwaki.runtime.stream import Stream
    from niwaki.training import DistillationLoss, FinetuneConfig, JointTraining

__all__ = [
    "compress",
    "optimize",
    "equalize",
    "factorize",
    "prune",
    "quantize",
    "prepare",
    "convert",
    "freeze_batch_norm",
    "compile",
    "from_onnx",
    "to_onnx",
    "load",
    "save",
    "inspect",
    "predict",
    "pipeline_model",
    "Network",
    "EntryPoints",
    "Stream",
    "nn",
    "configs",
    "Target",
    "Recipe",
    "Promise",
    "load_recipe",
    "recipe_names",
    "Report",
    "LayerReport",
    "NetworkReport",
    "Pruner",
    "ConstantSchedule",
    "LinearSchedule",
    "CubicSchedule",
    "DistillationLoss",
    "JointTraining",
    "FinetuneConfig",
    "OptimizeConfig",
    "FactorizeConfig",
    "PruneConfig",
    "QuantizeConfig",
    "ImageConfig",
    "NiwakiError",
    "set_threads",
    "isa",
    "__version__",
]

# Loaded when somebody asks for it: `import niwaki` takes milliseconds, and a file runs where there is no torch.
_LAZY = LazyNames(
    {
        "niwaki": ("configs", "nn"),
        "niwaki.budget": ("Target",),
        "niwaki.compression.compress": ("compress",),
        "niwaki.configs": ("OptimizeConfig", "PruneConfig", "QuantizeConfig"),
        "niwaki.modules.entries": ("EntryPoints",),
        "niwaki.network.compilation": ("compile",),
        "niwaki.network.pipelines": ("pipeline_model",),
        "niwaki.nn": ("set_threads",),
        "niwaki.onnx": ("from_onnx",),
        "niwaki.optimization": ("optimize",),
        "niwaki.optimization.equalize": ("equalize",),
        "niwaki.optimization.low_rank": ("FactorizeConfig", "factorize"),
        "niwaki.pruning": ("ConstantSchedule", "CubicSchedule", "LinearSchedule", "Pruner"),
        "niwaki.pruning.prune": ("prune",),
        "niwaki.quantization.quantize": ("quantize",),
        "niwaki.quantization.training": ("convert", "freeze_batch_norm", "prepare"),
        "niwaki.recipes": ("Promise", "Recipe", "load_recipe", "recipe_names"),
        "niwaki.report": ("LayerReport", "NetworkReport", "Report"),
        "niwaki.training": ("DistillationLoss", "FinetuneConfig", "JointTraining"),
    },
    plain={
        "niwaki.onnx_file.export": ("to_onnx",),
        "niwaki.prediction.predict": ("predict",),
        "niwaki.runtime.image": ("ImageConfig",),
        "niwaki.runtime.inspection": ("inspect",),
        "niwaki.runtime.load": ("load", "save"),
        "niwaki.runtime.network": ("Network",),
        "niwaki.runtime.stream": ("Stream",),
    },
)

if "numpy" in sys.modules:  # then the rest of what runs files takes milliseconds, and `load` need not wait for it
    importlib.import_module("niwaki.runtime.load")

if not TYPE_CHECKING:  # for whom the names above are enough, and with this every name would do

    def __getattr__(name: str) -> object:
        value = _LAZY.find(name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return _LAZY.known(__all__)
