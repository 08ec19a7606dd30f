"""niwaki prunes and quantizes PyTorch networks and runs them in int8 on CPUs, skipping the zeros.

small, report = niwaki.compress(model, calibration, sparsity=0.75)
net = niwaki.compile(small, (x,), threads=2)
net.save("network.niwaki")
"""

from niwaki import configs, nn
from niwaki._core import isa
from niwaki._version import __version__
from niwaki.budget import Target
from niwaki.compression.compress import compress
from niwaki.configs import OptimizeConfig, PruneConfig, QuantizeConfig
from niwaki.errors import NiwakiError
from niwaki.modules.entries import EntryPoints
from niwaki.network.compilation import compile, load, save
from niwaki.network.image import ImageConfig
from niwaki.network.inspection import inspect
from niwaki.network.network import Network
from niwaki.network.stream import Stream
from niwaki.nn import set_threads
from niwaki.optimization import optimize
from niwaki.optimization.equalize import equalize
from niwaki.optimization.low_rank import FactorizeConfig, factorize
from niwaki.pruning import ConstantSchedule, CubicSchedule, LinearSchedule, Pruner, prune
from niwaki.quantization.quantize import quantize
from niwaki.quantization.training import convert, freeze_batch_norm, prepare
from niwaki.recipes import Promise, Recipe, load_recipe, recipe_names
from niwaki.report import LayerReport, NetworkReport, Report
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
    "load",
    "save",
    "inspect",
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
