"""Networks with several entry points: compressed together, compiled into one file, called by name."""

import copy
import io
import json
import logging
import re

import numpy as np
import pytest
import torch
from torch import nn

import niwaki
from niwaki import _core
from niwaki._compat import import_torchvision
from niwaki.capture import capture, captured_entries
from niwaki.cli.entry import main
from niwaki.network.compilation import compile_captured
from niwaki.quantization import Ranges, ranges_of

WORDS, WIDTH = 500, 32


class TwoTowers(nn.Module):
    """Pictures and sentences into one space."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.deeper = nn.Conv2d(16, 24, 3, padding=1)
        self.table = nn.Embedding(WORDS, WIDTH)
        self.mix = nn.Linear(WIDTH, 64)
        self.from_image, self.from_text = nn.Linear(24, WIDTH), nn.Linear(64, WIDTH)

    def image_features(self, pixels):
        x = torch.relu(self.norm(self.conv(pixels)))
        return self.from_image(torch.relu(self.deeper(x)).mean((2, 3)))

    def text_features(self, ids, mask=None):
        x = torch.relu(self.mix(self.table(ids)))
        if mask is None:
            return self.from_text(x.mean(1))
        seen = mask.to(x.dtype)[..., None]
        return self.from_text((x * seen).sum(1) / seen.sum(1))


class Translator(nn.Module):
    """An encoder and a decoder with one table of words and one layer in common."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.common = nn.Linear(WIDTH, WIDTH)
        self.encoder, self.decoder = nn.Linear(WIDTH, WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, 40)

    def encode(self, source):
        return torch.tanh(self.encoder(torch.relu(self.common(self.words(source)))))

    def decode(self, target, memory):
        x = torch.relu(self.common(self.words(target)))
        around = memory.mean(1, keepdim=True).expand(-1, x.shape[1], -1)
        return {"logits": self.out(torch.relu(self.decoder(torch.cat([x, around], 2)))), "last": [x[:, -1]]}


def seeded(kind):
    torch.manual_seed(0)
    return kind().eval()


@pytest.fixture(scope="module")
def towers():
    return niwaki.EntryPoints(seeded(TwoTowers), image="image_features", text="text_features")


