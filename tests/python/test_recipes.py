"""Recipes: what a file says is what happens, twice the same, and what is wrong in it is named."""

from __future__ import annotations

import dataclasses
import importlib.resources
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import niwaki
from niwaki import Recipe, load_recipe
from niwaki.report.interval import difference_margin


def make_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 8),
    ).eval()  # fmt: skip


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(32, 3, 10, 10)


def test_the_packages_own_say_what_they_trade() -> None:
    assert niwaki.recipe_names() == [
        "codebook", "fast", "half", "int8", "tenth", "transformer-eighth", "transformer-tenth",
    ]  # fmt: skip
    recipes = {name: load_recipe(name) for name in niwaki.recipe_names()}
    assert all(len(recipe.trade) > 80 and recipe.name == name for name, recipe in recipes.items())
    assert recipes["half"].prune == niwaki.PruneConfig(0.5, scope="global", importance="second_order")
    assert recipes["codebook"].quantize.codebook == "kmeans"
    assert recipes["fast"].target == niwaki.Target(speedup=1.5)
    assert recipes["tenth"].finetune is not None and recipes["tenth"].finetune.learning_rate == 3e-4


@pytest.mark.parametrize("name", ["int8", "codebook", "half"])
def test_recipes_run_and_repeat(x: torch.Tensor, name: str) -> None:
    net = make_net()
    torch.manual_seed(7)
    first, report = niwaki.compress(net, x, recipe=name)
    state = torch.get_rng_state()
    second, again = niwaki.compress(net, x, recipe=load_recipe(name))
    assert torch.equal(first(x), second(x)) and report == again
    assert report.network.recipe == name
    torch.manual_seed(7)
    assert torch.equal(torch.get_rng_state(), state), "the caller's seed is the caller's"
    if name == "half":
        assert report.zeros > 0.45


def test_a_recipe_with_training_repeats(x: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "seed: 3\nprune: {sparsity: 0.6, importance: magnitude}\nquantize: {weight_bits: {'3': 6}}\n"
        "finetune: {epochs: 3, batch: 8, learning_rate: 1e-3}\n"
    )
    net = make_net()
    before = [parameter.clone() for parameter in net.parameters()]
    runs = [niwaki.compress(net, x.split(16), recipe=path) for _ in range(2)]
    assert torch.equal(runs[0][0](x), runs[1][0](x)) and runs[0][1] == runs[1][1]
    report = runs[0][1]
    rows = {row.name: row for row in report}
    assert rows["3"].zeros >= 0.55 and rows["3"].bits <= 6 and "input channels in fours" in rows["0"].reason
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    path.write_text(path.read_text().replace("seed: 3", "seed: 4"))
    assert not torch.equal(niwaki.compress(net, x.split(16), recipe=path)[0](x), runs[0][0](x))


def test_the_transform_and_the_accuracy_go_with_a_recipe(x: torch.Tensor) -> None:
    seen: list[Any] = []

    def take(item: Any) -> torch.Tensor:
        seen.append(item)
        return item["x"]  # type: ignore[no-any-return]

    _, report = niwaki.compress(make_net(), [{"x": x}], recipe="int8", transform=take, evaluate=lambda net: 50.0)
    assert seen and report.network.accuracy == report.network.float_accuracy == 50.0


@pytest.mark.parametrize(("text", "error", "says"), [
    ("qantize: {}", ValueError, r"no key 'qantize' \(did you mean 'quantize'\?\); there are trade, seed, optimize"),
    ("prune: {sparcity: 0.5}", ValueError, r"prune: there is no key 'sparcity' \(did you mean 'sparsity'\?\)"),
    ("prune: {sparsity: 2}", ValueError, r"bad\.yaml': prune: PruneConfig: sparsity must lie in 0 to 1, not 2"),
    ("prune: {sparsity: 0.5, pattern: block5}", ValueError, "pattern must be one of 'block4'"),
    ("quantize: {weight_bits: 9}", ValueError, "whole numbers from 2 to 8, not 9"),
    ("quantize: {transform: len}", ValueError, "no key 'transform'"),
    ("quantize: 8", TypeError, "quantize must be a mapping of observer"),
    ("finetune: {epochs: 0}", ValueError, "epochs must be a whole number of at least 1"),
    ("finetune: {prune_share: 0.8, quantize_share: 0.8}", ValueError, "add up to at most 1"),
    ("finetune: {learning_rate: fast}", ValueError, "learning_rate must be a number above 0, not 'fast'"),
    ("target: {size: 0.1}\nprune: {sparsity: 0.5}", ValueError, "leave out target or prune"),
    ("seed: soon", ValueError, "seed must be a whole number"),
    ("trade: 3", TypeError, "trade must be words"),
    ("seed: 1\nseed: 2", ValueError, "line 1: .*the key 'seed' is there twice"),
    ("prune: {", ValueError, "not YAML that can be read"),
    ("- 1", ValueError, "must be a mapping of trade"),
    ("quantize: {activations: odd}", ValueError, "activations must be one of 'affine', 'symmetric'"),
])  # fmt: skip
def test_what_is_wrong_in_a_recipe_is_named(tmp_path: Path, text: str, error: type[Exception], says: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(error, match=says) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)


