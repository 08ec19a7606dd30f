"""The compression report: totals, the printed table, JSON and the HTML page."""

from __future__ import annotations

import dataclasses
import html.parser
import io
import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

import niwaki
from niwaki.report import Histogram, LayerReport, NetworkReport, Point, Report
from niwaki.runtime.text import align, format_bytes

ROWS = [
    LayerReport("conv1", "conv2d", "int8", 0.0, 1_000, 4_000, 0.01),
    LayerReport("layer1.0.conv1", "conv2d", "sparse int8", 0.75, 4_000, 12_000, 0.035),
    LayerReport("fc", "linear", "float32", 0.0, 400, 400, None, "excluded by name"),
]


def test_totals_weigh_layers_by_size() -> None:
    report = Report(ROWS)
    assert (report.bytes, report.float_bytes) == (5_400, 16_400)
    assert report.zeros == pytest.approx(0.75 * 12_000 / 16_400)
    assert report.ratio == pytest.approx(5_400 / 16_400)
    assert report.schemes == {"int8": 1, "sparse int8": 1, "float32": 1}


def test_is_a_sequence_of_frozen_rows() -> None:
    report = Report(ROWS)
    assert list(report) == ROWS and report[-1] is ROWS[-1] and ROWS[0] in report
    assert report[1:] == Report(ROWS[1:]) and isinstance(report[1:], Report)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report[0].bytes = 3  # type: ignore[misc]


def test_prints_an_aligned_table() -> None:
    lines = str(Report(ROWS)).splitlines()
    column = lines[0].index("kept as")
    assert [line[column:].split("  ")[0] for line in lines[2:5]] == ["int8", "sparse int8", "float32"]
    assert "75.0%" in lines[3] and "3.50%" in lines[3] and "33.3%" in lines[3]
    assert lines[6].startswith("3 layers") and "5.4 kB" in lines[6] and "32.9%" in lines[6]
    assert lines[7:] == ["", "fc: excluded by name"]
    assert all(line == line.rstrip() for line in lines)


def test_tables_fit_a_terminal() -> None:
    """Whatever layers are called, and whatever is known of them: columns are left out, names cut in the middle."""
    long = "encoder.layers.{}.self_attention.output.projection"
    known = {"output_error": 0.123, "fitted_error": 0.01, "sensitivity": 12.345, "error": 0.1}
    rows = [
        LayerReport(
            long.format(i),
            "conv_transpose2d",
            "sparse int8",
            0.5,
            10**8,
            4 * 10**8,
            reason="marker" + " long" * 30,
            **known,
        )
        for i in range(12)
    ]
    report = Report(rows, full_report().network)
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("encoder.") and "projection" in line for line in lines)
    assert str(report).count("marker") == 1, "a reason is said once"
    short = [dataclasses.replace(row, name=str(i), op="linear") for i, row in enumerate(rows)]
    lines = str(Report(short)).splitlines()
    assert "fitted" in lines[0] and max(map(len, lines)) <= 80, "what fits is shown"


def test_empty_report() -> None:
    report = Report([])
    assert (report.bytes, report.zeros, report.ratio) == (0, 0.0, 1.0)
    assert "0 layers" in str(report)
    assert "1 layer " in str(Report(ROWS[2:])) and "1 layer," in repr(Report(ROWS[2:]))


def test_json_round_trip(tmp_path: Path) -> None:
    endless = dataclasses.replace(ROWS[0], error=math.inf)
    report = Report([*ROWS, endless])
    text = report.to_json(tmp_path / "report.json")
    read = json.loads(text)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == read
    assert [LayerReport(**layer) for layer in read["layers"][:3]] == ROWS
    assert read["layers"][3]["error"] is None, "infinity is not JSON"
    assert read["total"]["bytes"] == report.bytes


