"""A network in a file: the same bits after loading, the same nesting, and what inspect shows."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from lowering import Function, compiled, images
from torch import nn
from torch.nn import functional as F

import niwaki


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
    assert loaded.inputs == net.inputs == ("image", "vector")
    assert loaded.outputs == net.outputs
    assert loaded.threads == 2
    with pytest.raises(ValueError, match="input 'image': 3 channels"):
        loaded(images(channels=4), args[1])
    with pytest.raises(TypeError, match="2 are expected, not 1"):
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
    assert content.inputs == (("image", (None, 3, None, None)), ("vector", (None, 4)))
    data = json.loads(json.dumps(content.to_dict()))
    assert data["metadata"]["source"] == "Two"
    weights = [node for node in data["nodes"] if "weight" in node["tensors"]]
    assert [node["name"] for node in weights] == ["a", "b"]
    assert weights[0]["tensors"]["weight"]["shape"] == [8, 3, 3, 3]
    lines = str(content).splitlines()
    assert lines[0].startswith(f"{path}: ")
    assert "image [any, 3, any, any]" in lines[1]
    assert any(line.split()[:3] == ["a", "conv2d", "8x3x3x3"] for line in lines)


Pair = namedtuple("Pair", "first second")


def test_types_that_a_file_cannot_name(tmp_path: Path) -> None:
    net = compiled(Function(lambda x: Pair(x, F.relu(x))).eval(), images())
    assert isinstance(net(images()), Pair)
    with pytest.raises(niwaki.NiwakiError, match="returns a Pair"):
        net.save(tmp_path / "pair.niwaki")
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


def test_a_folder_that_is_missing(two, tmp_path: Path) -> None:
    net, _ = two
    with pytest.raises(niwaki.NiwakiError, match="missing"):
        net.save(tmp_path / "missing" / "net.niwaki")


def test_only_networks_are_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"what niwaki.compile returned, not a Conv2d"):
        niwaki.save(nn.Conv2d(3, 4, 1), tmp_path / "net.niwaki")


def test_a_description_that_does_not_fit_its_graph(two, tmp_path: Path) -> None:
    from niwaki import _core

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
