"""What people get wrong is told in a sentence: what, where, and what to do. And what completion and notebooks show."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from torch import nn

import niwaki
from niwaki import options
from niwaki.configs import FactorizeConfig, FinetuneConfig, OptimizeConfig

X = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()


@pytest.mark.parametrize(
    ("call", "meant", "named"),
    [
        (lambda: niwaki.compress(model(), X, sparsty=0.5), "sparsity", "target, recipe, evaluate"),  # type: ignore[call-arg]
        (lambda: niwaki.compress(model(), X, weigth_bits=4), "weight_bits", "weight_bits"),  # type: ignore[call-arg]
        (lambda: niwaki.prune(model(), sparsity=0.5, patern="block4"), "pattern", "calibration"),  # type: ignore[call-arg]
        (lambda: niwaki.quantize(model(), X, roundings="nearest"), "rounding", "progress"),  # type: ignore[call-arg]
        (lambda: niwaki.Target(siez=0.1), "size", "latency"),  # type: ignore[call-arg]
        (lambda: niwaki.PruneConfig(sparsety=0.1), "sparsity", "pattern"),  # type: ignore[call-arg]
        (lambda: niwaki.QuantizeConfig(weight_bit=4), "weight_bits", "observer"),  # type: ignore[call-arg]
        (lambda: OptimizeConfig(fold_batchnorm=True), "fold_batch_norm", "dropout"),  # type: ignore[call-arg]
        (lambda: FinetuneConfig(epoch=1), "epochs", "batch"),  # type: ignore[call-arg]
        (lambda: FactorizeConfig(eror=0.1), "error", "error"),  # type: ignore[call-arg]
    ],
)
def test_a_misspelt_option(call: Callable[[], Any], meant: str, named: str) -> None:
    with pytest.raises(TypeError, match=f"there is no option '.*'; did you mean '{meant}'\\? There are .*{named}"):
        call()


def test_an_option_like_no_other() -> None:
    with pytest.raises(TypeError, match=r"there is no option 'zzz'\. There are sparsity,"):
        niwaki.compress(model(), X, zzz=1)  # type: ignore[call-arg]


def test_options_and_their_types_are_the_same() -> None:
    """mypy knows exactly the options that there are."""
    configs = {
        options.PruneOptions: niwaki.PruneConfig,
        options.QuantizeOptions: niwaki.QuantizeConfig,
    }
    for typed, config in configs.items():
        assert set(typed.__annotations__) == set(get_type_hints(config)), config
    both = set(get_type_hints(niwaki.PruneConfig)) | set(get_type_hints(niwaki.QuantizeConfig))
    assert set(options.CompressOptions.__annotations__) == both - {"sparsity", "skip", "transform"}


def test_mypy_sees_a_misspelt_option(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="needs mypy: pip install -r requirements/lint.txt")
    code = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from typing import Unpack\n"
        "from niwaki.options import CompressOptions\n"
        "def compress(**options: 'Unpack[CompressOptions]') -> None: ...\n"
        "compress(weight_bits=4)\n"
        "compress(weigth_bits=4)\n"
    )
    (tmp_path / "program.py").write_text(code, encoding="utf-8")
    # Without torch, which takes a minute; typing.Unpack is there from Python 3.11 on.
    alone = ("--follow-imports=skip", "--ignore-missing-imports", "--explicit-package-bases", "--python-version=3.11")
    command = [sys.executable, "-m", "mypy", *alone, "program.py", options.__file__]
    source = str(Path(niwaki.__file__).parents[1])
    run = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"MYPYPATH": source, "PATH": ""}
    )
    assert "program.py:7" in run.stdout and "weigth_bits" in run.stdout and "program.py:6" not in run.stdout, run.stdout


def test_compress_takes_its_options_typed() -> None:
    hints = niwaki.compress.__annotations__["options"], niwaki.prune.__annotations__["options"]
    assert hints == ("Unpack[CompressOptions]", "Unpack[PruneOptions]")
    assert niwaki.quantize.__annotations__["options"] == "Unpack[QuantizeOptions]"


def test_quantize_takes_options_by_name() -> None:
    by_name = niwaki.quantize(model(), X, weight_bits=4, progress=False)
    by_config = niwaki.quantize(model(), X, niwaki.QuantizeConfig(weight_bits=4), progress=False)
    assert torch.equal(by_name[0].weight, by_config[0].weight) and int(by_name[0].weight.abs().max()) <= 7
    with pytest.raises(TypeError, match="give a QuantizeConfig or weight_bits, not both"):
        niwaki.quantize(model(), X, niwaki.QuantizeConfig(), weight_bits=4)


@pytest.mark.parametrize(
    "calibration",
    [X.numpy(), [X.numpy()], {"input": X.numpy()}, [(X.numpy(), 1)]],
    ids=["array", "list", "dict", "tuple"],
)
def test_numpy_calibration(calibration: Any) -> None:
    with pytest.raises(TypeError, match=r"a numpy array; make it a tensor with torch.from_numpy\(array\)"):
        niwaki.compress(model(), calibration)


def test_numpy_examples() -> None:
    small = niwaki.quantize(model(), X, progress=False)
    with pytest.raises(TypeError, match=r"niwaki.compile: an example input is a numpy array; make it a tensor"):
        niwaki.compile(small, (X.numpy(),))
    with pytest.raises(TypeError, match=r"an example input is a numpy array"):
        niwaki.compile(small, {"input": X.numpy()})


@pytest.mark.parametrize("verb", [niwaki.compress, niwaki.quantize, niwaki.compile])
def test_a_class_in_place_of_a_network(verb: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"ReLU is a class; give a module, such as ReLU\(\.\.\.\)"):
        verb(nn.ReLU, (X,))


@pytest.mark.parametrize("size", [1, 10, 99])
def test_a_size_that_no_file_has(size: int) -> None:
    with pytest.raises(ValueError, match=f"size={size} is {size} bytes, which no file has; .* size=0.1 for a tenth"):
        niwaki.Target(size=size)
    with pytest.raises(ValueError, match=r"a share of float32 such as 0\.1, not 10\.0"):
        niwaki.Target(size=10.0)


def test_completion_shows_few_names() -> None:
    for name in ("", ".nn", ".report", ".budget", ".pruning", ".quantization", ".recipes", ".training", ".onnx"):
        package = importlib.import_module(f"niwaki{name}")
        assert set(dir(package)) <= set(package.__all__), name
        assert all(hasattr(package, each) for each in dir(package))


def test_a_compressed_network_does_not_look_like_torch_s() -> None:
    small = niwaki.quantize(model(), X, progress=False)
    assert "int8, " in repr(small) and "% zeros" in repr(small)


def test_names_stay_what_they_were(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, image: torch.Tensor, input: torch.Tensor) -> torch.Tensor:
            return self.conv(image) + self.conv(input)

    small = niwaki.quantize(Net().eval(), [{"image": X, "input": X}], progress=False)
    net = niwaki.compile(small, {"image": X, "input": X})
    net.save(tmp_path / "net.niwaki")
    loaded = niwaki.load(tmp_path / "net.niwaki")
    assert [port.name for port in net.inputs] == [port.name for port in loaded.inputs] == ["image", "input"]
    assert net.outputs == loaded.outputs


def test_notebooks_show_what_a_file_holds(tmp_path: Path) -> None:
    niwaki.compile(niwaki.quantize(model(), X, progress=False), (X,)).save(
        tmp_path / "net.niwaki", image=niwaki.ImageConfig(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    )
    contents = niwaki.inspect(tmp_path / "net.niwaki")
    assert contents._repr_html_().startswith("<pre>") and "mean 0.1, 0.2, 0.3" in contents._repr_html_()
