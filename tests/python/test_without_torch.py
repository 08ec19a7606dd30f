"""Files where numpy is there and no torch, in a process of its own, against the answers that torch's tensors give."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import without_torch
from lowering import Function, compiled, images
from torch import nn

import niwaki
from niwaki import _core

IMAGE = niwaki.ImageConfig(mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3))


class Types(nn.Module):
    """Every type that a file's inputs have, one of no dimensions, an argument that is a result, nested results."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.layer = nn.Linear(8, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, counts: torch.Tensor, scale: torch.Tensor):
        y = self.layer(self.table(ids)) * mask[..., None] * counts[..., None] * scale
        return {"sums": y.sum(1), "rest": (mask & (counts > 3), counts.to(torch.int32) * 2, ids)}


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pad(x, (2, 0))).cumsum(-1)


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.table = nn.Embedding(20, 8)

    def image(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).mean((2, 3))

    def words(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids).sum(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("files")

    def arrays(name: str, **tensors: torch.Tensor) -> None:
        np.savez(folder / f"{name}.npz", **{key: value.numpy() for key, value in tensors.items()})

    x, other = images(), images(5, 9, 14)
    layers = (nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, stride=2), nn.AdaptiveAvgPool2d(1))
    net = compiled(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 5)), x)
    net.save(folder / "net.niwaki", image=IMAGE)
    net = niwaki.load(folder / "net.niwaki", threads=1)
    pixels = torch.randint(0, 256, (3, 3, 10, 11), dtype=torch.uint8)
    mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (IMAGE.mean, IMAGE.std))
    more = {"other": other, "other_y": net(other), "pixels": pixels, "pixels_y": net((pixels / 255 - mean) / std)}
    arrays("net", x=x, y=net(x), one=net(x[:1]), **more)

    given = {
        "ids": torch.randint(0, 20, (2, 6)),
        "mask": torch.rand(2, 6) > 0.4,
        "counts": torch.randint(0, 9, (2, 6), dtype=torch.int16),
        "scale": torch.tensor(0.75),
    }
    small = niwaki.quantize(Types().eval(), [given], progress=False)
    net = niwaki.compile(small, given, threads=1)
    net.save(folder / "types.niwaki")
    result = net(**given)
    flags, total, _ = result["rest"]
    arrays("types", **given, sums=result["sums"], flags=flags, total=total)

    x = torch.randn(1, 4, 32)
    net = compiled(Causal(), x)
    net.save(folder / "whole.niwaki")
    net.stream(8).save(folder / "pieces.niwaki")
    arrays("whole", x=x, y=net(x))

    given = {"image": images(), "words": torch.randint(0, 20, (2, 4))}
    module = niwaki.EntryPoints(Towers().eval(), image="image", words="words")
    small = niwaki.quantize(module, [given], progress=False)
    net = niwaki.compile(small, given, threads=1)
    net.save(folder / "entries.niwaki")
    arrays("entries", **given, **{f"{name}_y": value for name, value in net(**given).items()})
    return folder


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with numpy and niwaki, as an environment has it where nothing else was installed."""
    folder = tmp_path_factory.mktemp("packages")
    library, ours = Path(np.__file__).parent, folder / "niwaki"
    for path in (library, library.with_name("numpy.libs")):
        if path.exists():
            (folder / path.name).symlink_to(path, target_is_directory=True)
    ours.mkdir()
    # Where niwaki was installed to be edited, the core lies in another folder than the rest.
    for path in {*Path(niwaki.__file__).parent.iterdir(), Path(_core.__file__)}:
        link = ours / path.name
        if path.name != "__pycache__" and not link.exists():
            link.symlink_to(path)
    return folder


def python(packages: Path, *words: str, time: bool = False) -> subprocess.CompletedProcess[str]:
    """A process that sees these packages and Python's own."""
    options = ["-S", "-W", "error", *(["-X", "importtime"] if time else [])]
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    return subprocess.run(
        [sys.executable, *options, *words], capture_output=True, text=True, check=False, env=environment, timeout=120
    )


