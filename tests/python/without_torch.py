"""What somebody does with files where numpy is all there is. Run by test_without_torch.py, in a process without torch.

python without_torch.py SCENARIO FOLDER: the folder has files of niwaki, and of each the inputs and torch's answers.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
import pickle
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import niwaki
from niwaki.runtime.threads import available_cpus

EXTRAS = ("torch", "sympy", "safetensors", "yaml", "rich")


@contextlib.contextmanager
def raises(kind: type[Exception], words: str) -> Iterator[None]:
    """As pytest has it, which is not there."""
    found = None
    try:
        yield
    except kind as error:
        found = str(error)
    assert found is not None, f"nothing was raised; {words!r} was expected"
    assert re.search(words, found), f"{words!r} is not in {found}"


def same(found: object, wanted: np.ndarray) -> None:
    assert type(found) is np.ndarray and found.dtype == wanted.dtype and found.shape == wanted.shape, repr(found)
    assert found.tobytes() == wanted.tobytes()


class Wrapped:
    """An array of some other library, which numpy knows by DLPack alone."""

    def __init__(self, array: np.ndarray, device: tuple[int, int] | None = None) -> None:
        self.array = array
        if device is not None:
            self.__dlpack_device__ = lambda: device

    def __dlpack__(self, **options: object) -> object:
        return self.array.__dlpack__(**options)


def answers(folder: Path) -> None:
    """However the array lies in memory, the answer is torch's to the bit, and the array stays as it was."""
    net = niwaki.load(folder / "net.niwaki", threads=2)
    data = np.load(folder / "net.npz")
    x, y = data["x"], data["y"]
    strided = np.zeros((*x.shape[:3], 2 * x.shape[3]), np.float32)
    strided[..., ::2] = x
    backward = np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    packed = np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    frozen = x.copy()
    frozen.flags.writeable = False
    mapped = np.memmap(folder / "mapped", np.float32, "w+", shape=x.shape)
    mapped[:] = x
    assert not packed.flags.aligned and backward.strides[-1] < 0
    for each in (
        x, np.asfortranarray(x), strided[..., ::2], backward, packed, frozen, mapped, x.astype(">f4"), Wrapped(x),
        Wrapped(x, (1, 0)), x.view(type("Other", (np.ndarray,), {})),
    ):  # fmt: skip
        before = np.array(each.array if isinstance(each, Wrapped) else each)
        same(net(each), y)
        assert np.array_equal(before, np.array(each.array if isinstance(each, Wrapped) else each))
    same(net(input=x), y)
    same(net(x[:1]), data["one"])
    same(net(x[:0]), y[:0])
    same(net(data["other"]), data["other_y"])
    assert net(x).flags.writeable and net(x) is not net(x)
    net.autotune(x, seconds=0.05)
    same(net(x), y)


def other_types(folder: Path) -> None:
    """Indices, masks, narrow integers, 0-d arrays, nested results, arguments that are handed on."""
    net = niwaki.load(folder / "types.niwaki", threads=1)
    data = np.load(folder / "types.npz")
    ids, mask, counts, scale = data["ids"], data["mask"], data["counts"], data["scale"]
    assert [str(info) for info in net.inputs] == [
        "ids: int64 [batch, length]", "mask: bool [batch, length]", "counts: int32 [batch, length]", "scale: float32 []"
    ]  # fmt: skip
    assert counts.dtype == np.int16 and scale.shape == ()
    for bools in (mask, mask.view(np.uint8).__mul__(7).view(np.bool_)):  # true is any byte but 0
        for narrow in (counts, counts.astype(np.int8), counts.astype(np.uint8), counts.astype(">i2")):
            result = net(ids, bools, narrow, scale=scale)
            assert list(result) == ["sums", "rest"] and isinstance(result["rest"], tuple)
            same(result["sums"], data["sums"])
            same(result["rest"][0], data["flags"])
            same(result["rest"][1], data["total"])
            same(result["rest"][2], ids)
    same(net(ids, mask, counts, np.float32(scale))["sums"], data["sums"])  # what indexing an array gives
    with raises(TypeError, "input 'ids': int64 is expected, not int32; convert it with .astype.numpy.int64"):
        net(ids.astype(np.int32), mask, counts, scale)
    with raises(TypeError, "input 'mask': bool is expected, not uint8; convert it with .astype.numpy.bool"):
        net(ids, mask.view(np.uint8), counts, scale)
    with raises(TypeError, "input 'counts': int32 is expected, not uint16"):
        net(ids, mask, counts.astype(np.uint16), scale)
    with raises(TypeError, "argument 'scale' is missing"):
        net(ids, mask, counts)


