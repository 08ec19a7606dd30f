"""A network in a file: the same bits after loading, the same nesting, and what inspect shows."""

from __future__ import annotations

import json
import struct
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from file_reader import crc32c
from lowering import Function, compiled, images
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import niwaki
from niwaki import _core
from niwaki.cli import main


class Two(nn.Module):
    """Two inputs, nested results in another order than they are made."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3)
        self.b = nn.Linear(4, 8)

    def forward(self, image: torch.Tensor, vector: torch.Tensor):
        y = F.relu(self.a(image))
        z = self.b(vector)
        return {"vector": z, "both": (y * torch.sigmoid(z)[:, :, None, None], [y]), "given": vector, "label": "x"}


@pytest.fixture
def two() -> tuple[niwaki.Network, tuple[torch.Tensor, torch.Tensor]]:
    args = (images(), torch.randn(2, 4))
    small = niwaki.quantize(Two().eval(), [{"image": args[0], "vector": args[1]}], progress=False)
    return niwaki.compile(small, args, threads=1), args


def equal(a, b) -> bool:
    leaves_a, spec_a = torch.utils._pytree.tree_flatten(a)
    leaves_b, spec_b = torch.utils._pytree.tree_flatten(b)
    same = (
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(leaves_a, leaves_b, strict=True)
    )
    return spec_a == spec_b and all(same)


def test_loaded_equals_compiled(two, tmp_path: Path) -> None:
    net, args = two
    assert not net.plan.torch
    path = tmp_path / "two.niwaki"
    net.save(path)
    loaded = niwaki.load(path, threads=2)
    assert equal(loaded(*args), net(*args))
    other = (images(5, 9, 14), torch.randn(5, 4))
    assert equal(loaded(*other), net(*other))
    assert loaded.inputs == net.inputs and [info.name for info in net.inputs] == ["image", "vector"]
    assert loaded.sizes == net.sizes
    assert loaded.outputs == net.outputs
    assert loaded.threads == 2
    with pytest.raises(ValueError, match=r"[Ii]nput 'image'.* 3"):
        loaded(images(channels=4), args[1])
    with pytest.raises(TypeError, match="argument 'vector' is missing"):
        loaded(images())


def test_saved_twice_is_the_same_file(two, tmp_path: Path) -> None:
    net, _ = two
    net.save(tmp_path / "a.niwaki")
    niwaki.save(niwaki.load(tmp_path / "a.niwaki"), tmp_path / "b.niwaki")
    assert (tmp_path / "a.niwaki").read_bytes() == (tmp_path / "b.niwaki").read_bytes()


def test_inspect(two, tmp_path: Path) -> None:
    net, _ = two
    path = tmp_path / "two.niwaki"
    net.save(path)
    content = niwaki.inspect(path)
    assert content.bytes == path.stat().st_size
    assert content.parameters == 8 * 27 + 8 * 4
    assert [(port["name"], port["dims"]) for port in content.inputs] == [
        ("image", ["batch", 3, "height", "width"]),
        ("vector", ["batch", 4]),
    ]
    data = json.loads(json.dumps(content.to_dict()))
    assert data["metadata"]["source"] == "Two"
    weights = [node for node in data["nodes"] if "weight" in node["tensors"]]
    assert [node["name"] for node in weights] == ["a", "b"]
    assert weights[0]["tensors"]["weight"]["shape"] == [8, 3, 3, 3]
    lines = str(content).splitlines()
    assert lines[0].startswith(f"{path}: ")
    assert "0 image float32 [batch, 3, height, width]" in lines[2]
    layer = next(line.split() for line in lines if "8x3x3x3" in line)
    assert layer[1:4] == ["a", "conv2d", "8x3x3x3"]
    source = next(node for node in content.nodes if node["outputs"] == [int(layer[-1])])  # what it reads, by its number
    assert source["op"] == "quantize" and source["inputs"] == [0]


def test_inspect_shows_the_checksums_of_the_file(two, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, _ = two
    path = tmp_path / "two.niwaki"
    net.save(path)
    data = path.read_bytes()
    content = niwaki.inspect(path)
    graph, table = struct.unpack_from("<Q", data, 24)[0], struct.unpack_from("<Q", data, 48)[0]
    parts = {"header": data[:60], "graph": data[64 : 64 + graph], "table": data[64 + graph : 64 + graph + table]}
    assert content.version == 3
    assert content.checksums == {name: f"{crc32c(part):08x}" for name, part in parts.items()}
    tensors = [tensor for node in content.nodes for tensor in node["tensors"].values()]
    end = 64 + graph + table
    for tensor in sorted(tensors, key=lambda tensor: tensor["offset"]):
        assert end <= tensor["offset"] < end + 4
        end = tensor["offset"] + tensor["bytes"]
        assert tensor["checksum"] == f"{crc32c(data[tensor['offset'] : end]):08x}"
    assert end == len(data)
    heading = str(content).splitlines()[1]
    assert all(f"{name} {checksum}" in heading for name, checksum in content.checksums.items())
    assert main(["inspect", str(path), "--tensors"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(line[-3], line[-2], line[-1]) for line in lines] == [
        (str(tensor["offset"]), str(tensor["bytes"]), tensor["checksum"]) for tensor in tensors
    ]


class Dense(nn.Module):
    """Forty layers with long names, of which one layer reads all."""

    def __init__(self) -> None:
        super().__init__()
        self.a_list_of_layers_with_quite_a_long_name = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 4, 1)) for _ in range(40)
        )
        self.what_reads_them_all = nn.Conv2d(160, 8, 3)

    def forward(self, a_picture_of_any_size: torch.Tensor) -> torch.Tensor:
        features = [layer(a_picture_of_any_size) for layer in self.a_list_of_layers_with_quite_a_long_name]
        return self.what_reads_them_all(torch.cat(features, 1))


def test_inspect_fits_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    """80 columns, unless all is wanted; what feeds a layer is there in any case."""
    monkeypatch.chdir(tmp_path)
    compiled(Dense(), images()).save("net.niwaki")
    for options in ([], ["--tensors"]):
        assert main(["inspect", "net.niwaki", *options]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) > 40 and max(map(len, lines)) <= 80
        assert main(["inspect", "net.niwaki", "--wide", *options]) == 0
        wide = capsys.readouterr().out
        assert (
            "a_list_of_layers_with_quite_a_long_name.39.0" in wide
            and "a_list_of_layers_with_quite_a_long_name.39.0" not in "".join(lines)
        )
        assert set(next(line for line in lines if "layer" in line).split()) < set(wide.split())
    concat = next(node for node in niwaki.inspect("net.niwaki").nodes if node["op"] == "concat")
    assert " ".join(map(str, concat["inputs"])) in niwaki.inspect("net.niwaki").table(None)
    assert str(niwaki.inspect("net.niwaki")) == niwaki.inspect("net.niwaki").table()


def test_inspect_a_file_of_version_1(root: Path) -> None:
    """Sizes and places are those of the file, not what today's writer would make of it."""
    path = root / "tests" / "data" / "formats" / "version1.niwaki"
    content = niwaki.inspect(path)
    data = path.read_bytes()
    assert content.version == 1
    for node in content.nodes:
        for tensor in node["tensors"].values():
            assert tensor["offset"] % 64 == 0
            payload = data[tensor["offset"] : tensor["offset"] + tensor["bytes"]]
            assert tensor["checksum"] == f"{crc32c(payload):08x}"