@pytest.mark.parametrize("scenario", without_torch.SCENARIOS)
def test_without_torch(scenario: str, folder: Path, packages: Path) -> None:
    run = python(packages, without_torch.__file__, scenario, str(folder))
    assert run.returncode == 0 and run.stdout.splitlines()[-1:] == ["fine"], run.stdout + run.stderr


def test_the_page_runs(folder: Path, packages: Path, tmp_path: Path) -> None:
    """The snippet of docs/without-torch.md, with a file of ours."""
    page = (Path(__file__).parents[2] / "docs" / "without-torch.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0].replace("small.niwaki", str(folder / "net.niwaki"))
    run = python(packages, "-c", code)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("input: float32 [batch, 3, height, width]") and "conv_" in run.stdout


def test_torch_is_not_imported_where_it_is_installed(folder: Path) -> None:
    """Neither by `import niwaki`, nor by loading and running; importing takes less than 0.1 s of the processor."""
    code = (
        "import sys, time; begin = time.process_time(); import niwaki; took = time.process_time() - begin; "
        "assert 'numpy' not in sys.modules; import numpy as np; net = niwaki.load(sys.argv[1]); "
        "print(net, net.plan, net(np.zeros((1, 3, 16, 12), np.float32)), niwaki.inspect(sys.argv[1]), dir(niwaki)); "
        "assert 'torch' not in sys.modules and 'rich' not in sys.modules; print(took)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(niwaki.__file__).parents[1])}
    seconds = []
    for _ in range(3):
        command = [sys.executable, "-c", code, str(folder / "net.niwaki")]
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert run.returncode == 0, run.stderr
        seconds.append(float(run.stdout.splitlines()[-1]))
    assert min(seconds) < 0.1, seconds


def test_names_are_where_type_checkers_see_them() -> None:
    """Each public name is imported once for type checkers and once lazily, from one place."""
    tree = ast.parse(Path(niwaki.__file__).read_text(encoding="utf-8"))
    (typing,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in typing.body for alias in node.names}  # type: ignore[attr-defined]
    assert niwaki._LAZY._places == seen
    assert set(niwaki.__all__) == {*seen, "NiwakiError", "isa", "__version__"}


def test_completion_shows_the_public_names() -> None:
    for name in niwaki.__all__:
        assert getattr(niwaki, name) is not None
    assert hasattr(niwaki, "lower") and hasattr(niwaki, "runtime")  # modules are attributes once they are imported
    assert dir(niwaki) == sorted(niwaki.__all__)


def test_results_are_of_the_library_that_was_handed_in(folder: Path) -> None:
    net = niwaki.load(folder / "types.niwaki", threads=1)
    data = np.load(folder / "types.npz")
    arrays = [data[name] for name in ("ids", "mask", "counts", "scale")]
    tensors = [torch.from_numpy(array) for array in arrays]
    wanted = net(*tensors)
    assert isinstance(wanted["sums"], torch.Tensor) and isinstance(net(*arrays)["sums"], np.ndarray)
    for at in range(4):  # one tensor among arrays, and one array among tensors
        for given in ([*arrays[:at], tensors[at], *arrays[at + 1 :]], [*tensors[:at], arrays[at], *tensors[at + 1 :]]):
            result = net(*given)
            assert torch.equal(result["sums"], wanted["sums"]) and torch.equal(result["rest"][1], wanted["rest"][1])
            assert type(result["rest"][2]) is type(given[0])  # an argument comes back as it was given
    shared = [without_torch.Wrapped(array) for array in arrays]
    without_torch.same(net(*shared)["sums"], data["sums"])
    without_torch.same(net(*map(Exporting, tensors))["sums"], data["sums"])
    grad = tensors[3].clone().requires_grad_()
    assert not net(*tensors[:3], grad)["sums"].requires_grad
    with pytest.raises(TypeError, match=r"input 'scale': its DLPack cannot be read \(.*grad"):
        net(*arrays[:3], Exporting(grad))


class Exporting:
    """A tensor of torch's that is known by DLPack alone."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def __dlpack__(self, **options: object) -> object:
        return self.tensor.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.tensor.__dlpack_device__()


def test_arrays_into_compiled_networks() -> None:
    """Native as a whole, with a part in torch, of torch alone."""
    x = images()
    native = compiled(nn.Sequential(nn.Conv2d(3, 8, 3)), x)
    mixed = compiled(Function(lambda y: (torch.linalg.qr(y)[0] * 2, y)), x)
    assert not native.plan.torch and mixed.plan.torch
    assert isinstance(native, niwaki.Network) and isinstance(mixed, niwaki.Network)
    without_torch.same(native(x.numpy()), native(x).numpy())
    for array in (x.numpy(), np.asfortranarray(x.numpy())[..., ::-1][..., ::-1], x.numpy().astype(">f4")):
        for found, wanted in zip(mixed(array), mixed(x), strict=True):
            without_torch.same(found, wanted.numpy())
    frozen = x.numpy().copy()
    frozen.flags.writeable = False
    without_torch.same(mixed(frozen)[0], mixed(x)[0].numpy())
    with pytest.raises(TypeError, match=r"float64; convert it with .astype\(numpy.float32"):
        mixed(x.numpy().astype(np.float64))
    with pytest.raises(TypeError, match="not list"):
        mixed(x.tolist())
    assert "part in torch" in repr(mixed) and "<table>" in mixed._repr_html_()


def test_streams_give_states_of_the_kind_of_their_pieces(folder: Path) -> None:
    data = np.load(folder / "whole.npz")
    x, y = data["x"], data["y"]
    stream = niwaki.load(folder / "whole.niwaki", threads=1).stream(8)
    first = stream(torch.from_numpy(x[..., :8]))
    assert isinstance(first, torch.Tensor) and all(isinstance(value, torch.Tensor) for value in stream.state().values())
    without_torch.same(stream(x[..., 8:16]), y[..., 8:16])
    kept = stream.state()
    assert all(isinstance(value, np.ndarray) for value in kept.values())
    other = stream.another()
    other.restore({name: torch.from_numpy(value) for name, value in kept.items()})
    without_torch.same(other(x[..., 16:24]), y[..., 16:24])


def test_pixels_of_torch(folder: Path) -> None:
    """uint8 tensors as arrays, and in a network that has just been saved with mean and std."""
    data = np.load(folder / "net.npz")
    pixels, wanted = torch.from_numpy(data["pixels"]), torch.from_numpy(data["pixels_y"])
    net = niwaki.load(folder / "net.niwaki", threads=1)
    assert torch.equal(net(pixels), wanted)
    assert torch.equal(net(pixels.to(memory_format=torch.channels_last)), wanted)
    with pytest.raises(ValueError, match=r"pixels are expected as \[N, 3, H, W\].*permute"):
        net(pixels.permute(0, 2, 3, 1))
    x = images()
    made = compiled(nn.Sequential(nn.Conv2d(3, 8, 3)), x)
    with pytest.raises(TypeError, match="If these are pixels, normalize them as in training, or save"):
        made(pixels)
    names = [info.name for info in made.inputs]
    made.save(folder / "made.niwaki", image=IMAGE)
    loaded = niwaki.load(folder / "made.niwaki", threads=1)
    assert torch.equal(made(pixels), loaded(pixels)) and made.inputs == loaded.inputs
    assert names == [info.name for info in loaded.inputs] == ["input"]
    assert loaded.inputs[0].image == IMAGE


@pytest.mark.parametrize("words", [{"image.mean": "0.5"}, {"image.mean": "0.5,x", "image.std": "1,1"}])
def test_wrong_words_about_images_are_refused(words: dict[str, str], tmp_path: Path) -> None:
    graph = _core.Graph()
    batch = graph.add_size("batch")
    x = graph.add_input("x", "float32", [batch, 2, 3, 3])
    graph.add_output(graph.add_node("unary", "n", [x], {"function": "neg"})[0], "y")
    graph.metadata = words
    graph.save(str(tmp_path / "x.niwaki"))
    with pytest.raises(niwaki.NiwakiError, match=r"image\.mean.*save the network again"):
        niwaki.load(tmp_path / "x.niwaki")
