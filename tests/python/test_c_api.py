"""libniwaki from an install prefix: the examples in C and C++, niwaki-run, find_package and pkg-config."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plain_graphs
import pronounce
import pytest
import sound
import torch
from torch import nn

import niwaki
from niwaki import _core

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


def test_words_are_pronounced_as_in_python(prefix: Path, tmp_path: Path) -> None:
    """Two networks, and a state that goes from one to the other and from step to step."""
    library = next(prefix.glob("lib*/**/libniwaki.so")).parent
    program = tmp_path / "pronounce"
    flags = [f"-I{prefix}/include", f"-L{library}", "-lniwaki", f"-Wl,-rpath,{library}", "-std=c11", "-Werror"]
    call(tool("cc"), ROOT / "examples/c/pronounce.c", *flags, "-o", program)
    torch.manual_seed(0)
    encoder, decoder = pronounce.Encoder(29, 16).eval(), pronounce.Decoder(74, 16).eval()
    decoder.fc.weight.data *= 20  # else one phoneme follows itself
    nets = (
        niwaki.compile(encoder, (torch.tensor([[3, 2]]),)),
        niwaki.compile(decoder, (torch.tensor([2]), torch.zeros(1, 1, 16))),
    )
    paths = [tmp_path / name for name in ("encoder.niwaki", "decoder.niwaki")]
    for net, path in zip(nets, paths, strict=True):
        net.save(path)
    source = (ROOT / "examples/c/pronounce.c").read_text()
    names = re.findall(r'"([A-Z0-9]+)"', source[source.index("kPhonemes[]") : source.index("ZH")] + 'ZH"')
    assert len(names) == 70
    for word in ("a", "niwaki", "trees"):
        letters = torch.tensor([[ord(letter) - ord("a") + 3 for letter in word] + [pronounce.STOP - 1]])
        found, _ = pronounce.decode(nets[1], nets[0](letters))
        wanted = [names[phoneme - 4] if phoneme >= 4 else "?" for phoneme in found[0].tolist()]
        printed = call(program, *paths, word).split()
        assert printed == wanted[: len(printed)] and len(set(printed)) > 1
    assert "not a word" in call(program, *paths, "Two words", code=2)
    assert "there is no such file" in call(program, paths[0], "missing.niwaki", "a", code=1)


def test_a_sound_is_heard_in_pieces_as_it_is_whole(prefix: Path, tmp_path: Path) -> None:
    """A minute in two calls of a program, the second of which goes on from the states of the first: to the bit."""
    library = next(prefix.glob("lib*/**/libniwaki.so")).parent
    program = tmp_path / "listen"
    flags = [f"-I{prefix}/include", f"-L{library}", "-lniwaki", f"-Wl,-rpath,{library}", "-std=c11", "-Wall", "-Werror"]
    call(tool("cc"), ROOT / "examples/c/listen.c", *flags, "-o", program)
    net, signal = sound.detector()
    file, states = tmp_path / "voice.niwaki", tmp_path / "states"
    net.stream(sound.PIECE).save(file)
    wanted = net(signal).flatten()
    heard: list[str] = []
    for number, part in enumerate(signal.split(31 * sound.RATE // sound.PIECE * sound.PIECE, 1)):
        part.numpy().tofile(tmp_path / f"{number}.f32")
        heard += call(program, file, tmp_path / f"{number}.f32", states).split()
    assert number == 1 and torch.equal(torch.tensor([float(x) for x in heard]), wanted)
    states.write_bytes(states.read_bytes()[:-4])
    assert "the states are those of another" in call(program, file, tmp_path / "1.f32", states, code=1)
    assert "no such sound" in call(program, file, tmp_path / "2.f32", code=1)


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
    static = call(tool("pkg-config"), "--cflags", "--libs", "niwaki-static", env=environment).split()
    whole = call(tool("pkg-config"), "--static", "--cflags", "--libs", "niwaki", env=environment).split()
    for more, needs in ((static, ["libstdc++"]), (["-static", *whole], [])):
        call(tool("cc"), *strict, ROOT / "examples/c/classify.c", *more, "-o", program)
        assert call(program, network[1], picture[0]).startswith("class ")
        needed = re.findall(r"NEEDED.*\[(lib(?:niwaki|stdc\+\+))", call(tool("readelf"), "-d", program))
        assert needed == needs, "the library itself is in the program"


def test_only_the_c_api_is_exported(prefix: Path) -> None:
    library = next(prefix.glob("lib*/**/libniwaki.so"))
    symbols = [line.split()[-1] for line in call(tool("nm"), "-D", "--defined-only", library).splitlines()]
    assert "niwaki_run" in symbols
    assert [name for name in symbols if not name.startswith("niwaki_")] == []


def test_a_static_program_stays_small(prefix: Path, tmp_path: Path) -> None:
    """What the static library adds to a C++ program with all kernels, stripped: at most 2.75 MB (docs/c-api.md)."""
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


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> tuple[_core.Graph, Path]:
    """A network of int64, int32, bool and float32 inputs and outputs, with a state."""
    graph = plain_graphs.GRAPHS["tokens"]()
    path = tmp_path_factory.mktemp("sentences") / "tokens.niwaki"
    graph.save(str(path))
    return graph, path


def sentence_inputs() -> list[np.ndarray]:
    random = np.random.default_rng(4)
    ids, kinds = random.integers(0, 9, (3, 8)), random.integers(-4, 4, (3, 8), dtype=np.int32)
    return [ids, random.random((3, 8)) < 0.6, kinds, random.standard_normal((3, 5, 4)).astype(np.float32)]


def test_run_takes_arrays_of_any_type(runner: Path, sentences: tuple[_core.Graph, Path], tmp_path: Path) -> None:
    graph, path = sentences
    arrays = sentence_inputs()
    session = _core.Session(_core.Model(graph))
    shapes = session.output_shapes([array.shape for array in arrays])
    answers = [np.zeros(shape, port["dtype"]) for shape, port in zip(shapes, graph.output_ports, strict=True)]
    session.run([(array.ctypes.data, array.shape) for array in arrays], [answer.ctypes.data for answer in answers])
    command: list[object] = [path, "--rounds", 0]
    for place, array in enumerate(arrays):
        np.save(tmp_path / f"x{place}.npy", array)
        command += ["--input", tmp_path / f"x{place}.npy"]
    for place, answer in enumerate(answers):
        np.save(tmp_path / f"y{place}.npy", answer)
        command += ["--expect", tmp_path / f"y{place}.npy", "--save", tmp_path / f"z{place}.npy"]
    assert "as expected: largest difference 0," in call(runner, *command)
    for place, answer in enumerate(answers):
        np.testing.assert_array_equal(np.load(tmp_path / f"z{place}.npy"), answer, strict=True)
    arrays[0].astype("<i8").tofile(tmp_path / "x0.raw")  # raw elements need their sizes from somewhere else
    raw = [tmp_path / "x0.raw" if word == tmp_path / "x0.npy" else word for word in command]
    call(runner, *raw, "--batch", 3, "--size", "length=8")


def test_run_knows_free_sizes(runner: Path, sentences: tuple[_core.Graph, Path], tmp_path: Path) -> None:
    path = tmp_path / "axes.niwaki"
    plain_graphs.GRAPHS["axes"]().save(str(path))
    result = json.loads(call(runner, path, "--json", "--rounds", 1, "--size", "length=4", "--size", "batch=3"))
    assert result["shapes"] == [[3, 4, 6], [3, 4]]
    np.save(tmp_path / "x.npy", np.zeros((2, 4, 6)))
    np.save(tmp_path / "turned.npy", np.asfortranarray(np.zeros((2, 4, 6), np.float32)))
    np.save(tmp_path / "x32.npy", np.zeros((2, 4, 6), np.float32))
    (tmp_path / "short.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:9])
    (tmp_path / "no.npy").write_bytes(b"no array")
    for code, arguments, words in [
        (2, ["--size", "length=x"], "'x' is not a whole number"),
        (2, ["--size", "width=4"], "no free size 'width', but batch, length"),
        (3, ["--size", "length=0"], "length"),
        (2, ["--input", tmp_path / "x.npy", "--input", "n"], "'<f8'; float32 ('<f4') is expected"),
        (2, ["--input", tmp_path / "turned.npy", "--input", "n"], "not in row-major order"),
        (2, ["--input", tmp_path / "short.npy", "--input", "n"], "cut short"),
        (2, ["--input", tmp_path / "no.npy", "--input", "n"], "is no .npy file"),
        (2, ["--input", tmp_path / "x32.npy", "--input", "n"], "n cannot be opened"),
    ]:
        assert words in call(runner, path, *arguments, code=code)
    assert "'shifted' follow from free sizes" in call(runner, sentences[1], "--size", "length=4", code=2)


@pytest.fixture(scope="module")
def two_entries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("entries") / "both.niwaki"
    graphs = [(name, plain_graphs.GRAPHS[name]()) for name in ("axes", "tokens")]
    _core.save_entries(graphs, str(path))
    return path


def test_run_by_entry(runner: Path, two_entries: Path, tmp_path: Path) -> None:
    command: list[object] = ["--json", "--rounds", 1, "--size", "length=4", "--size", "batch=3"]
    result = json.loads(call(runner, two_entries, "--entry", "axes", *command))
    assert result["shapes"] == [[3, 4, 6], [3, 4]]
    arrays = sentence_inputs()
    for place, array in enumerate(arrays):
        np.save(tmp_path / f"x{place}.npy", array)
    inputs = [word for place in range(len(arrays)) for word in ("--input", tmp_path / f"x{place}.npy")]
    result = json.loads(call(runner, two_entries, "--entry", "tokens", *inputs, "--json", "--rounds", 1))
    assert result["shapes"] == [list(array.shape) for array in arrays]
    assert "several entry points: axes, tokens; say which with --entry" in call(runner, two_entries, code=2)
    assert "no entry point 'x'; it has 'axes', 'tokens'" in call(runner, two_entries, "--entry", "x", code=3)


CHOOSES = """
#include <cstdio>
#include "niwaki/niwaki.hpp"
int main(int, char** argv) {
  niwaki::Model axes = niwaki::Model(argv[1]).entry("axes");
  for (const std::string& name : niwaki::Model(argv[1]).entries()) std::printf("%s ", name.c_str());
  niwaki::Session session(axes);
  const std::vector<float> x(3 * 4 * 6, 1.0f);
  const std::vector<std::int64_t> y(3 * 4, 2);
  const auto outputs = session.run({niwaki::input(x, {3, 4, 6}), niwaki::input(y, {3, 4})});
  std::printf("%zu\\n", outputs.size());
  try {
    niwaki::Session(niwaki::Model(argv[1]));
  } catch (const niwaki::Error& error) {
    std::puts(error.what());
  }
}
"""


def test_entries_in_cpp(prefix: Path, two_entries: Path, tmp_path: Path) -> None:
    (tmp_path / "choose.cc").write_text(CHOOSES)
    library = next(prefix.glob("lib*/**/libniwaki.a"))
    program = tmp_path / "choose"
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{prefix}/include"]
    call(tool("c++"), *flags, tmp_path / "choose.cc", library, "-pthread", "-o", program)
    said = call(program, two_entries)
    outputs = len(plain_graphs.GRAPHS["axes"]().outputs)
    assert said.startswith(f"axes tokens {outputs}\n")
    assert "niwaki_session_create: the network has several entry points, 'axes', 'tokens'" in said


def test_the_library_names_its_abi(prefix: Path) -> None:
    header = (prefix / "include" / "niwaki" / "niwaki.h").read_text()
    (version,) = re.findall(r"#define NIWAKI_ABI_VERSION (\d+)", header)
    library = next(prefix.glob("lib*/**/libniwaki.so"))
    assert f"[libniwaki.so.{version}]" in call(tool("readelf"), "-d", library)


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
        (3, [path, "--size", "1"], "too small for its kernel"),
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


class Shape(ctypes.Structure):
    _fields_ = [("rank", ctypes.c_int32), ("sizes", ctypes.c_int64 * 8)]


class Tensor(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("layout", ctypes.c_int),
        ("shape", Shape),
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
    ]


def test_pixels_are_in_python_to_the_bit_what_they_are_in_c(prefix: Path, tmp_path: Path) -> None:
    """Every pixel, for means and deviations that no float32 is; the network gives what it is handed, negative."""
    mean, std = (0.485, 0.1 + 1e-9, 1 / 3, -7.25e-5, 0.0), (0.229, 1e-5, 123456.789, 0.5, 1 / 255)
    graph = _core.Graph()
    sizes = [graph.add_size(name) for name in ("batch", "height", "width")]
    x = graph.add_input("x", "float32", [sizes[0], 5, *sizes[1:]])
    graph.add_output(graph.add_node("unary", "n", [x], {"function": "neg"})[0], "y")
    path = tmp_path / "pixels.niwaki"
    graph.metadata = niwaki.ImageConfig(mean=mean, std=std).metadata(graph)
    graph.save(str(path))
    pixels = np.stack([np.roll(np.arange(256, dtype=np.uint8), 7 * channel) for channel in range(5)]).reshape(
        1, 5, 16, 16
    )

    c = ctypes.CDLL(str(next(prefix.glob("lib*/**/libniwaki.so"))))
    model, session = ctypes.c_void_p(), ctypes.c_void_p()
    assert c.niwaki_model_open(str(path).encode(), None, ctypes.byref(model)) == 0
    assert c.niwaki_session_create(model, None, ctypes.byref(session)) == 0
    wanted = np.empty(pixels.shape, np.float32)
    shape = Shape(4, (ctypes.c_int64 * 8)(*pixels.shape))
    given = Tensor(None, 1, 0, shape, pixels.ctypes.data, pixels.nbytes)
    result = Tensor(None, 0, 0, shape, wanted.ctypes.data, wanted.nbytes)
    assert c.niwaki_run(session, ctypes.byref(given), 1, ctypes.byref(result), 1) == 0
    assert c.niwaki_session_close(session) == 0 and c.niwaki_model_close(model) == 0

    found = niwaki.load(path, threads=1)(pixels)
    assert found.tobytes() == wanted.tobytes() and np.unique(wanted).size > 1000