Pair = namedtuple("Pair", "first second")


class Box:
    """A type of the caller's own, which pytree knows."""

    def __init__(self, content: torch.Tensor) -> None:
        self.content = content


pytree.register_pytree_node(Box, lambda box: ([box.content], None), lambda content, _: Box(*content))


def test_names_of_results_are_kept(tmp_path: Path) -> None:
    net = compiled(Function(lambda x: Pair(x, x.max(1))).eval(), images())
    found = net(images())
    net.save(tmp_path / "pair.niwaki")
    loaded = niwaki.load(tmp_path / "pair.niwaki")(images())
    assert isinstance(found, Pair) and type(loaded).__name__ == "Pair" and loaded._fields == ("first", "second")
    assert torch.equal(loaded.first, found.first)
    assert torch.equal(loaded.second.values, found.second.values)
    assert torch.equal(loaded.second.indices, found.second.indices)


def test_types_that_a_file_cannot_name(tmp_path: Path) -> None:
    net = compiled(Function(lambda x: Box(F.relu(x))).eval(), images())
    assert isinstance(net(images()), Box)
    with pytest.raises(niwaki.NiwakiError, match="returns a Box"):
        net.save(tmp_path / "box.niwaki")
    assert list(tmp_path.iterdir()) == []


def test_bad_files(two, tmp_path: Path) -> None:
    net, _ = two
    path = tmp_path / "net.niwaki"
    with pytest.raises(niwaki.NiwakiError, match=r"net\.niwaki"):
        niwaki.load(path)
    path.write_bytes(b"")
    with pytest.raises(niwaki.NiwakiError, match=r"net\.niwaki"):
        niwaki.load(path)
    path.write_bytes(b"PK\x03\x04" + bytes(1000))
    with pytest.raises(niwaki.NiwakiError, match=r"net\.niwaki"):
        niwaki.inspect(path)
    net.save(path)
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 16):
        path.write_bytes(whole[:length])
        with pytest.raises(niwaki.NiwakiError, match=r"net\.niwaki"):
            niwaki.load(path)


