"""libniwaki from an install prefix: the examples in C and C++, niwaki-run, find_package and pkg-config."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import niwaki

ROOT = Path(__file__).parents[2]
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)


def tool(name: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]))
    if found is None:
        pytest.skip(f"needs {name}, which is not on PATH: it builds the library, or programs that use it")
    return found


def call(*command: object, code: int = 0, **options: object) -> str:
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    assert run.returncode == code, f"{command}: {run.returncode}\n{run.stdout}\n{run.stderr}"
    return run.stdout if code == 0 else run.stdout + run.stderr


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed libniwaki, from NIWAKI_BUILD, from the build of `make`, or from a build of its own."""
    if sys.platform != "linux":
        pytest.skip("needs Linux: paths and compiler flags here are those of Linux")
    given = os.environ.get("NIWAKI_BUILD")
    build = Path(given) if given else ROOT / "build" / "make"
    if not (build / "CMakeCache.txt").exists():
        build = ROOT / "build" / "c-api"
        call(tool("cmake"), "-S", ROOT, "-B", build, "-DNIWAKI_PYTHON=OFF", "-DNIWAKI_TESTS=OFF")
    call(tool("cmake"), "--build", build, "--parallel", "2", "--target", "niwaki_core", "niwaki_shared", "niwaki-run")
    where = tmp_path_factory.mktemp("prefix")
    call(tool("cmake"), "--install", build, "--prefix", where, "--component", "development")
    return where


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[niwaki.Network, Path]:
    torch.manual_seed(5)
    first, second = nn.Conv2d(3, 16, 3, stride=2), nn.Conv2d(16, 32, 3)
    end = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    model = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), *end).eval()
    args = (torch.randn(4, 3, 20, 24),)
    small, _ = niwaki.compress(model, [args[0]], sparsity=0.5, progress=False)
    net = niwaki.compile(small, args, threads=1)
    path = tmp_path_factory.mktemp("network") / "small.niwaki"
    net.save(path, image=niwaki.ImageConfig(mean=MEAN, std=STD))
    return net, path