TOML = """
trade = "words"
seed = 3
[prune]
sparsity = 0.6
importance = "magnitude"
[quantize]
weight_bits = {"3" = 6}
[finetune]
epochs = 3
batch = 8
learning_rate = 1e-3
"""
YAML = """
trade: words
seed: 3
prune: {sparsity: 0.6, importance: magnitude}
quantize: {weight_bits: {'3': 6}}
finetune: {epochs: 3, batch: 8, learning_rate: 1e-3}
"""


def test_toml_says_what_yaml_says(tmp_path: Path) -> None:
    for name, text in (("mine.toml", TOML), ("mine.yaml", YAML)):
        (tmp_path / name).write_text(text)
    assert load_recipe(tmp_path / "mine.toml") == load_recipe(tmp_path / "mine.yaml")


@pytest.mark.parametrize(("text", "says"), [
    ("seed = 1\nseed = 2", "not TOML that can be read: Cannot overwrite"),
    ("[prune]\nsparcity = 0.5", r"prune: there is no key 'sparcity' \(did you mean 'sparsity'\?\)"),
    ("[prun]\nsparsity = 0.5", r"no key 'prun' \(did you mean 'prune'\?\)"),
    ("[prune]\nsparsity = 2", r"prune: PruneConfig: sparsity must lie in 0 to 1"),
])  # fmt: skip
def test_what_is_wrong_in_toml_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(ValueError, match=says) as caught:
        load_recipe(tmp_path / "bad.toml")
    assert "bad.toml" in str(caught.value)


def test_patterns_may_name_an_lstm() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.fc = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.lstm(x)[0])

    recipe = Recipe("mine", quantize=niwaki.QuantizeConfig(skip=("lstm",)))
    small, _ = niwaki.compress(Net(), torch.randn(4, 5, 8), recipe=recipe)
    assert type(small.lstm) is nn.LSTM and type(small.fc) is niwaki.nn.Linear