def refusals(folder: Path) -> None:
    """What is no such array is refused in a sentence; the network then works as before."""
    net = niwaki.load(folder / "net.niwaki", threads=1)
    data = np.load(folder / "net.npz")
    x = data["x"]
    expected = r"input 'input': float32 is expected, not {}; convert it with .astype\(numpy.float32\)"
    record = np.zeros(x.shape, [("a", np.float32)])
    for array, kind, words in [
        (x.astype(np.float64), TypeError, expected.format("float64")),
        (x.astype(">f8"), TypeError, expected.format("float64")),
        (x.astype(np.float16), TypeError, expected.format("float16")),
        (x.astype(np.complex64), TypeError, expected.format("complex64")),
        (x.astype(object), TypeError, expected.format("object")),
        (x.astype(str), TypeError, expected.format("str1024")),
        (record, TypeError, expected.format("void32")),
        (np.float64(1.0), TypeError, expected.format("float64")),
        (x[0], ValueError, r"input 'input': rank 4 \[batch, 3, height, width\] is expected, not shape \(3, 16, 12\)"),
        (x[:, :2], ValueError, r"[Ii]nput 'input'.* 3"),
        (np.ma.masked_array(x, x > 0), TypeError, "input 'input': a masked array .*fill them"),
        (x.tolist(), TypeError, "input 'input': a numpy array.* is expected, not list"),
        (None, TypeError, "not NoneType"),
        (1.5, TypeError, "not float"),
        (Wrapped(x, (2, 0)), ValueError, r"input 'input': it is on a device \(DLPack's type 2\)"),
        (Wrapped(record), TypeError, "input 'input': its DLPack cannot be read"),
        (x.astype(np.uint8).transpose(0, 2, 3, 1), ValueError, r"pixels are expected as \[N, 3, H, W\].*transpose"),
        (x.astype(np.uint8)[:, :2], ValueError, r"pixels are expected as \[N, 3, H, W\], not as \[2, 2, 16, 12\]\.$"),
    ]:
        with raises(kind, words):
            net(array)
        same(net(x), data["y"])
    with raises(TypeError, "pickled"):
        pickle.dumps(net)
    with raises(TypeError, "pickled or copied"):
        copy.deepcopy(net)
    with raises(ValueError, "threads must be at least 1"):
        niwaki.load(folder / "net.niwaki", threads=0)
    with raises(niwaki.NiwakiError, "missing.niwaki"):
        niwaki.load(folder / "missing.niwaki")
    plain = niwaki.load(folder / "whole.niwaki")
    with raises(TypeError, "float32 is expected, not uint8; convert"):  # no image: nothing to say of pixels
        plain(np.zeros((1, 4, 32), np.uint8))


