"""The `niwaki` command: compress, inspect, bench, and errors in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import niwaki
from niwaki._compat import import_torchvision
from niwaki.cli import main
from niwaki.cli.calibration import CalibrationConfig, load_calibration, read_calibration
from niwaki.cli.compress import MEAN, STD
from niwaki.cli.console import UsageError
from niwaki.cli.entry import make_parser
from niwaki.cli.hubs import usual_pixels
from niwaki.cli.model import load_model

NET = """
import torch

def make(classes=4):
    torch.manual_seed(5)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU(),
        torch.nn.Conv2d(16, 16, 3, stride=2, padding=1), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, classes))

ready = make()
number = 3

def broken():
    raise RuntimeError("no luck today")

def text():
    return "not a network"
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    path = tmp_path / "net.py"
    path.write_text(NET)
    return str(path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six pictures of different sizes, one of them in a folder below."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index, (height, width) in enumerate([(40, 40), (64, 40), (40, 70), (33, 99), (128, 128)]):
        Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    Image.fromarray(generator.integers(0, 256, (50, 50), dtype=np.uint8)).save(folder / "more" / "grey.png")
    (folder / "notes.txt").write_text("not an image")
    return folder


def compress(*arguments: object) -> int:
    return main(["compress", *map(str, arguments)])


def test_compress_inspect_bench(net: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, page = tmp_path / "net.niwaki", tmp_path / "report.html"
    weights = tmp_path / "w.safetensors"
    model = load_model(f"{net}:make", None, None)
    save_file(
        {name: value * 1.5 if value.is_floating_point() else value for name, value in model.state_dict().items()},
        weights,
    )
    options = ("--calibration", images, "--input-size", 32, "--sparsity", 0.5, "--scope", "local", "--report", page)
    assert compress(f"{net}:make", "--weights", weights, *options, "-o", file) == 0
    shown = capsys.readouterr()
    assert "sparse int8" in shown.out and str(file) in shown.out
    assert "Traceback" not in shown.err
    assert "<svg" in page.read_text(encoding="utf-8")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "no temporary file is left"

    assert main(["inspect", str(file)]) == 0
    assert "conv2d" in capsys.readouterr().out
    assert main(["inspect", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)

    assert main(["bench", str(file), "--batch", "2", "--size", "32", "--rounds", "3", "--layers"]) == 0
    shown = capsys.readouterr()
    assert "images per second" in shown.out and "GMAC/s" in shown.out

    assert main(["bench", str(file), "--rounds", "2"]) == 0 and " 1x3x32x32, " in capsys.readouterr().out
    assert main(["bench", str(file), "--input-size", "24x32", "--rounds", "3", "--layers", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["shapes"] == [[1, 3, 24, 32]]
    assert 0 < result["min_ms"] <= result["median_ms"]
    convolutions = [layer for layer in result["layers"] if layer["op"].startswith("conv2d")]
    assert [layer["macs"] for layer in convolutions] == [16 * 27 * 24 * 32, 16 * 144 * 12 * 16]
    assert result["isa"] == niwaki._core.isa()


def test_the_file_computes_what_the_network_computes(
    net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = torch.randn(12, 3, 20, 20)
    np.savez(tmp_path / "x.npz", images=x.numpy(), labels=np.zeros(12))
    assert compress(f"{net}:make", "--calibration", tmp_path / "x.npz", "-o", tmp_path / "net.niwaki", "--json") == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert result["bytes"] == (tmp_path / "net.niwaki").stat().st_size
    assert "weights that it was made with" in shown.err, "without --weights a note says so"
    with torch.inference_mode():
        expected = load_model(f"{net}:make", None, None)(x)
        actual = niwaki.load(tmp_path / "net.niwaki")(x)
    assert torch.nn.functional.cosine_similarity(expected, actual).min() > 0.99


def test_arguments_and_objects(net: str) -> None:
    assert load_model(f"{net}:make", '{"classes": 7}', None)[-1].out_features == 7  # type: ignore[index]
    ready = load_model(f"{net}:ready", None, None)
    assert isinstance(ready, torch.nn.Module) and not ready.training


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints(net: str, tmp_path: Path, wrap, prefix: str) -> None:
    state = {prefix + name: value + 1 for name, value in load_model(f"{net}:make", None, None).state_dict().items()}
    torch.save(wrap(state), tmp_path / "w.pt")
    model = load_model(f"{net}:make", None, str(tmp_path / "w.pt"))
    assert all(torch.equal(value, state[prefix + name]) for name, value in model.state_dict().items())


def test_image_preprocessing(tmp_path: Path) -> None:
    """A picture, left half black and right half white, twice as wide as high: the crop is its middle."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    Image.fromarray(pixels).save(tmp_path / "half.png")
    config = CalibrationConfig(str(tmp_path), size=(16, 16), resize=16, mean=(0.5,) * 3, std=(0.25,) * 3)
    (batch,) = load_calibration(config)
    assert batch.shape == (1, 3, 16, 16) and batch.dtype == torch.float32
    assert torch.all(batch[..., :6] == -2) and torch.all(batch[..., -6:] == 2)


def test_samples_are_chosen_with_the_seed(tmp_path: Path) -> None:
    torch.save(torch.arange(100.0).reshape(100, 1), tmp_path / "x.pt")

    def read(seed: int) -> list[torch.Tensor]:
        return list(load_calibration(CalibrationConfig(str(tmp_path / "x.pt"), samples=10, batch=4, seed=seed)))

    first, again, other = read(0), read(0), read(1)
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])


def test_uint8_arrays_are_normalized_like_images(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((2, 3, 4, 4), 51, np.uint8))
    (batch,) = load_calibration(CalibrationConfig(str(tmp_path / "x.npy"), mean=(0.1,) * 3, std=(0.5,) * 3))
    assert torch.allclose(batch, torch.full((2, 3, 4, 4), 0.2))


MODEL_ERRORS = [
    ("torchvision.models", "module:callable"),
    ("no_such_package_:make", "importing 'no_such_package_' failed"),
    ("missing.py:make", "no file 'missing.py'"),
    ("{net}:absent", "nothing called 'absent'"),
    ("{net}:mkae", "nothing called 'mkae'; did you mean 'make'?"),
    ("{net}:number", "not something that returns a network"),
    ("{net}:broken", "no luck today"),
    ("{net}:text", "returned str"),
]


def test_a_file_remembers_that_it_was_made_from_pixels(net: str, tmp_path: Path) -> None:
    """uint8 arrays are pixels as those of a folder are; float32 ones are the network's own numbers."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3, 20, 20), dtype=np.uint8)
    means = {}
    for kind in (np.uint8, np.float32):
        np.save(tmp_path / "x.npy", pixels.astype(kind))
        assert compress(f"{net}:make", "--calibration", tmp_path / "x.npy", "-o", tmp_path / "x.niwaki") == 0
        network = niwaki.load(tmp_path / "x.niwaki", threads=1)
        means[kind] = network.inputs[0].image
        if kind is np.uint8:
            (batch,) = load_calibration(CalibrationConfig(str(tmp_path / "x.npy"), batch=8))
            assert np.array_equal(network(pixels), network(batch.numpy()))
    assert means == {np.uint8: niwaki.ImageConfig(mean=MEAN, std=STD), np.float32: None}


@pytest.mark.parametrize(("source", "message"), MODEL_ERRORS)
def test_wrong_models(source: str, message: str, net: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_model(source.format(net=net), None, None)


def test_wrong_weights_are_described(net: str, tmp_path: Path) -> None:
    state = load_model(f"{net}:make", None, None).state_dict()
    path = tmp_path / "w.pt"
    for change, message in [
        ({**state, "extra": torch.zeros(1)}, "has 'extra', which the network has not"),
        ({**state, "7.bias": torch.zeros(5)}, r"has '7.bias' as \(5,\) where the network has \(4,\)"),
        ({name: value for name, value in state.items() if name != "0.bias"}, "lacks '0.bias'"),
        ({"answer": 42}, "holds no state dict"),
    ]:
        torch.save(change, path)
        with pytest.raises(UsageError, match=message):
            load_model(f"{net}:make", None, str(path))
    path.write_bytes(b"this is no checkpoint")
    with pytest.raises(UsageError, match="cannot be read"):
        load_model(f"{net}:make", None, str(path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--calibration", "nowhere"], "no folder or file 'nowhere'"),
        (["--calibration", "{folder}"], "no images"),
        (["--calibration", "{folder}/net.py"], "has to end in .npz"),
        (["--calibration", "random", "--samples", "0"], "--samples and --batch have to be at least 1"),
        (["--calibration", "random", "--args", "{{classes: 3}}"], "--args is not JSON"),
        (["--calibration", "random", "--args", "[3]"], "has to be a JSON object"),
        (["--calibration", "random", "--weights", "w.zip"], "no file 'w.zip'"),
        (["--calibration", "random", "--threads", "0"], "--threads has to be at least 1"),
        (["--calibration", "random", "--report", "report.txt"], "has to end in .html or .json"),
        (["--calibration", "random", "--output", "{folder}/no/such/folder/x.niwaki"], "the folder does not exist"),
        (["--calibration", "random", "--mean", "1,2"], "need as many numbers each"),
    ],
)
def test_errors_are_one_sentence(
    arguments: list[str], message: str, net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [argument.format(folder=tmp_path) for argument in arguments]
    assert compress(f"{net}:make", "-o", tmp_path / "out.niwaki", "--input-size", "16", *filled) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    last = shown.err.splitlines()[-1]
    assert last.startswith("niwaki: error: ") and message in last
    assert "Traceback" not in shown.err
    assert not (tmp_path / "out.niwaki").exists()


def test_not_finite_calibration_is_an_error(net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.full((2, 3, 8, 8), np.nan, np.float32))
    assert compress(f"{net}:make", "--calibration", tmp_path / "x.npy", "-o", tmp_path / "out.niwaki") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("niwaki: error: ")


@pytest.mark.parametrize("command", ["inspect", "bench"])
@pytest.mark.parametrize("content", [None, b"", b"a text file, and a long one, but not one of ours" * 10])
def test_files_that_are_not_ours(
    command: str, content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.niwaki"
    if content is not None:
        path.write_bytes(content)
    assert main([command, str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("niwaki: error: ") and "x.niwaki" in lines[0]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["prune"],
        ["compress"],
        ["compress", "m:f", "-o", "x", "--calibration", "random", "--sparsity", "75"],
        ["compress", "m:f", "-o", "x", "--calibration", "random", "--input-size", "big"],
        ["bench", "x", "--size", "0"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: niwaki" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["compress", "--help"], ["inspect", "--help"], ["bench", "--help"]])
def test_help_has_examples(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0
    assert "examples:\n  " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("inspekt x", "there is no command 'inspekt'; did you mean 'inspect'? There are compress, inspect, bench,"),
        ("compress m --sparsty 0.5", "there is no option '--sparsty'; did you mean '--sparsity'?"),
        ("bench f --rouds=3", "there is no option '--rouds'; did you mean '--rounds'? 'niwaki bench --help' shows all"),
        ("bench f --zzzz", "there is no option '--zzzz'. 'niwaki bench --help'"),
    ],
)
def test_what_is_misspelt(line: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    assert stopped.value.code == 2 and says in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compress m --calibration c -o f", "predict f images -o a.parquet"])
def test_numbers_of_a_list_have_commas_or_spaces(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("--mean 0.1,0.2,3e-1 --std .1 +0.2 1", "--std 0.1 0.2 1 --mean 0.1 0.2 0.3"):
        for line in (f"{command} {words}", f"{command.split()[0]} {words} {command.partition(' ')[2]}"):
            given = make_parser().parse_args(line.split())
            assert (given.mean, given.std) == ((0.1, 0.2, 0.3), (0.1, 0.2, 1.0)), line
    with pytest.raises(SystemExit):
        make_parser().parse_args(f"{command} --mean 0.1 0.2x".split())


@pytest.mark.parametrize("module", ["niwaki", "niwaki.cli"])
def test_as_a_program(module: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (run.returncode, run.stdout.strip()) == (0, f"niwaki {niwaki.__version__}"), run.stderr


def test_recipes_targets_and_what_does_not_go_together(
    net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", torch.randn(12, 3, 20, 20).numpy())
    file = tmp_path / "net.niwaki"
    inputs = (f"{net}:make", "--calibration", tmp_path / "x.npy", "-o", file)
    assert compress(*inputs, "--recipe", "codebook", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["report"]["network"]["recipe"] == "codebook"
    small = result["bytes"]
    assert compress(*inputs, "--target-size", f"{small / 1000}kB", "--json") == 0
    report = json.loads(capsys.readouterr().out)["report"]
    assert report["network"]["file_bytes"] == file.stat().st_size <= small
    options = ("--weight-bits", "4", "--sparsity", 0.5, "--importance", "second_order", "--factorize", "0.01")
    assert compress(*inputs, *options) == 0
    assert "sparse int8" in capsys.readouterr().out
    for wrong, says in (
        (("--recipe", "tent"), "did you mean 'tenth'"),
        (("--recipe", "int8", "--sparsity", 0.5), "--recipe says all"),
        (("--target-size", 0.1, "--sparsity", 0.5), "exclude each other"),
        (("--target-size", 0.1, "--sparsity", 0, "--weight-bits", 4), "which weight_bits says already"),
        (("--target-size", "200B"), "the nearest one takes"),
    ):
        assert compress(*inputs, *wrong) == 2
        assert says in capsys.readouterr().err


def test_equalization_toml_and_a_checkpoint(
    net: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = (f"{net}:make", "--calibration", images, "--input-size", "16", "--json")
    (tmp_path / "mine.toml").write_text('[quantize]\nweight_bits = 4\nequalize = true\nactivations = "symmetric"\n')
    sizes = []
    for index, options in enumerate((
        ("--recipe", tmp_path / "mine.toml"),
        ("--weight-bits", 4, "--equalize", "--observer", "entropy", "--checkpoint", tmp_path / "run"),
    )):  # fmt: skip
        output = tmp_path / f"{index}.niwaki"
        assert compress(*inputs, *options, "-o", output) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["bytes"] == output.stat().st_size == result["report"]["network"]["file_bytes"]
        sizes.append(result["bytes"])
    assert max(sizes) < 1.2 * min(sizes)
    assert any((tmp_path / "run").rglob("*.pt"))

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(niwaki, "compress", interrupted)
    assert compress(*inputs, "--checkpoint", tmp_path / "run", "-o", tmp_path / "no.niwaki") == 130
    assert f"what is done lies in '{tmp_path / 'run'}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--pattern", "unstructured"],
        ["--scope", "local"],
        ["--importance", "second_order"],
        ["--balance"],
        ["--target-threads", "2"],
        ["--target-size", "0.2", "--scope", "local"],
        ["--pattern", "block4", "--recipe", "int8"],
        ["--resize", "32"],
    ],
)
def test_options_that_would_do_nothing_are_refused(
    options: list[str], net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", torch.randn(4, 3, 20, 20).numpy())
    file = tmp_path / "net.niwaki"
    assert compress(f"{net}:make", "--calibration", tmp_path / "x.npy", "-o", file, *options) == 2
    refused = [option for option in options if option.startswith("--")][-1]
    assert refused in capsys.readouterr().err and not file.exists()


def test_a_network_without_a_file_is_told_before_it_is_compressed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "net.py"
    source.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = torch.nn.Conv2d(3, 4, 3)\n"
        "    def forward(self, x):\n"
        "        return torch.linalg.qr(self.conv(x))[0]\n"
    )
    monkeypatch.setattr(niwaki, "compress", lambda *args, **kwargs: pytest.fail("it was compressed"))
    output = tmp_path / "net.niwaki"
    assert compress(f"{source}:Net", "--calibration", "random", "--input-size", "16x16", "--output", output) == 2
    said = capsys.readouterr().err
    assert "linalg_qr is not native" in said and "Write these parts with other operators" in said
    assert not output.exists()


def test_networks_by_the_names_of_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_torchvision()
    pytest.importorskip("torchvision", reason="torchvision is not installed: requirements/nodeps.txt")
    assert load_model("torchvision:resnet18", '{"num_classes": 7}', None).fc.out_features == 7  # type: ignore[union-attr]
    fetched: list[object] = []
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *a, **k: fetched.append(a))
    load_model("torchvision:lraspp_mobilenet_v3_large", None, None)  # whose backbone is pretrained unless it is told
    assert not fetched
    with pytest.raises(UsageError, match=r"torchvision cannot make 'resnet19': ValueError: Unknown model"):
        load_model("torchvision:resnet19", None, None)
    with pytest.raises(UsageError, match=r"--pretrained is for timm:NAME"):
        load_model("torch.nn:ReLU", None, None, pretrained=True)
    with pytest.raises(UsageError, match=r"without --weights"):
        load_model("torchvision:resnet18", None, str(tmp_path / "w.pt"), pretrained=True)


def test_a_network_of_timm_brings_its_mean_and_std(tmp_path: Path) -> None:
    import_torchvision()
    pytest.importorskip("timm", reason="timm is not installed: requirements/nodeps.txt")
    model = load_model("timm:test_resnet", None, None)  # one of timm's smallest
    assert usual_pixels(model) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)) and usual_pixels(torch.nn.Linear(1, 1)) is None
    path = tmp_path / "net.niwaki"
    images = tmp_path / "x.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (4, 3, 64, 64), np.uint8))
    options = ["--calibration", str(images), "-o", str(path)]
    assert main(["compress", "timm:test_resnet", *options]) == 0
    image = niwaki.load(path).inputs[0].image
    assert image is not None and image.mean == (0.5, 0.5, 0.5)


def test_an_encoder_from_a_folder_with_tokens_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import_torchvision()
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=99, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    transformers.BertModel(config).eval().save_pretrained(tmp_path / "bert")
    ids = np.random.default_rng(0).integers(0, 99, (16, 12))
    np.savez(tmp_path / "t.npz", input_ids=ids, attention_mask=np.ones_like(ids))
    path = tmp_path / "bert.niwaki"
    options = ["--pretrained", "--calibration", str(tmp_path / "t.npz"), "-o", str(path)]
    assert main(["compress", f"hf:{tmp_path / 'bert'}", *options]) == 0
    model = transformers.BertModel.from_pretrained(tmp_path / "bert").eval()
    inputs = {"input_ids": torch.from_numpy(ids[:3, :7]), "attention_mask": torch.ones(3, 7, dtype=torch.int64)}
    with torch.no_grad():
        wanted = model(**inputs).last_hidden_state
    found = niwaki.load(path)(**inputs).last_hidden_state
    assert float((found - wanted).norm() / wanted.norm()) < 0.05


def test_arrays_by_the_names_of_arguments(tmp_path: Path) -> None:
    ids = np.arange(12).reshape(4, 3)
    names = ["ids", "scale"]
    np.savez(tmp_path / "t.npz", ids=ids, scale=np.ones((4, 1)))
    found, pixels = read_calibration(CalibrationConfig(str(tmp_path / "t.npz"), batch=3), names)
    assert not pixels and [len(call["ids"]) for call in found] == [3, 1]
    assert found[0]["ids"].dtype == torch.int64 and found[0]["scale"].dtype == torch.float32
    np.savez(tmp_path / "u.npz", ids=ids, scale=np.ones((3, 1)))
    with pytest.raises(UsageError, match=r"one N of at least 1, not ids 4, scale 3"):
        read_calibration(CalibrationConfig(str(tmp_path / "u.npz")), names)
    np.save(tmp_path / "v.npy", ids)
    assert read_calibration(CalibrationConfig(str(tmp_path / "v.npy")), names)[0][0].dtype == torch.int64