class Page(html.parser.HTMLParser):
    """Counts elements and collects what a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        names = {"src", "href", "xlink:href"}
        self.fetched += [value for name, value in attrs if name in names and value and not value.startswith("#")]


def test_html_is_one_page_with_plots(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    strange = dataclasses.replace(ROWS[0], name="<script>alert(1)</script>")
    Report([*ROWS, strange]).to_html(path, title="A & B")
    text = path.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.fetched == [], "a self-contained page fetches nothing"
    assert page.count["svg"] == 2
    assert page.count["tr"] == 1 + 4 + 1
    assert page.count["script"] == 1 and "<script>alert" not in text, "names are escaped"
    assert "A &amp; B" in text and "layer1.0.conv1" in text
    assert list(tmp_path.iterdir()) == [path], "no temporary file is left"


def test_html_of_an_empty_report_and_without_errors(tmp_path: Path) -> None:
    Report([]).to_html(tmp_path / "empty.html")
    Report(ROWS[2:]).to_html(tmp_path / "one.html")
    assert (tmp_path / "empty.html").read_text(encoding="utf-8").count("<svg") == 0
    assert (tmp_path / "one.html").read_text(encoding="utf-8").count("<svg") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [({"zeros": 1.2}, "zeros is a share"), ({"bytes": -1}, "cannot be negative"), ({"error": -0.1}, "ratio of norms")],
)
def test_impossible_rows_are_refused_by_name(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"conv1.*{message}"):
        dataclasses.replace(ROWS[0], **change)  # type: ignore[arg-type]


def test_only_rows_make_a_report() -> None:
    with pytest.raises(TypeError, match="made of LayerReport, not of str"):
        Report(["conv1"])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (25_557_032, "25.6 MB"), (102_228_128_000, "102.23 GB")],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_align_puts_numbers_to_the_right() -> None:
    text = align(("name", "n"), [("a", "1"), ("bcdef", "100")], right=(1,))
    assert text == "name     n\n-----  ---\na        1\nbcdef  100"


def full_report() -> Report:
    histogram = Histogram(-1.0, 1.0, (3, 9, 3), (2, 4, 1))
    rows = [
        dataclasses.replace(row, output_error=0.1 * i, sensitivity=0.5 * i, weights=histogram, shape=(4, 3, 3, 3))
        for i, row in enumerate(ROWS)
    ]
    network = NetworkReport(
        file_bytes=6_000, parameter_bytes=16_400, milliseconds=1.25, threads=2, output_error=0.02, accuracy=90.5,
        float_accuracy=91.0, target="a file of at most 6,000 bytes", recipe="mine",
        curve=(Point(4_000, 2.0), Point(9_000, 0.5)), tried=(Point(6_000, 1.0, 90.5), Point(9_000, math.inf)),
    )  # fmt: skip
    return Report(rows, network)


def test_the_network_as_a_whole_is_said() -> None:
    report = full_report()
    assert report.network.drop == 0.5
    text = str(report)
    for part in (
        "Good to use: 2.7x smaller, and the accuracy is 90.5 %, -0.50 points.",
        "16.4 kB",
        "6.0 kB",
        "1.25 ms on 2 threads",
        "recipe: mine",
    ):
        assert part in text, part
    assert text.index("Good to use") < text.index("layer1.0.conv1"), "the verdict comes first"
    assert report[1:].network == report.network and hash(report) == hash(full_report())
    assert report != Report(list(report))


def test_rich_prints_a_table_with_strange_names() -> None:
    from rich.console import Console

    file = io.StringIO()
    strange = dataclasses.replace(ROWS[0], name="[red]x")
    Console(file=file, width=200).print(Report([strange, *full_report()], full_report().network))
    text = file.getvalue()
    assert "[red]x" in text, "a name is no markup"
    assert "sparse int8" in text and "90.50 %" in text and "4 layers" in text and "Good to use" in text
    narrow = io.StringIO()
    Console(file=narrow, width=80).print(full_report())
    assert max(len(line.rstrip()) for line in narrow.getvalue().splitlines()) <= 80


def test_json_has_the_keys_that_are_documented(root: Path) -> None:
    read = json.loads(full_report().to_json())
    assert read["version"] == 1
    assert read["network"]["drop"] == 0.5 and read["network"]["tried"][1]["loss"] is None
    assert read["layers"][0]["weights"] == {"low": -1.0, "high": 1.0, "before": [3, 9, 3], "after": [2, 4, 1]}
    assert read["network"]["origin"] is None and read["network"]["graph"] == []
    page = (root / "docs" / "compression.md").read_text(encoding="utf-8")
    table = page[page.index("| key | what |") :]
    found = [read, read["layers"][0], read["layers"][0]["weights"], read["total"], read["network"]]
    keys = {key for part in found for key in part} | set(read["network"]["curve"][0])
    assert [key for key in sorted(keys) if f"`{key}`" not in table] == []


def test_all_figures_are_drawn(tmp_path: Path) -> None:
    full_report().to_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("<svg") == 5
    for title in (
        "Size against error",
        "Size against accuracy",
        "Sensitivity of each layer",
        "Weights other than zero",
    ):
        assert title in text
    assert "2.7x smaller" in text


def test_the_size_is_that_of_the_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 8)).eval()
    x = torch.randn(8, 4, 8, 8)
    small, report = niwaki.compress(net, x, sparsity=0.5, evaluate=lambda network: 50.0)
    niwaki.compile(small, (x[:1],)).save(tmp_path / "net.niwaki")
    assert report.network.file_bytes == (tmp_path / "net.niwaki").stat().st_size and not report.network.no_file
    assert "file " in str(report) and report.network.evaluated is None, "the function called nothing"
    report.to_html(tmp_path / "page.html")
    assert "Size against accuracy" in (tmp_path / "page.html").read_text(encoding="utf-8")

    class InTorch(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(torch.special.i1(x))

    _, report = niwaki.compress(InTorch(*net).eval(), x)
    assert report.network.file_bytes is None and "special_i1" in report.network.no_file
    assert report.verdict.light != "green" and "but it has no file" in report.verdict.sentence


def test_the_sensitivity_analysis_is_told_and_drawn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 8)).eval()
    x = torch.randn(16, 4, 8, 8)
    _, report = niwaki.compress(net, x, target=niwaki.Target(size=0.15))
    for row in report:
        eight = [option for option in row.options if option.bits == 8]
        assert len(eight) == 8 and {option.bits for option in row.options} == {8, 6, 5, 4, 3}
        assert [c.share for c in eight] == sorted(c.share for c in eight)
        assert eight[-1].error > 3 * eight[0].error and eight[-1].bytes < 0.3 * eight[0].bytes
        assert all(option.milliseconds == 0 for option in row.options)
    report.to_html(tmp_path / "size.html")
    assert "What zeros cost each layer" in (tmp_path / "size.html").read_text(encoding="utf-8")
    # A time that any machine keeps, and a size that int8 alone does not.
    _, report = niwaki.compress(net, x, target=niwaki.Target(size=0.15, latency=1000.0))
    assert all(option.milliseconds > 0 for row in report for option in row.options)
    report.to_html(tmp_path / "time.html")
    assert "How long it takes with them" in (tmp_path / "time.html").read_text(encoding="utf-8")


def test_errors_are_those_of_the_compiled_network_on_inputs_held_out() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 8)).eval()
    x = torch.randn(64, 4, 8, 8)
    seen: list[torch.Tensor] = []
    net.register_forward_pre_hook(lambda part, args: seen.append(args[0]) if part is net else None)
    small, report = niwaki.compress(net, x.split(16))
    assert report.network.inputs == 8 and report.network.held_out and "8 held-out inputs" in str(report)
    # Two of each sixteen; the last calls of the caller's network are those that the error is measured with.
    held = torch.cat(seen[-4:])
    assert len(held) == 8
    with torch.no_grad():
        wanted, found = net(held), niwaki.compile(small, (x,))(held)
    assert report.network.output_error == pytest.approx(float((found - wanted).norm() / wanted.norm()), rel=1e-4)


def test_errors_on_fitted_and_on_held_out_inputs_stand_side_by_side() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 16)).eval()
    x = torch.randn(32, 64)
    # The first call is never held out while there are others.
    small, report = niwaki.compress(net, x.split(4), sparsity=0.75, pattern="unstructured")
    (row,) = report
    with torch.no_grad():
        wanted, found = net(x[:4]), small(x[:4])
    assert row.fitted_error == pytest.approx(float((found - wanted).norm() / wanted.norm()), rel=1e-3)
    assert row.output_error is not None and row.output_error != row.fitted_error
    lines = str(report).splitlines()
    place = next(index for index, each in enumerate(lines) if "kept as" in each)
    header, line = lines[place], lines[place + 2]
    assert header.index("outputs") < header.index("fitted")
    assert f"{row.output_error:.1%}" in line and f"{row.fitted_error:.1%}" in line
    assert report.to_dict()["layers"][0]["fitted_error"] == row.fitted_error
    assert niwaki.compress(net, x[:7], sparsity=0.5)[1][0].fitted_error is None  # nothing was held out


def test_the_caller_s_network_is_evaluated_in_a_copy_and_what_is_compiled_as_it_runs() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 8)).eval()
    net.classes = 8
    before = {name: value.clone() for name, value in net.state_dict().items()}
    kinds: list[str] = []

    def evaluate(network: nn.Module) -> float:
        kinds.append(type(network).__name__)
        network.train()(torch.randn(4, 4, 8, 8))
        assert network.eval().classes == 8  # what a network has besides its forward is there, too
        return 50.0

    niwaki.compress(net, torch.randn(16, 4, 8, 8), evaluate=evaluate)
    assert kinds == ["Sequential", "Compiled"] and not net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_a_compression_measures() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 8)).eval()
    x = torch.randn(7, 4, 8, 8)
    small, report = niwaki.compress(net, x, sparsity=0.5)
    first, last = report
    assert report.network.inputs == 7 and not report.network.held_out
    with torch.no_grad():
        wanted, found = net(x), niwaki.compile(small, (x,))(x)
        assert report.network.output_error == pytest.approx(float((found - wanted).norm() / wanted.norm()), rel=1e-4)
        assert last.output_error == pytest.approx(report.network.output_error, rel=1e-3)
        assert first.output_error == pytest.approx(float((small[0](x) - net[0](x)).norm() / net[0](x).norm()), rel=1e-3)
        real = small[3].weight * small[3].weight_scale[:, None]
        assert last.error == pytest.approx(float((real - net[3].weight).norm() / net[3].weight.norm()), rel=1e-4)
    # The last layer makes the logits: without it, all of them are lost, but for what all classes share.
    assert last.sensitivity is not None and 0.8 < last.sensitivity < 1.2
    assert first.weights is not None and sum(first.weights.before) == 16 * 36
    assert sum(first.weights.after) == int(small[0].weight.count_nonzero())
    assert first.shape == (16, 4, 3, 3) and first.bits == 8


class Everything(nn.Module):
    """A bare parameter, a table, a convolution along time, a recurrent layer, a norm; the head may share the table."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, 1, 16))
        self.table, self.conv = nn.Embedding(40, 16), nn.Conv1d(16, 24, 3, padding=1)
        self.gru, self.norm = nn.GRU(24, 16, batch_first=True), nn.LayerNorm(16)
        self.head = nn.Linear(16, 40, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.start.expand(len(ids), -1, -1), self.table(ids)], 1)
        x = self.gru(self.conv(x.transpose(1, 2)).transpose(1, 2))[0]
        return self.head(self.norm(x[:, -1]))