def pixels(folder: Path) -> None:
    """uint8 pixels, in any order in memory, are what the file's mean and std make of them."""
    net = niwaki.load(folder / "net.niwaki", threads=1)
    data = np.load(folder / "net.npz")
    raw = data["pixels"]
    same(net(raw), data["pixels_y"])
    same(net(np.ascontiguousarray(raw.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)), data["pixels_y"])
    same(net(raw[:0]), data["pixels_y"][:0])
    image = niwaki.ImageConfig(mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3))
    assert net.inputs[0].image == image
    shown = "input: float32 [batch, 3, height, width], or uint8 pixels (mean 0.5, 0.4, 0.3; std 0.25, 0.2, 0.3)"
    assert str(net.inputs[0]) == shown and shown in repr(net)
    contents = niwaki.inspect(folder / "net.niwaki")
    assert "pixels of images: mean 0.5, 0.4, 0.3; std 0.25, 0.2, 0.3" in str(contents)
    assert contents.to_dict()["image"] == {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.2, 0.3)}
    assert contents.image == image and niwaki.inspect(folder / "whole.niwaki").image is None


def descriptions(folder: Path) -> None:
    """Inputs, sizes, plan, the number of threads, a second file."""
    net = niwaki.load(folder / "net.niwaki")
    assert net.threads == available_cpus() and net.isa == niwaki.isa()
    assert net.outputs == ("output",) and net.entries == ()
    assert {size.name for size in net.sizes} == {"batch", "height", "width"}
    assert net.plan.milliseconds is None
    net(np.load(folder / "net.npz")["x"])
    assert net.plan.milliseconds > 0 and not net.plan.torch and "conv_" in str(net.plan)
    for html in (net._repr_html_(), net.plan._repr_html_()):
        assert html.count("<table>") == 1 and "conv2d" in html and "GMAC/s" in html
    niwaki.save(net, folder / "again.niwaki")
    assert (folder / "again.niwaki").read_bytes() == (folder / "net.niwaki").read_bytes()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        assert niwaki.load(folder / "net.niwaki").threads == 1


def streams(folder: Path) -> None:
    """Pieces are to the bit what the whole is; states are arrays."""
    data = np.load(folder / "whole.npz")
    x, y = data["x"], data["y"]
    for stream in (niwaki.load(folder / "whole.niwaki").stream(8), niwaki.load(folder / "pieces.niwaki").stream()):
        same(np.concatenate([stream(x[..., at : at + 8]) for at in range(0, 32, 8)], -1), y)
        stream.reset()
        stream(x[..., :8])
        kept = stream.state()
        assert kept and all(type(value) is np.ndarray for value in kept.values())
        other = stream.another()
        assert type(next(iter(other.state().values()))) is np.ndarray
        other.restore({name: value.astype(value.dtype, order="F") for name, value in kept.items()})
        same(np.concatenate([other(x[..., at : at + 8]) for at in range(8, 32, 8)], -1), y[..., 8:])
        assert str(stream.inputs[0]) == "x: float32 [1, 4, 8]" and stream.sizes == () and stream.plan.milliseconds > 0
        with raises(TypeError, "astype"):
            stream(x[..., :8].astype(np.float64))


def entries(folder: Path) -> None:
    """Each entry point is a network."""
    net = niwaki.load(folder / "entries.niwaki", threads=1)
    data = np.load(folder / "entries.npz")
    assert net.entries == ("image", "words")
    same(net["image"](data["image"]), data["image_y"])
    both = net(image=data["image"], words=(data["words"],))
    same(both["words"], data["words_y"])
    assert "image: " in net._repr_html_() and "2 steps" not in repr(net)
    assert niwaki.inspect(folder / "entries.niwaki").entries.keys() == {"image", "words"}


def in_threads(folder: Path) -> None:
    """One network, many callers."""
    net = niwaki.load(folder / "net.niwaki", threads=1)
    data = np.load(folder / "net.npz")
    wrong: list[str] = []

    def call(name: str) -> None:
        x, y = data[name], data[{"x": "y", "other": "other_y"}[name]]
        for _ in range(40):
            if net(x).tobytes() != y.tobytes():
                wrong.append(name)

    callers = [threading.Thread(target=call, args=(name,)) for name in ("x", "other") * 4]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def forks(folder: Path) -> None:
    """A server that forks: what was loaded before goes on in parent and children, what they load after runs, too."""
    data = np.load(folder / "net.npz")
    x, y = data["x"], data["y"]
    net = niwaki.load(folder / "net.niwaki", threads=3)
    same(net(x), y)
    children = [os.fork() for _ in range(2)] if hasattr(os, "fork") else []
    if 0 in children:
        same(net(x), y)
        same(niwaki.load(folder / "net.niwaki", threads=2)(x), y)
        os._exit(0)
    same(net(x), y)
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    same(net(x), y)