class Three(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.layer, self.function = nn.Linear(8, 4), function

    def forward(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor):
        return self.function(self.layer, x, y, z)


@pytest.mark.parametrize(
    "function",
    [
        lambda layer, x, y, z: layer(z) + y.mean(-1, keepdim=True),
        lambda layer, x, y, z: layer(y),
        lambda layer, x, y, z: (z, layer(z)),
        lambda layer, x, y, z: (lambda first: (layer(first), first))(x + z),
    ],
    ids=["read in another order", "not read", "returned", "made in another order"],
)
def test_inputs_of_a_file_are_those_of_the_module(function, tmp_path: Path) -> None:
    model = Three(function).eval()
    args = tuple(torch.randn(3, 8) for _ in range(3))
    net = niwaki.compile(model, args)
    net.save(tmp_path / "net.niwaki")
    again = niwaki.load(tmp_path / "net.niwaki")
    assert again.inputs == net.inputs
    assert [port["name"] for port in _core.Graph.load(str(tmp_path / "net.niwaki")).output_ports] == list(net.outputs)
    for found in (net(*args), again(*args)):
        for a, b in zip(pytree.tree_leaves(found), pytree.tree_leaves(model(*args)), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_what_a_file_cannot_hold_is_said(tmp_path: Path) -> None:
    nothing = niwaki.compile(nn.Identity(), (torch.randn(2, 3),))
    with pytest.raises(niwaki.NiwakiError, match="not written, because the network computes nothing"):
        nothing.save(tmp_path / "net.niwaki")
    unread = Three(lambda layer, x, y, z: layer(x)).eval()
    x, odd = torch.randn(3, 8), torch.zeros(3, dtype=torch.uint16)
    with pytest.raises(niwaki.NiwakiError, match="Input 'z' is uint16, which niwaki does not have, and nothing native"):
        niwaki.compile(unread, (x, x, odd))


def test_a_folder_that_is_missing(two, tmp_path: Path) -> None:
    net, _ = two
    with pytest.raises(niwaki.NiwakiError, match="missing"):
        net.save(tmp_path / "missing" / "net.niwaki")


def test_only_networks_are_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"what niwaki.compile returned, not a Conv2d"):
        niwaki.save(nn.Conv2d(3, 4, 1), tmp_path / "net.niwaki")


def test_a_description_that_does_not_fit_its_graph(two, tmp_path: Path) -> None:
    net, args = two
    path = tmp_path / "net.niwaki"
    net.save(path)
    graph = _core.Graph.load(str(path))
    words = graph.metadata
    for broken in (
        "",
        "[]",
        '{"inputs": [], "outputs": ["nowhere"], "arguments": {"tuple": []}, "result": {"output": 0}}',
    ):
        graph.metadata = {**words, "signature": broken}
        graph.save(str(path))
        with pytest.raises(niwaki.NiwakiError, match="does not fit its graph"):
            niwaki.load(path)
    graph.metadata = {}
    graph.save(str(path))
    plain = niwaki.load(path)
    assert len(plain(*args)) == len(plain.outputs) == 3