@pytest.mark.parametrize("skip", [(), ("table", "gru", "conv*")])
@pytest.mark.parametrize("tied", [False, True])
def test_totals_are_those_of_the_network(tmp_path: Path, tied: bool, skip: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    net = Everything(tied=tied).eval()
    ids = torch.randint(40, (16, 12))
    small, report = niwaki.compress(net, ids, skip=skip, progress=False)
    rows = {row.name: row for row in report}
    assert list(rows) == ["start", "table", "conv.conv", "gru", "norm", "head"]
    assert report.float_bytes == report.network.parameter_bytes == 4 * sum(p.numel() for p in net.parameters())
    assert {"start", "norm"} <= {name for name, row in rows.items() if row.scheme == "float32"}
    assert all(row.reason for row in report if row.scheme == "float32")
    assert rows["norm"].op == "layernorm" and rows["start"].op == "parameter" and rows["start"].shape == (1, 1, 16)
    if skip:
        assert {rows[name].reason for name in ("table", "conv.conv", "gru")} == {"skipped by name"}
        assert {rows[name].scheme for name in ("table", "conv.conv", "gru")} == {"float32"}
    if tied:
        assert rows["head"].float_bytes == 0 and "are those of 'table'" in rows["head"].reason
    # What the file holds besides: its header, its graph, and padding.
    niwaki.compile(small, (ids[:1],)).save(tmp_path / "net.niwaki")
    size = (tmp_path / "net.niwaki").stat().st_size
    assert report.bytes < size < report.bytes + 12_000


@pytest.mark.parametrize("net", [nn.Linear(8, 4), nn.GRU(8, 4, batch_first=True)], ids=repr)
def test_a_network_that_is_one_layer_has_one_row(net: nn.Module) -> None:
    _, report = niwaki.compress(net.eval(), torch.randn(8, 5, 8), progress=False)
    assert [row.name for row in report] == [""]
    assert report.float_bytes == 4 * sum(parameter.numel() for parameter in net.parameters())