def pictures(count=8, side=16, seed=1):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def sentences(count=8, length=6, seed=2):
    ids = torch.randint(WORDS, (count, length), generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(length)[None] < torch.arange(count)[:, None] % length + 1
    return {"ids": ids, "mask": mask}


def calibration():
    return {"image": [pictures(seed=i) for i in range(3)], "text": [sentences(seed=i) for i in range(3)]}


@pytest.fixture(scope="module")
def small(towers):
    return niwaki.compress(towers, calibration(), progress=False)[0]


@pytest.fixture(scope="module")
def network(small):
    return niwaki.compile(small, {"image": (pictures(2),), "text": sentences(2)}, threads=1)


@pytest.fixture(scope="module")
def translator():
    model = seeded(Translator)
    points = niwaki.EntryPoints(model, encode="encode", decode="decode")
    sources = [sentences(seed=i)["ids"] for i in range(3)]
    targets = [{"target": x[:, :4], "memory": model.encode(x).detach()} for x in sources]
    return niwaki.compress(points, {"encode": sources, "decode": targets}, progress=False)[0]


def translated(translator, threads=1):
    memory = torch.randn(2, 6, WIDTH)
    return niwaki.compile(
        translator, {"encode": (sentences(2)["ids"],), "decode": (sentences(2)["ids"][:, :4], memory)}, threads=threads
    )


def near(found, wanted, most=0.06):
    assert (found - wanted).norm() <= most * wanted.norm()


def test_answers_at_every_size(towers, network):
    assert network.entries == ("image", "text") and network["image"].entries == ()
    for count, side, length in ((1, 16, 6), (5, 20, 3), (3, 33, 11)):
        x, words = pictures(count, side, seed=9), sentences(count, length, seed=9)
        near(network["image"](x), towers["image"](x))
        near(network["text"](words["ids"], words["mask"]), towers["text"](**words))
        near(network["text"](mask=words["mask"], ids=words["ids"]), towers["text"](**words))
    both = network(image=pictures(3), text=sentences(4))
    assert list(both) == ["image", "text"]
    torch.testing.assert_close(both["image"], network["image"](pictures(3)), rtol=0, atol=0)
    torch.testing.assert_close(both["text"], network["text"](**sentences(4)), rtol=0, atol=0)
    assert list(network(text=sentences(1))) == ["text"]


def test_entries_are_networks(network):
    image, text = network["image"], network["text"]
    assert isinstance(image, niwaki.Network) and isinstance(network, niwaki.Network)
    assert [str(each) for each in image.inputs] == [str(each) for each in image.inputs]
    assert [(each.name, each.dims) for each in image.inputs] == [("pixels", ("batch", 3, "height", "width"))]
    assert [(each.name, each.dims) for each in text.inputs] == [
        ("ids", ("batch", "length")), ("mask", ("batch", "length")),
    ]  # fmt: skip
    assert [size.name for size in text.sizes] == ["batch", "length"]
    layers = {step.name: step.scheme for step in network.plan}
    assert layers["image: model.deeper"] == "int8" and layers["text: model.mix"] == "int8"
    assert "TwoTowers on" in str(network.plan) and repr(network).count("niwaki.Network") == 3


def alone(module, name, args):
    """An entry compiled by itself, with the numbers that it has among the others."""
    kwargs = module.arguments(args)
    entry = captured_entries(capture(module, (), kwargs), module)[name]
    captured = capture(module[name], (), kwargs[name])
    nodes = [[n for n in each.program().graph.nodes if n.op != "get_attr"] for each in (entry, captured)]
    assert [(n.op, str(n.target)) for n in nodes[0]] == [(n.op, str(n.target)) for n in nodes[1]]
    names = {a.name: b.name for a, b in zip(*nodes, strict=True)}
    ranges = ranges_of(module)
    own = Ranges(
        captured.fingerprint,
        {names[key]: pair for key, pair in ranges.values.items() if key in names},
        frozenset(names[key] for key in ranges.floats if key in names),
    )
    return compile_captured(captured, own, module[name], threads=1)


def test_answers_are_those_of_each_alone(small, network, translator):
    args = {"image": (pictures(2),), "text": sentences(2)}
    for count, side in ((1, 16), (4, 21)):
        single = alone(small, "image", args)
        x = pictures(count, side, seed=5)
        assert torch.equal(network["image"](x), single(pixels=x))
        words = sentences(count, side, seed=5)
        assert torch.equal(network["text"](**words), alone(small, "text", args)(**words))
    net = translated(translator)
    ids, memory = sentences(3, 9, seed=4)["ids"], torch.randn(3, 7, WIDTH)
    args = {"encode": (ids,), "decode": (ids[:, :4], memory)}
    assert torch.equal(net["encode"](ids), alone(translator, "encode", args)(source=ids))
    found, wanted = net["decode"](ids, memory), alone(translator, "decode", args)(target=ids, memory=memory)
    assert torch.equal(found["logits"], wanted["logits"]) and torch.equal(found["last"][0], wanted["last"][0])
    # Threads do not change them.
    assert torch.equal(translated(translator, threads=2)["encode"](ids), net["encode"](ids))


def test_one_file_with_shared_weights_once(translator, tmp_path):
    net = translated(translator)
    net.save(tmp_path / "both.niwaki")
    sizes = {}
    for name in net.entries:
        net[name].save(tmp_path / name)
        sizes[name] = (tmp_path / name).stat().st_size
    both = (tmp_path / "both.niwaki").stat().st_size
    table, layer = WORDS * WIDTH, WIDTH * WIDTH
    assert both < sum(sizes.values()) - table - 3 * layer // 4
    contents = niwaki.inspect(tmp_path / "both.niwaki")
    assert contents.version == 4 and list(contents.entries) == ["encode", "decode"]

    def places(entry, shape):
        nodes = contents.entries[entry].nodes
        return {t["offset"] for node in nodes for t in node["tensors"].values() if tuple(t["shape"]) == shape}

    for shape in ((WORDS, WIDTH), (WORDS, 1)):
        assert len(places("encode", shape)) == 1 and places("encode", shape) == places("decode", shape)
    common = places("encode", (WIDTH, WIDTH)) & places("decode", (WIDTH, WIDTH))
    assert len(common) == 1  # the common layer's weight, and no other
    assert contents.parameters < sum(each.parameters for each in contents.entries.values())
    assert "entry point decode" in str(contents) and "both.niwaki" in str(contents)
    assert contents.tensors().count("500x32") == 1
    assert list(contents.to_dict()["entries"]) == ["encode", "decode"]

    loaded = niwaki.load(tmp_path / "both.niwaki", threads=1)
    assert loaded.entries == net.entries
    ids, memory = sentences(3, 9, seed=4)["ids"], torch.randn(3, 7, WIDTH)
    assert torch.equal(loaded["encode"](ids), net["encode"](ids))
    found, wanted = loaded["decode"](memory=memory, target=ids), net["decode"](ids, memory)
    assert list(found) == ["logits", "last"] and torch.equal(found["logits"], wanted["logits"])
    assert torch.equal(found["last"][0], wanted["last"][0])
    loaded.save(tmp_path / "again.niwaki")
    assert (tmp_path / "again.niwaki").read_bytes() == (tmp_path / "both.niwaki").read_bytes()
    niwaki.save(loaded, tmp_path / "again.niwaki")
    assert niwaki.load(tmp_path / "encode").entries == ()


def test_a_layer_that_entries_call_is_compressed_once(translator):
    names = [name for name, part in translator.named_modules() if isinstance(part, niwaki.nn.Linear)]
    assert sorted(names) == [f"model.{name}" for name in ("common", "decoder", "encoder", "out")]
    assert isinstance(translator.model.words, niwaki.nn.embedding.Embedding)


def test_float32_and_one_entry(towers, tmp_path):
    x = pictures(3)
    net = niwaki.compile(towers, {"image": x, "text": sentences(2)}, threads=1)
    torch.testing.assert_close(net["image"](x), towers["image"](x), rtol=1e-4, atol=1e-5)
    one = niwaki.EntryPoints(towers.model, only="image_features")
    net = niwaki.compile(one, {"only": [x]}, threads=1)
    net.save(tmp_path / "one.niwaki")
    loaded = niwaki.load(tmp_path / "one.niwaki", threads=1)
    assert loaded.entries == ("only",)
    assert torch.equal(loaded["only"](x), net["only"](x))
    assert _core.Graph.load(str(tmp_path / "one.niwaki")).inputs == ["pixels"]


def test_entries_by_parts_and_functions(towers):
    def scaled(model, pixels, factor=2.0):
        return model.image_features(pixels) * factor

    points = niwaki.EntryPoints(towers.model, conv="conv", image=scaled)
    x = pictures(2)
    assert torch.equal(points["conv"](x), towers.model.conv(x))
    net = niwaki.compile(points, {"conv": x, "image": {"pixels": x, "factor": 3.0}}, threads=1)
    torch.testing.assert_close(net["conv"](x), towers.model.conv(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net["image"](x), towers.model.image_features(x) * 3.0, rtol=1e-4, atol=1e-5)


def test_copies_and_checkpoints(small, network, towers):
    args = {"image": (pictures(2),), "text": sentences(2)}
    kept = io.BytesIO()
    torch.save(small, kept)
    kept.seek(0)
    fresh = copy.deepcopy(small)
    with torch.no_grad():
        for buffer in fresh.buffers():
            buffer.zero_()
    fresh.load_state_dict(small.state_dict())
    for module in (copy.deepcopy(small), torch.load(kept, weights_only=False), fresh):
        again = niwaki.compile(module, args, threads=1)
        assert torch.equal(again["image"](pictures(2)), network["image"](pictures(2)))
        assert torch.equal(again["text"](**sentences(2)), network["text"](**sentences(2)))
    entry = copy.deepcopy(towers["image"])
    with torch.no_grad():
        entry.model.from_image.weight.zero_(), entry.model.from_image.bias.zero_()
    assert entry(pictures(1)).abs().max() == 0 and towers["image"](pictures(1)).abs().max() > 0
    with pytest.raises(TypeError, match="can't be pickled or copied"):
        copy.deepcopy(network)


def test_calibration_of_each_entry(towers):
    loader = [(x, torch.arange(len(x))) for x in calibration()["image"]]  # with labels
    one = niwaki.compress(towers, {"image": loader, "text": sentences(8)}, progress=False)[0]
    joint = [{"image": x, "text": sentences(8)} for x in calibration()["image"]]
    two = niwaki.compress(towers, joint, progress=False)[0]
    streamed = niwaki.compress(towers, {"image": iter(loader), "text": [sentences(8)] * 3}, progress=False)[0]
    for other in (two, streamed):
        assert ranges_of(other).values == ranges_of(one).values
    whole = niwaki.compress(
        towers, [0, 1, 2], transform=lambda i: {"image": (loader[i][0],), "text": sentences(8)}, progress=False
    )[0]
    assert ranges_of(whole).values == ranges_of(one).values


def test_evaluate_target_and_report(towers, caplog):
    x, words = pictures(16), sentences(16)
    wanted = (towers["image"](x) @ towers["text"](**words).T).argmax(1)

    def evaluate(net):
        with torch.no_grad():
            return 100.0 * float(((net["image"](x) @ net["text"](**words).T).argmax(1) == wanted).float().mean())

    with caplog.at_level(logging.ERROR):
        small, report = niwaki.compress(
            towers, calibration(), target=niwaki.Target(size=0.25), evaluate=evaluate, progress=False
        )
    assert report.network.file_bytes <= 0.25 * report.network.parameter_bytes
    assert report.network.accuracy is not None and 0 <= report.network.accuracy <= 100
    assert {row.name for row in report} >= {"model.deeper", "model.mix"}
    net = niwaki.compile(small, {"image": x, "text": words}, threads=1)
    assert evaluate(net) == report.network.accuracy


def test_pruned_and_trained(towers):
    sparse = niwaki.compress(towers, calibration(), sparsity=0.5, progress=False)[0]
    assert (sparse.model.deeper.weight == 0).float().mean() > 0.45
    net = niwaki.compile(sparse, {"image": pictures(2), "text": sentences(2)}, threads=1)
    near(net["text"](**sentences(4)), sparse["text"](**sentences(4)), 0.1)
    prepared = niwaki.prepare(towers, calibration(), progress=False)
    optimizer = torch.optim.SGD(prepared.parameters(), lr=1e-3)
    for i in range(2):
        found = prepared(image=pictures(4, seed=i), text=sentences(4, seed=i))
        optimizer.zero_grad()
        (found["image"] - found["text"]).square().mean().backward()
        optimizer.step()
    trained = niwaki.convert(prepared, calibration(), progress=False)
    net = niwaki.compile(trained, {"image": pictures(2), "text": sentences(2)}, threads=1)
    near(net["image"](pictures(4)), prepared.eval()["image"](pictures(4)).detach(), 0.1)


def test_autotune_keeps_the_answers(small, network):
    args = {"image": (pictures(2),), "text": sentences(2)}
    tuned = niwaki.compile(small, args, threads=1).autotune(**args, seconds=0.0)
    assert torch.equal(tuned["image"](pictures(2)), network["image"](pictures(2)))
    tuned = niwaki.compile(small, args, threads=1, autotune=True)
    assert torch.equal(tuned["text"](**sentences(2)), network["text"](**sentences(2)))


def test_pixels_for_the_entry_that_has_them(network, tmp_path):
    image = niwaki.ImageConfig(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    network.save(tmp_path / "a.niwaki", image=image)
    found = dict(_core.load_entries(str(tmp_path / "a.niwaki")))
    assert "image.mean" in found["image"].metadata and "image.mean" not in found["text"].metadata
    with pytest.raises(ValueError, match="for 1 channels"):
        network.save(tmp_path / "b.niwaki", image=niwaki.ImageConfig(mean=(0.5,), std=(0.2,)))


class Loose(TwoTowers):
    def both(self, pixels):
        return torch.unique(self.image_features(pixels))


def test_parts_in_torch(tmp_path):
    points = niwaki.EntryPoints(seeded(Loose), fine="image_features", odd="both")
    net = niwaki.compile(points, {"fine": pictures(2), "odd": pictures(2)}, threads=1)
    torch.testing.assert_close(net["odd"](pictures(2)), points["odd"](pictures(2)), rtol=1e-4, atol=1e-5)
    with pytest.raises(niwaki.NiwakiError, match=r"entry point 'odd': .*not written, because .*stay in torch"):
        net.save(tmp_path / "a.niwaki")
    net["fine"].save(tmp_path / "a.niwaki")


def test_what_is_refused(towers, small, network, tmp_path):
    model = towers.model
    for wrong, error, words in (
        (lambda: niwaki.EntryPoints(model), ValueError, "1 to 16 entry points, not 0"),
        (lambda: niwaki.EntryPoints(model, **{f"e{i}": "conv" for i in range(17)}), ValueError, "not 17"),
        (lambda: niwaki.EntryPoints(model, a="nothing"), TypeError, "'a': TwoTowers has no 'nothing'"),
        (lambda: niwaki.EntryPoints(model, a="training"), TypeError, "cannot be called"),
        (lambda: niwaki.EntryPoints(model, a=3), TypeError, "not int"),
        (lambda: niwaki.EntryPoints(model, **{"a b": "conv"}), ValueError, "'a b' is not a name"),
        (lambda: niwaki.EntryPoints(TwoTowers, a="conv"), TypeError, "must be a torch.nn.Module"),
        (lambda: niwaki.EntryPoints(model, a=lambda model, x, /: x), TypeError, "takes 'x' by position alone"),
        (lambda: towers["sound"], KeyError, "no entry point 'sound'; there are 'image', 'text'"),
        (lambda: towers(sound=pictures(1)), TypeError, "no entry point 'sound'"),
        (lambda: towers(image={"colors": pictures(1)}), TypeError, "'image' cannot be called with these inputs"),
        (lambda: niwaki.compile(small, (pictures(1),)), TypeError, "give a dict with the entry points"),
        (lambda: niwaki.compile(small, {"image": pictures(1)}), TypeError, "'text' is missing"),
        (lambda: niwaki.compile(small, {"image": pictures(1), "text": sentences(1), "c": 1}), TypeError, "no 'c'"),
        (lambda: niwaki.compress(towers, pictures(8), progress=False), TypeError, "a dict of such for each entry"),
        (lambda: niwaki.compress(towers, {"image": pictures(8)}, progress=False), TypeError, "'text' is missing"),
        (
            lambda: niwaki.compress(towers, {"image": pictures(8), "text": []}, progress=False),
            ValueError, "entry point 'text' is empty",
        ),
        (
            lambda: niwaki.compress(
                towers, {"image": [pictures(8)] * 3, "text": iter([sentences(8)])}, progress=False
            ),
            ValueError, "'text' is empty, or ends before another's and can be walked through only once",
        ),
        (
            lambda: niwaki.compress(towers, {"image": pictures(8).double(), "text": sentences(8)}, progress=False),
            ValueError, "calibration item 0 of entry point 'image' is float64",
        ),
        (lambda: niwaki.compress(towers, [pictures(8)], progress=False), TypeError, "a dict with an item for each"),
        (lambda: network["sound"], KeyError, "no entry point 'sound'; there are 'image', 'text'"),
        (lambda: network["image"]["x"], KeyError, "has no entry points"),
        (lambda: network(pictures(1)), niwaki.NiwakiError, "called by position; .*net\\['image'\\]"),
        (lambda: network.stream(4), niwaki.NiwakiError, "cannot be streamed as one; ask one of them"),
        (lambda: network.inputs, niwaki.NiwakiError, "'image', 'text', cannot say its inputs; ask one of them"),
        (lambda: network["image"](pictures(1)[:, :2]), ValueError, "must have the shape"),
        (lambda: network["text"](**{**sentences(2), "mask": sentences(3)["mask"]}), ValueError, "batch|dim 0"),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            wrong()
    network.save(tmp_path / "a.niwaki")
    with pytest.raises(niwaki.NiwakiError, match="has 2 entry points, 'image', 'text'; say which"):
        _core.Graph.load(str(tmp_path / "a.niwaki"))
    graph = network["image"].graph
    for entries, words in (
        ([], "not 0"),
        ([("a", graph), ("a", graph)], "the name 'a'"),
        ([("a", graph), ("", graph)], "no name"),
    ):
        with pytest.raises(ValueError, match=words):
            _core.save_entries(entries, str(tmp_path / "b.niwaki"))
    assert not (tmp_path / "b.niwaki").exists()


def test_entries_depend_on_their_own_inputs_alone(towers):
    """Equal sizes of two entries' examples are no condition."""
    net = niwaki.compile(towers, {"image": pictures(4), "text": sentences(4)}, threads=1)
    assert net["image"](pictures(2)).shape == (2, WIDTH) and net["text"](**sentences(7)).shape == (7, WIDTH)


def test_memory_is_shared(translator):
    net = translated(translator)
    shared = _core.SharedWeights()
    models = [_core.Model(net[name].graph, shared=shared) for name in net.entries]
    steps = [{step["name"]: step for step in model.steps()} for model in models]
    assert "model.common" in steps[0] and "model.common" in steps[1]
    values = np.zeros((1, 4), np.int64)
    session = _core.Session(models[0])
    out = np.empty((1, 4, WIDTH), np.float32)
    session.run([(values.ctypes.data, values.shape)], [out.ctypes.data])
    assert np.array_equal(out, net["encode"](torch.from_numpy(values)).numpy())


def test_the_command_line_takes_entries(network, tmp_path, capsys):
    path = str(tmp_path / "a.niwaki")
    network.save(path)
    assert main(["bench", path, "--entry", "image", "--size", "16", "--rounds", "2"]) == 0
    assert "1x3x16x16" in capsys.readouterr().out
    assert main(["bench", path, "--entry", "text", "--rounds", "2", "--layers"]) == 0
    assert "model.mix" in capsys.readouterr().out
    assert main(["inspect", path]) == 0
    assert "entry points: image, text" in capsys.readouterr().out
    assert main(["inspect", path, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["entries"]) == ["image", "text"]
    for arguments, words in (
        ([path], "has several entry points: image, text; say which with --entry"),
        ([path, "--entry", "sound"], "has no entry point 'sound'; there are: image, text"),
    ):
        assert main(["bench", *arguments]) == 2
        assert words in capsys.readouterr().err
    network["image"].save(path)
    assert main(["bench", path, "--entry", "image"]) == 2
    assert "no entry point 'image'; there are: none" in capsys.readouterr().err


def test_the_snippet_of_the_docs(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (root / "docs" / "compression.md").read_text(encoding="utf-8")
    (code,) = (each for each in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "EntryPoints" in each)
    names = {}
    exec(compile(code, "compression.md", "exec"), names)
    assert names["scores"].shape == (64, 64) and (tmp_path / "towers.niwaki").exists()


def test_a_clip_model():
    import_torchvision()  # before transformers does
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
    text = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": 24}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
              "image_size": 32, "patch_size": 8}  # fmt: skip
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    model = transformers.CLIPModel(config).eval()

    def features(model, **inputs):
        found = model.get_image_features(**inputs) if "pixel_values" in inputs else model.get_text_features(**inputs)
        return found if isinstance(found, torch.Tensor) else found.pooler_output

    def image(model, pixel_values):
        return features(model, pixel_values=pixel_values)

    def words(model, input_ids, attention_mask):
        return features(model, input_ids=input_ids, attention_mask=attention_mask)

    points = niwaki.EntryPoints(model, image=image, text=words)
    ids = torch.randint(3, 98, (8, 10), generator=torch.Generator().manual_seed(0))
    ids[:, -1] = 98
    asked = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    pixels = pictures(8, 32)
    small = niwaki.compress(points, {"image": [pixels] * 2, "text": [asked] * 2}, progress=False)[0]
    net = niwaki.compile(small, {"image": pixels[:2], "text": {k: v[:2] for k, v in asked.items()}}, threads=1)
    with torch.no_grad():
        near(net["image"](pixels), points["image"](pixels), 0.1)
        near(net["text"](**asked), points["text"](**asked), 0.1)
    assert all(step.scheme != "torch" for step in net.plan)
