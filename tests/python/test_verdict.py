"""What a report says to anyone: the light, the sentence, answers kept, speed, where it came from, and its page."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import niwaki
from niwaki.report import Answers, LayerReport, NetworkReport, Report, Speed
from niwaki.report.answers import Scores
from niwaki.report.drawing import lanes
from niwaki.report.interval import difference_margin, interval
from niwaki.report.nodes import GraphNode
from niwaki.report.origin import in_words
from niwaki.report.page import page_of

ROWS = [
    LayerReport("conv1", "conv2d", "int8", 0.0, 1_000, 4_000, reason="because"),
    LayerReport("conv2", "conv2d", "int8", 0.0, 1_000, 4_000, reason="because"),
]


def report(**known: object) -> Report:
    return Report(ROWS, NetworkReport(file_bytes=2_100, parameter_bytes=8_400, inputs=64, held_out=True, **known))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("known", "light", "words"),
    [
        ({"accuracy": 90.5, "float_accuracy": 91.0}, "green", "the accuracy is 90.5 %, -0.50 points"),
        ({"accuracy": 91.2, "float_accuracy": 91.0}, "green", "+0.20 points"),
        ({"accuracy": 91.0, "float_accuracy": 91.0}, "green", "as before"),
        ({"accuracy": 88.0, "float_accuracy": 91.0}, "yellow", "-3.00 points"),
        ({"accuracy": 80.0, "float_accuracy": 91.0}, "red", "-11.00 points"),
        ({"answers": Answers(63, 64, 10)}, "green", "63 of 64 held-out inputs are answered as before"),
        ({"answers": Answers(62, 64, 10)}, "yellow", "62 of 64"),
        ({"answers": Answers(98, 100, 10)}, "green", "98 of 100"),
        ({"answers": Answers(40, 64, 10)}, "red", "40 of 64"),
        ({"answers": Answers(64, 64, 10), "output_error": 0.4}, "yellow", "64 of 64"),
        ({"answers": Answers(64, 64, 10), "warnings": ("something.",)}, "yellow", "64 of 64"),
        ({"answers": Answers(8, 8, 10), "output_error": 0.05}, "green", "8 of 8"),
        ({"answers": Answers(8, 8, 10), "output_error": 0.15}, "yellow", "8 of 8"),
        ({"answers": Answers(8, 8, 10), "output_error": 0.4}, "red", "8 of 8"),
        ({"answers": Answers(64, 64, 10), "output_error": 0.15}, "green", "64 of 64"),
        ({"output_error": 0.02}, "green", "the outputs change by 2.0% of their norm"),
        ({"output_error": 0.2}, "yellow", "20.0%"),
        ({"output_error": 0.5}, "red", "50.0%"),
        ({}, "", "was not measured"),
    ],
)
def test_the_light_and_the_sentence(known: dict[str, object], light: str, words: str) -> None:
    verdict = report(**known).verdict
    assert verdict.light == light and words in verdict.sentence and "4.0x smaller" in verdict.sentence


def test_the_error_of_the_outputs_is_left_to_the_facts_where_answers_are_known() -> None:
    names = [line.name for line in report(answers=Answers(63, 64, 10), output_error=0.158).verdict.lines]
    assert "answers kept" in names and "change of the outputs" not in names
    assert "change of the outputs" in [line.name for line in report(output_error=0.158).verdict.lines]


def test_noise_is_called_noise() -> None:
    sentence = report(accuracy=90.5, float_accuracy=91.0, evaluated=200).verdict.sentence
    assert "-0.50 points, less than 200 inputs can tell" in sentence
    assert "can tell" not in report(accuracy=80.5, float_accuracy=91.0, evaluated=2000).verdict.sentence
    line = next(each for each in report(accuracy=90.5, float_accuracy=91.0, evaluated=200).verdict.lines)
    assert line.name == "file"
    line = report(accuracy=90.5, float_accuracy=91.0, evaluated=200).verdict.lines[1]
    assert line.before == "91.00 % ± 4.0" and line.now == "90.50 % ± 4.1"


def test_intervals() -> None:
    # Brown, Cai, DasGupta (2001): Wilson's interval for no success of 10 is [0, 0.278].
    assert interval(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-3)
    assert interval(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-3)
    assert interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-3)
    assert difference_margin(0.5, 0.5, 100) == pytest.approx(1.96 * 0.0707, abs=1e-3)


def test_speed_is_said_beside_float32_and_doubt_where_the_machine_was_busy() -> None:
    steady = Speed(1.0, 8.0, 2, (7.5, 8.0, 8.4))
    found = report(output_error=0.01, milliseconds=1.0, threads=2, speed=steady).verdict
    assert "4.0x smaller and 8.0x faster, and" in found.sentence
    assert found.lines[1].before == "8.00 ms" and found.lines[1].now == "1.00 ms on 2 threads"
    busy = dataclasses.replace(steady, speedup=(4.0, 8.0, 12.0))
    found = report(output_error=0.01, milliseconds=1.0, threads=1, speed=busy).verdict
    assert "4.0x to 12.0x faster" in found.lines[1].words and "busy" in found.lines[1].words
    slow = dataclasses.replace(steady, speedup=(0.5, 0.5, 0.5))
    assert report(milliseconds=1.0, threads=1, speed=slow).verdict.lines[1].words == "2.0x slower"


def test_what_are_scores_of_classes() -> None:
    from collections import OrderedDict

    from niwaki.modules.layer import named_layers

    torch.manual_seed(0)
    head = dict(named_layers(nn.ModuleDict({"fc": nn.Linear(8, 3), "text_projection": nn.Linear(8, 3)})))
    plain = Scores(("fc", head["fc"]), evaluated=False)
    scores = torch.randn(4, 3)
    assert plain.of(scores) is scores
    assert plain.of(torch.randn(4, 5)) is None, "not what the last layer made"
    assert plain.of(nn.functional.normalize(scores)) is None, "an embedding"
    assert plain.of((scores, scores)) is None and plain.of(torch.randn(4, 3, 2)) is None
    assert Scores(("text_projection", head["text_projection"]), evaluated=False).of(scores) is None
    assert Scores(None, evaluated=False).of(scores) is None and Scores(None, evaluated=True).of(scores) is scores
    assert Scores(None, evaluated=False).of(OrderedDict(logits=scores)) is scores
    assert Scores(None, evaluated=True).of(OrderedDict(pooled=scores)) is None


class Net(nn.Sequential):
    """A classifier."""


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return Net(nn.Conv2d(4, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 8)).eval()


def test_what_a_compression_tells(tmp_path: Path) -> None:
    net, x = classifier(), torch.randn(64, 4, 8, 8)
    labels = net(x).argmax(1)
    seen: list[int] = []

    def evaluate(network: nn.Module) -> float:
        found = torch.cat([network(part).argmax(1) for part in x.split(10)])
        seen.append(len(found))
        return 100 * float((found == labels).float().mean())

    small, found = niwaki.compress(net, x.split(16), sparsity=0.25, evaluate=evaluate)
    known = found.network
    assert known.evaluated == 64 and len(seen) == 2
    assert known.answers is not None and (known.answers.count, known.answers.classes) == (8, 8)
    compiled = niwaki.compile(small, (x,))
    assert known.speed is not None and known.speed.milliseconds > 0 and known.speed.float_milliseconds > 0
    assert known.milliseconds == known.speed.milliseconds and known.threads == 1
    origin = known.origin
    assert origin is not None and origin.name == "Net" and origin.inputs == 64
    assert dict(origin.options) == {"sparsity": "0.25"} and re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d", origin.date)
    assert known.graph[0].op == "input" and known.graph[-1].op == "output"
    assert {"0", "3"} <= {node.name for node in known.graph}
    assert all(source < index for index, node in enumerate(known.graph) for source in node.sources)
    assert len(compiled.inputs) == 1
    assert "calibration: 64 inputs" in str(found) and "options: sparsity=0.25" in str(found)
    # What was timed, and when, makes no two reports of one compression differ.
    assert niwaki.compress(net, x.split(16), sparsity=0.25, evaluate=evaluate)[1] == found
    found.to_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<title>Net, compressed</title>" in text and "<details>" in text and 'href="#layer-1"' in text
    assert text.index('class="verdict') < text.index("<table")


def test_the_answers_are_those_of_the_compiled_network() -> None:
    net, x = classifier(), torch.randn(128, 4, 8, 8)
    held: list[torch.Tensor] = []
    net.register_forward_pre_hook(lambda part, args: held.append(args[0]) if part is net else None)
    small, found = niwaki.compress(net, x.split(16), weight_bits=2)
    known = found.network
    calls = torch.cat(held)[-int(known.inputs or 0) :]
    with torch.no_grad():
        same = niwaki.compile(small, (x,))(calls).argmax(1) == net(calls).argmax(1)
    assert known.answers == Answers(int(same.sum()), 16, 8) and known.answers.kept < 16


def test_reasons_are_said_once() -> None:
    page = page_of(report(output_error=0.01))
    assert page.notes == ["because"] and page.table is not None and list(page.table.notes) == ["1", "1"]
    assert str(report(output_error=0.01)).count("because") == 1


def test_options_in_words() -> None:
    given = {
        "sparsity": 0.5, "skip": (), "target": niwaki.Target(size=0.1), "quantize": None, "equalize": False,
        "prune": niwaki.PruneConfig(0.5, pattern="unstructured"), "skipped": ("fc",), "transform": len,
    }  # fmt: skip
    words = dict(in_words(given))
    assert words["target"] == "a file of at most 10.0% of float32" and "pattern=unstructured" in words["prune"]
    assert set(words) == {"sparsity", "target", "prune", "skipped", "transform"} and words["transform"] == "len"


def test_threads_between_steps_meet_no_other_step() -> None:
    sources = [(), (0,), (1,), (2,), (3,), (4, 2), (5,)]
    nodes = [GraphNode(str(index), "conv2d", each) for index, each in enumerate(sources)]
    places, paths = lanes(nodes)
    assert places[:3] == [0, 0, 0] and places[3] == places[4] == 1, "the shortcut keeps its lane"
    assert len(paths) == sum(len(node.sources) for node in nodes)
    for index, node in enumerate(nodes):
        for source in node.sources:
            between = places[source + 1 : index]
            assert places[source] not in between


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    place = tmp_path / "none" / "page.html"
    for write in (report().to_html, report().to_json):
        with pytest.raises(FileNotFoundError, match=r"there is no folder '.*none'; make it first"):
            write(place)
    with pytest.raises(IsADirectoryError, match="is a folder"):
        report().to_json(tmp_path)


def test_notebooks_show_the_verdict_and_the_table() -> None:
    text = report(output_error=0.01)._repr_html_()
    assert "Good to use" in text and "conv2" in text and text.startswith("<table>")


def test_speed_is_measured_turn_and_turn_about(monkeypatch: pytest.MonkeyPatch) -> None:
    from niwaki.quantization.inputs import Batch
    from niwaki.report import speed

    calls: list[str] = []
    threads: list[int] = []

    class Slow(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append("float32")
            threads.append(torch.get_num_threads())
            return x

    def network(x: torch.Tensor) -> torch.Tensor:
        calls.append("now")
        return x

    before = torch.get_num_threads()
    example = Batch(0, (torch.zeros(1),), {})
    found = speed.measure_speed(Slow(), network, example, before + 1)
    assert calls == ["float32", "now"] * 12 and set(threads) == {before + 1} and torch.get_num_threads() == before
    assert found.threads == before + 1 and found.speedup[0] <= found.speedup[1] <= found.speedup[2]
    calls.clear()
    monkeypatch.setattr(speed, "_SECONDS", 0.0)  # as if every call took long
    found = speed.measure_speed(Slow(), network, example, 1)
    assert calls == ["float32", "now"] and found.speedup[0] == found.speedup[2], (
        "the first calls are all that there are"
    )