def new_sizes(folder: Path) -> None:
    """Sizes that are new with every call: memory stays what the largest needs, and answers stay what they are."""
    net = niwaki.load(folder / "net.niwaki", threads=2)
    first = np.load(folder / "net.npz")["x"]
    wanted, random = net(first), np.random.default_rng(0)
    x = random.standard_normal((4, 3, 64, 64), dtype=np.float32)
    whole, sizes, memory = net(x), set(), []
    for count in range(900):
        n, h, w = (int(random.integers(low, high)) for low, high in ((1, 5), (8, 65), (8, 65)))
        net(x[:n, :, :h, :w])
        sizes.add((n, h, w))
        if count % 300 == 299:
            memory.append(_resident())
    assert len(sizes) > 800
    assert memory[2] - memory[1] < 1e6, memory
    same(net(x), whole)
    same(net(first), wanted)


def _resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    file = Path("/proc/self/statm")
    return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if file.exists() else 0


def what_needs_torch(folder: Path) -> None:
    """Says so, and how to get it; completion leaves it out."""
    needs = r"needs \w+, which is not installed: pip install 'niwaki\[torch\]'"
    said = {}
    for name in niwaki.__all__:
        try:
            assert getattr(niwaki, name) is not None
        except ModuleNotFoundError as error:
            said[name] = str(error)
    verbs = {"compress", "compile", "quantize", "prune", "optimize", "Pruner", "EntryPoints", "nn", "configs"}
    assert verbs <= said.keys() and not said.keys() & set(dir(niwaki))
    assert all(re.match(rf"niwaki\.{name} {needs}", words) for name, words in said.items()), said
    kept = {
        "load",
        "predict",
        "save",
        "inspect",
        "to_onnx",
        "Network",
        "Stream",
        "ImageConfig",
        "NiwakiError",
        "isa",
        "__version__",
    }
    assert set(dir(niwaki)) == kept
    for statement in ("from niwaki import nn", "import niwaki.nn", "import niwaki.configs"):
        with raises(ModuleNotFoundError, needs):
            exec(statement, {})
    with raises(AttributeError, "module 'niwaki' has no attribute 'compres'"):
        niwaki.compres  # type: ignore[attr-defined]  # noqa: B018


def command_line(folder: Path) -> None:
    """inspect and bench work; compress says what it needs."""
    from niwaki.cli import main

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def call(*words: str, code: int = 0) -> tuple[str, str]:
        out, err = io.StringIO(), Terminal()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            assert main(words) == code, err.getvalue()
        return out.getvalue(), err.getvalue()

    path = str(folder / "net.niwaki")
    assert "pixels of images: mean 0.5" in call("inspect", path)[0]
    out, err = call("bench", path, "--size", "16x12", "--rounds", "3", "--layers")
    assert "images per second" in out and "\rtiming: 2 of 3" in err and err.endswith("\r")
    _, err = call("compress", "a:b", "--calibration", "random", "-o", "x.niwaki", code=2)
    assert err.startswith("niwaki: error: 'niwaki compress' needs torch") and "pip install 'niwaki[torch]'" in err


_ALL = (
    answers,
    other_types,
    refusals,
    pixels,
    descriptions,
    streams,
    entries,
    in_threads,
    forks,
    new_sizes,
    what_needs_torch,
    command_line,
)
SCENARIOS: dict[str, Callable[[Path], None]] = {each.__name__: each for each in _ALL}

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]](Path(sys.argv[2]))
    there = [name for name in EXTRAS if name in sys.modules]
    assert not there, there
    print("fine")
