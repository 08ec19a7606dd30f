"""What the tests share: one thread, fixed seeds, the data that only some machines have, and which are quick."""

from __future__ import annotations

import importlib.util
import os
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)

# For daily work, `make test-quick`: files that take at most some ten seconds of one core, of every part of niwaki.
QUICK = (
    "activations", "bias", "byte_attention", "calibration_inputs", "called_otherwise", "compile", "compress",
    "core_movement", "core_products", "core_windows", "file_format", "foreseen", "gram", "layer",
    "left_out", "lower_elementwise", "lower_matrices", "lower_operators", "lower_products", "lower_recurrent",
    "lower_reductions", "lower_shapes", "lower_types", "masks", "messages", "nn", "observers", "onnx",
    "onnx_other_convolutions", "onnx_own_scales", "partition", "pictures", "pinned_sizes", "plan", "prune",
    "quantize", "readme", "rewrite", "runtime_layer", "save_load", "settings", "spread", "states",
    "to_onnx_operators", "verdict", "versions", "weight_bits",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="only the files of tests that take seconds: QUICK in tests/conftest.py"
    )


def pytest_configure(config: pytest.Config) -> None:
    missing = [name for name in QUICK if not (ROOT / "tests" / "python" / f"test_{name}.py").exists()]
    if missing:
        raise pytest.UsageError(f"tests/conftest.py: QUICK names files that are not there: {', '.join(missing)}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    name = collection_path.stem.removeprefix("test_")
    left_out = config.getoption("--quick") and collection_path.name.startswith("test_") and name not in QUICK
    return True if left_out else None


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def import_file() -> Callable[[Path], ModuleType]:
    """Imports a Python file that is in no package, such as an example or a script of docs/; anew at each call."""

    def run(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return run


@pytest.fixture(scope="session")
def network_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of a network of bench/peers, "resnet50-block85" say: seeded weights, for images of 224 x 224."""
    files: dict[str, Path] = {}

    def make(case: str) -> Path:
        if case not in files:
            from peers.networks import build

            import niwaki

            calibration = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
            small, _ = niwaki.compress(build(case), [calibration], progress=False)
            net = niwaki.compile(small, (torch.zeros(1, 3, 224, 224),), threads=1)
            path = tmp_path_factory.mktemp("networks") / f"{case}.niwaki"
            net.save(path)
            files[case] = path
        return files[case]

    return make


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real weights and images: NIWAKI_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("NIWAKI_SHARED") or ROOT.parent / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(
            f"needs real weights and images: no folder 'data' in {folder} (set NIWAKI_SHARED to the folder that has it)"
        )
    return folder
