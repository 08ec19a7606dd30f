"""The parts of the demo: its data and training, its timing, and what it writes."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
import torch
from demo import TRAINED
from digits import DigitsNet, Training, accuracy, adamw, load_data, train
from results import Row, draw, machine, print_table, some_digits, write
from rich.console import Console
from timing import Times, measure
from vit import DigitsViT

import niwaki


def times(milliseconds: float, speedup: float, waited: float = 0.0) -> Times:
    return Times(milliseconds, (0.95 * speedup, speedup, 1.1 * speedup), waited)


ROWS = [
    Row("digits", "torch float32", 0.98, 2_800_000, 2_800_000, times(1.2, 1.0)),
    Row("digits", "niwaki int8", 0.97, 700_000, 2_800_000, times(0.12, 10.0)),
    Row("ResNet-50", "torch float32", None, 102_000_000, 102_000_000, times(100.0, 1.0)),
    Row("ResNet-50", "niwaki int8, 85 % pruned", None, 6_000_000, 102_000_000, times(8.0, 12.5)),
]


def test_split_is_fixed_and_disjoint() -> None:
    (images, labels), (held_out, _) = load_data()
    assert (len(images), len(held_out)) == (1200, 597)
    assert images.shape[1:] == (1, 8, 8) and images.min() >= -1 and images.max() <= 1
    assert sorted(labels.unique().tolist()) == list(range(10))
    again, _ = load_data()
    assert torch.equal(images, again[0])


def test_training_learns() -> None:
    data, held_out = load_data()
    model = DigitsNet(width=8).eval()
    before = accuracy(model, held_out)
    epochs: list[int] = []
    train(model, data, Training(4, 0.05), lambda: epochs.append(len(epochs)))
    assert len(epochs) == 4 and not model.training
    assert accuracy(model, held_out) > max(0.7, before), "guessing gives 0.1"


def test_transformer_learns_and_runs_whole() -> None:
    data, held_out = load_data()
    torch.manual_seed(0)
    model = DigitsViT(width=32, depth=1).eval()
    before = accuracy(model, held_out)
    train(model, data, Training(5, 4e-3, 32, 0, adamw), lambda: None)
    learned = accuracy(model, held_out)
    assert learned > max(0.7, before), "guessing gives 0.1"
    small = niwaki.quantize(model, data[0][:256].split(64), progress=False)
    network = niwaki.compile(small, (held_out[0][:1],), threads=1)
    assert isinstance(network, niwaki.Network), "no part of it stays in torch"
    assert abs(accuracy(network, held_out) - learned) < 0.02


def test_trained_networks_differ_in_name_and_title() -> None:
    assert len({what.name for what in TRAINED}) == len({what.title for what in TRAINED}) == len(TRAINED)
    weights = sum(parameter.numel() for parameter in DigitsViT().parameters())
    assert 200_000 <= weights < 400_000, "a few hundred thousand"


def test_networks_take_turns() -> None:
    calls: list[str] = []
    x = torch.zeros(2, 1)

    def network(name: str):
        def call(inputs: torch.Tensor) -> torch.Tensor:
            assert inputs is x and torch.is_inference_mode_enabled()
            calls.append(name)
            return inputs

        return call

    rounds: list[int] = []
    found = measure({"a": network("a"), "b": network("b")}, x, rounds=3, calls=2, after_round=lambda: rounds.append(1))
    assert calls == ["a"] * 3 + ["b"] * 3 + ["a"] * 3 + ["b"] * 3 + ["a"] * 3 + ["b"] * 3
    assert len(rounds) == 3 and set(found) == {"a", "b"}
    assert found["a"].speedup == (1, 1, 1), "the first is what others are compared with"


def test_cells_compare_with_float32() -> None:
    assert ROWS[1].cells() == ("niwaki int8", "97.00%", "700.0 kB", "25.0%", "0.120", "10.0x")
    assert ROWS[3].cells()[1] == "not trained"


def test_busy_machines_are_told() -> None:
    x = torch.zeros(1)
    waits = measure({"sleeps": lambda y: (time.sleep(0.01), y)[1]}, x, rounds=3, calls=2, after_round=lambda: None)
    assert waits["sleeps"].waited > 0.5 and waits["sleeps"].doubtful, "as if others had the CPU"
    assert Times(1.0, (3.0, 5.0, 12.0), 0.0).doubtful, "rounds that do not agree"
    assert not Times(1.0, (4.8, 5.0, 5.3), 0.02).doubtful
    rows = [*ROWS[:1], Row("digits", "niwaki int8", 0.97, 700_000, 2_800_000, times(0.12, 10.0, waited=0.4))]
    assert rows[1].cells()[5] == "10x to 11x" and "other programs took 40%" in machine(rows, 1)
    assert "steady" not in machine(ROWS, 1)


def test_table_picture_and_page_show_the_same(tmp_path: Path) -> None:
    text = io.StringIO()
    print_table(ROWS, Console(file=text, width=160), threads=2)
    picture, page = write(ROWS, tmp_path, threads=2)
    html = page.read_text(encoding="utf-8")
    for row in ROWS:
        for cell in row.cells():
            assert cell in text.getvalue()
            assert cell in html
    assert picture.read_bytes()[:4] == b"\x89PNG"
    labels = [text.get_text() for axes in draw(ROWS, "").axes for text in axes.texts]
    assert any("12.5x" in label for label in labels)


@pytest.mark.parametrize("group", [ROWS[:1], ROWS[2:]])
def test_picture_of_one_network(group: list[Row]) -> None:
    assert len(draw(group, "note").axes) == 3


def test_cards_say_it_in_a_line() -> None:
    assert ROWS[1].claim(ROWS[0]) == "10x faster, 4.0x smaller, -1.0 points"
    assert ROWS[3].claim(ROWS[2]) == "12x faster, 17x smaller", "of a network that is not trained, no accuracy"
    busy = Row("digits", "niwaki int8", 0.98, 700_000, 2_800_000, times(0.12, 10.0, waited=0.4))
    assert busy.claim(ROWS[0]) == "10x to 11x faster, 4.0x smaller, as accurate"
    alike = Row("digits", "niwaki int8", 0.98, 700_000, 2_800_000, Times(0.1, (10.1, 10.2, 10.3), 0.4))
    assert alike.cells()[5] == "10x"


def test_digits_that_two_networks_answer_in_two_ways_come_first(tmp_path: Path) -> None:
    images, labels = torch.rand(20, 1, 8, 8) * 2 - 1, torch.arange(20) % 10
    now = labels.clone()
    now[[7, 13]] = 0
    digits = some_digits(images, labels, labels, now)
    assert [(digit.before, digit.now) for digit in digits[:2]] == [(7, 0), (3, 0)] and len(digits) == 12
    assert all(digit.before == digit.now == digit.label for digit in digits[2:])
    _, page = write(ROWS, tmp_path, 1, digits)
    html = page.read_text(encoding="utf-8")
    assert html.count('class="differs"') == 4 and "niwaki: 0" in html and html.count("<rect") >= 12 * 64
    assert "10x faster, 4.0x smaller, -1.0 points" in html