def test_unknown_recipes_and_patterns(x: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no recipe 'tent' \(did you mean 'tenth'\?\); there are codebook, fast"):
        load_recipe("tent")
    with pytest.raises(ValueError, match="there is no file"):
        load_recipe(tmp_path / "none.yaml")
    recipe = Recipe("mine", quantize=niwaki.QuantizeConfig(weight_bits={"layer9.*": 4}))
    with pytest.raises(ValueError, match=r"recipe 'mine': quantize: weight_bits pattern 'layer9\.\*' matches no"):
        niwaki.compress(make_net(), x, recipe=recipe)
    with pytest.raises(TypeError, match="a recipe says all; leave sparsity out"):
        niwaki.compress(make_net(), x, recipe="int8", sparsity=0.5)


def test_every_file_of_the_folder_is_a_recipe() -> None:
    files = [entry.name for entry in importlib.resources.files("niwaki.recipes").iterdir()]
    assert sorted(name[:-5] for name in files if name.endswith(".yaml")) == niwaki.recipe_names()


def test_a_broken_promise_is_said_or_refused(x: torch.Tensor, caplog: pytest.LogCaptureFixture) -> None:
    net = make_net()
    promise = niwaki.Promise(output_error=1e-4, accuracy_drop=0.5)
    recipe = Recipe("mine", quantize=niwaki.QuantizeConfig(weight_bits=4), promise=promise)
    _, report = niwaki.compress(net, x, recipe=recipe, progress=False)
    found = report.network.output_error
    assert found is not None
    said = "recipe 'mine' promises that outputs change by at most 0.01 % of their norm, and this network's change by "
    said += f"{100 * found:.3g} %"
    assert report.network.warnings[0].startswith(said) and said in caplog.text
    assert said in " ".join(str(report).split())
    assert "most in layers" in report.network.warnings[0]
    with pytest.raises(niwaki.NiwakiError, match=r"strict=True refuses this network: recipe 'mine' promises"):
        niwaki.compress(net, x, recipe=recipe, strict=True, progress=False)
    # What was measured of the accuracy decides.
    _, report = niwaki.compress(net, x, recipe=recipe, evaluate=lambda _: 50.0, strict=True, progress=False)
    assert report.network.warnings == ()


def test_a_broken_promise_is_said_with_its_margin(x: torch.Tensor) -> None:
    """A drop on few inputs may be chance, and is said, too; on many it is none."""
    promise = niwaki.Promise(output_error=0.5, accuracy_drop=0.5)

    def warning(inputs: int, right: float) -> str:
        answers = iter((80.0, right))

        def evaluate(net: nn.Module) -> float:
            for _ in range(inputs // len(x)):
                net(x)
            return next(answers)

        _, report = niwaki.compress(
            make_net(), x, recipe=Recipe("mine", promise=promise), evaluate=evaluate, progress=False
        )
        return " ".join(report.network.warnings)

    few = len(x) * 4
    margin = 100 * difference_margin(0.8, 0.79, few)
    said = (
        f"recipe 'mine' promises a drop of at most 0.5 points, and this network loses 1.00 (± {margin:.2f} from chance"
    )
    assert warning(few, 79.0).startswith(f"{said}, so it may be kept: measure the accuracy on more inputs)")
    margin = 100 * difference_margin(0.8, 0.1, few)
    assert f"loses 70.00 (± {margin:.2f} from chance)." in warning(few, 10.0)
    assert warning(few, 79.5) == ""


def test_a_kept_promise_is_not_spoken_of(x: torch.Tensor) -> None:
    recipe = Recipe("mine", promise=niwaki.Promise(output_error=0.5, accuracy_drop=0.0))
    _, report = niwaki.compress(make_net(), x, recipe=recipe, strict=True, progress=False)
    assert report.network.warnings == ()


class Recurrent(nn.Module):
    """Nothing but a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(16, 16, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(x)[0]


def test_recurrent_networks_are_pruned_and_promised_less() -> None:
    torch.manual_seed(0)
    net, x = Recurrent().eval(), torch.randn(16, 12, 16)
    _, report = niwaki.compress(net, x, recipe="half", progress=False)
    (row,) = report
    found = report.network.output_error
    assert row.op == "gru" and row.zeros >= 0.5 and found is not None and found > 0.03
    said = "recipe 'half' promises that outputs of a network with recurrent layers change by at most 3 % of their norm"
    assert report.network.warnings[0].startswith(said)
    # What was measured of the accuracy decides, and a recipe of one's own may promise more.
    _, report = niwaki.compress(net, x, recipe="half", evaluate=lambda _: 50.0, progress=False)
    assert report.network.warnings == ()
    recipe = dataclasses.replace(
        load_recipe("half"), promise=niwaki.Promise(output_error=0.9, accuracy_drop=1.0, recurrent_error=0.9)
    )
    _, report = niwaki.compress(net, x, recipe=recipe, progress=False)
    assert not any(sentence.startswith("recipe") for sentence in report.network.warnings)
    with pytest.raises(ValueError, match=r"no layer can be pruned in the pattern 'block4'"):
        niwaki.prune(net, sparsity=0.5)


@pytest.mark.parametrize("text", ["{output_error: 0, accuracy_drop: 1}", "{output_error: 0.1, accuracy_drop: much}"])
def test_promises_are_numbers(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"promise: {text}\n")
    with pytest.raises(ValueError, match=r"promise: Promise: (output_error|accuracy_drop) must be a number"):
        load_recipe(path)


def test_the_packages_own_promise_something() -> None:
    assert all(load_recipe(name).promise is not None for name in niwaki.recipe_names())