@pytest.fixture(scope="module")
def picture(network: tuple[niwaki.Network, Path]) -> tuple[Path, torch.Tensor]:
    """A PPM, and the scores that the network gives it from Python."""
    net, path = network
    pixels = np.random.default_rng(3).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    file = path.with_name("picture.ppm")
    file.write_bytes(b"P6 24 20 255\n" + pixels.tobytes())
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    x = (x / 255 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    return file, net(x)[0]


@pytest.mark.parametrize(("language", "static"), [("c", False), ("c", True), ("cpp", False), ("cpp", True)])
def test_examples(language: str, static: bool, prefix: Path, network, picture, tmp_path: Path) -> None:
    source = ROOT / "examples" / language
    call(tool("cmake"), "-S", source, "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DNIWAKI_STATIC={static:d}")
    call(tool("cmake"), "--build", tmp_path)
    file, scores = picture
    best = scores.argsort(descending=True, stable=True)
    lines = call(tmp_path / "classify", network[1], file).splitlines()
    wanted = [f"class {int(i)}, score {float(scores[i]):.6f}" for i in best[: 1 if language == "c" else 5]]
    assert lines == wanted
    assert "there is no such file" in call(tmp_path / "classify", "missing.niwaki", file, code=1)
    (tmp_path / "short.ppm").write_bytes(file.read_bytes()[:-1])
    assert "cut short" in call(
        tmp_path / "classify", network[1], tmp_path / "short.ppm", code=2 if language == "c" else 1
    )


def test_c_example_is_short() -> None:
    source = (ROOT / "examples" / "c" / "classify.c").read_text()
    assert len(source.splitlines()) <= 40


def test_headers_and_pkg_config(prefix: Path, network, picture, tmp_path: Path) -> None:
    """As strict as a C compiler can be told to be, with the flags that pkg-config gives."""
    folder = next(prefix.glob("lib*/**/niwaki.pc")).parent
    environment = {**os.environ, "PKG_CONFIG_PATH": str(folder)}
    flags = call(tool("pkg-config"), "--cflags", "--libs", "niwaki", env=environment).split()
    assert call(tool("pkg-config"), "--modversion", "niwaki", env=environment).strip() == niwaki.__version__
    strict = ["-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror"]
    program = tmp_path / "classify"
    call(tool("cc"), *strict, ROOT / "examples/c/classify.c", *flags, f"-Wl,-rpath,{folder.parent}", "-o", program)
    assert call(program, network[1], picture[0]).startswith("class ")


def test_only_the_c_api_is_exported(prefix: Path) -> None:
    library = next(prefix.glob("lib*/**/libniwaki.so"))
    symbols = [line.split()[-1] for line in call(tool("nm"), "-D", "--defined-only", library).splitlines()]
    assert "niwaki_run" in symbols
    assert [name for name in symbols if not name.startswith("niwaki_")] == []


def test_a_static_program_stays_small(prefix: Path, tmp_path: Path) -> None:
    """What the static library adds to a C++ program with all kernels, stripped: at most 2.75 MB (docs/c-api.md says why)."""
    library = next(prefix.glob("lib*/**/libniwaki.a"))
    flags = ["-O2", "-s", "-Wl,--gc-sections", "-pthread"]
    (tmp_path / "empty.cc").write_text('#include <cstdio>\nint main() { std::puts("x"); }\n')
    call(tool("c++"), *flags, tmp_path / "empty.cc", "-o", tmp_path / "empty")
    source = ROOT / "examples" / "cpp" / "classify.cc"
    call(tool("c++"), "-std=c++17", *flags, source, f"-I{prefix}/include", library, "-o", tmp_path / "full")
    assert (tmp_path / "full").stat().st_size - (tmp_path / "empty").stat().st_size <= 2_750_000


@pytest.fixture(scope="module")
def runner(prefix: Path) -> Path:
    return prefix / "bin" / "niwaki-run"


def test_run_answers_and_checks(runner: Path, network, tmp_path: Path) -> None:
    net, path = network
    x = torch.randn(3, 3, 20, 24, generator=torch.Generator().manual_seed(1))
    y = net(x)
    x.numpy().tofile(tmp_path / "x.f32")
    y.numpy().tofile(tmp_path / "y.f32")
    common = [path, "--input", tmp_path / "x.f32", "--batch", 3, "--size", "20x24", "--rounds", 2]
    text = call(runner, *common, "--expect", tmp_path / "y.f32", "--save", tmp_path / "z.f32")
    assert "as expected: largest difference 0," in text
    assert (tmp_path / "z.f32").read_bytes() == (tmp_path / "y.f32").read_bytes()
    (y + 0.25).numpy().tofile(tmp_path / "off.f32")
    assert "NOT as expected" in call(runner, *common, "--expect", tmp_path / "off.f32", code=1)
    call(runner, *common, "--expect", tmp_path / "off.f32", "--tolerance", 0.2501)
    result = json.loads(call(runner, *common, "--json", "--layers", "--expect", tmp_path / "y.f32", "--threads", 2))
    assert result["same"] is True and result["shapes"] == [[3, 3, 20, 24]] and result["rounds"] == 2
    assert result["isa"] == net.isa and result["threads"] == 2 and result["median_ms"] > 0
    assert [layer["op"] for layer in result["layers"]] == [step.op for step in net.plan]
    assert sum(layer["macs"] for layer in result["layers"]) == sum(step.macs for step in net.plan)
    table = call(runner, path, "--layers", "--rounds", 0)
    assert all(step.kernel in table for step in net.plan) and "1x3x20x24" in table


def test_peak_memory_of_a_resnet50(runner: Path, network_file: Callable[[str], Path]) -> None:
    """A ResNet-50 without 85 % of its blocks runs in 30 MB, the program and the file's pages counted in."""
    path = network_file("resnet50-block85")
    for threads in (1, 2):
        result = json.loads(call(runner, path, "--json", "--rounds", 1, "--threads", threads))
        assert result["shapes"] == [[1, 3, 224, 224]]
        assert 10_000_000 < result["peak_kib"] * 1024 <= 30_000_000


def test_run_refuses(runner: Path, network, tmp_path: Path) -> None:
    path = network[1]
    (tmp_path / "x.f32").write_bytes(b"12345678")
    (tmp_path / "bad.niwaki").write_bytes(path.read_bytes()[:-5])
    for code, arguments, words in [
        (2, [], "which file"),
        (2, [path, "--nonsense"], "no option --nonsense"),
        (2, [path, "--batch", "x"], "'x' is not a whole number"),
        (2, [path, "--batch"], "--batch needs a value"),
        (2, [path, "--input", tmp_path / "x.f32"], "does not hold 1440 float32 values"),
        (2, [path, "--expect", "a", "--expect", "b"], "the network has 1 output"),
        (3, ["missing.niwaki"], "there is no such file"),
        (3, [tmp_path / "bad.niwaki"], "cut short"),
        (3, [path, "--size", "1"], "height"),
    ]:
        assert words in call(runner, *arguments, code=code)
    assert "usage: niwaki-run" in call(runner, "--help")


def test_run_as_a_static_binary(prefix: Path, network, tmp_path: Path) -> None:
    """It can be copied to a device: no shared library at all."""
    library = next(prefix.glob("lib*/**/libniwaki.a"))
    sources = sorted((ROOT / "csrc/tools/niwaki-run").glob("*.cc"))
    program = tmp_path / "niwaki-run"
    flags = ["-std=c++20", "-static", "-s", f"-I{prefix}/include"]
    call(tool("c++"), *flags, *sources, library, "-pthread", "-o", program)
    assert "images per second" in call(program, network[1], "--threads", 2, env={})


def test_image_config_is_checked(network, tmp_path: Path) -> None:
    net, path = network
    for mean, std, words in [
        ((0.5,), (0.5, 0.5), "not 1 and 2"),
        ((), (), "not 0 and 0"),
        ((0.5,), (0.0,), "std above 0"),
        ((float("nan"),), (1.0,), "mean has to be finite"),
    ]:
        with pytest.raises(ValueError, match=words):
            niwaki.ImageConfig(mean=mean, std=std)
    with pytest.raises(ValueError, match="for 1 channels"):
        net.save(tmp_path / "x.niwaki", image=niwaki.ImageConfig(mean=(0.5,), std=(1.0,)))
    assert not (tmp_path / "x.niwaki").exists()
    assert niwaki.inspect(path).metadata["image.mean"] == "0.5,0.4,0.3"
    niwaki.save(niwaki.load(path), tmp_path / "again.niwaki")  # kept
    assert niwaki.inspect(tmp_path / "again.niwaki").metadata["image.std"] == "0.25,0.2,0.3"
