"""The comparison with other engines: what is compared, how turns become ratios, and what the table says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from peers import environments, networks, picture, run, table
from peers.cases import CASES, ENGINES, SETTINGS, Case, Setting
from peers.turns import EngineError, Place, Worker, compare, summarize

MACHINE = {"cpu": "A CPU", "cores": 2, "isa": "avx2", "gmacs_limit": 100.0, "system": "Linux x86_64", "python": "3.11"}


def row(case: str, **engines: list[float]) -> dict:
    names = {key.replace("_", " ").replace("torch ", "torch-"): times for key, times in engines.items()}
    return {"case": case, "batch": 1, "threads": 2, "rounds": 3, "engines": summarize(names), "missing": {}}


@pytest.fixture
def result() -> dict:
    rows = [
        row("resnet50-dense", niwaki=[10.0, 12.0, 11.0], openvino=[12.0, 12.0, 12.0], torch_fp32=[50.0, 50.0, 50.0]),
        row(
            "resnet50-block85",
            niwaki=[4.0, 4.0, 5.0],
            niwaki_dense=[10.0, 12.0, 11.0],
            openvino=[12.0, 12.0, 12.0],
        ),
    ]
    missing = {"deepsparse": "its wheels end at Python 3.11"}
    return {"machine": MACHINE, "size": 224, "versions": {"niwaki": "1.0"}, "missing": missing, "rows": rows}


def test_names_of_cases_and_settings() -> None:
    assert Case.parse("resnet50-block85") == Case("resnet50", 4, 0.85)
    assert Case.parse("resnet50-free9") == Case("resnet50", 1, 0.09)
    assert Case.parse("mobilenet_v2-dense") == Case("mobilenet_v2", 0, 0.0)
    assert Case.parse("resnet50-free95").dense_twin == "resnet50-dense"
    assert Case.parse("resnet50-free95").title == "resnet50, 95 % of weights"
    assert all(Case.parse(name) for name in CASES)
    assert Setting.parse("16x2") == Setting(16, 2) and SETTINGS[0].calls > Setting(16, 2).calls
    for name in ("resnet50", "resnet50-block", "resnet50-block085", "resnet50-dense85", "resnet50-dense "):
        with pytest.raises(ValueError, match="is no case"):
            Case.parse(name)
    for text in ("16", "0x1", "1x", "1x2x3"):
        with pytest.raises(ValueError, match="is no setting"):
            Setting.parse(text)


@pytest.mark.parametrize("name", ["unet-dense", "deeplabv3_mobilenet_v3_large-dense"])
def test_networks_with_a_result_for_each_pixel(name: str) -> None:
    with torch.no_grad():
        assert networks.build(name)(torch.zeros(1, 3, 64, 64)).shape == (1, 21, 64, 64)


@pytest.mark.parametrize(("name", "block", "zeros"), [("resnet18-block85", 4, 0.85), ("resnet18-free90", 1, 0.90)])
def test_networks_are_pruned_layer_by_layer_to_the_share(name: str, block: int, zeros: float) -> None:
    pruned, dense = networks.build(name), networks.build(name.rpartition("-")[0] + "-dense")
    layers = dict(dense.named_modules())
    for path, layer in pruned.named_modules():
        if not isinstance(layer, torch.nn.Conv2d):
            continue
        weight, full = (module.weight.detach().movedim(1, 3) for module in (layer, layers[path]))
        if layer.in_channels == 3:
            assert torch.equal(weight, full)
            continue
        blocks, sizes = weight.reshape(-1, block), full.reshape(-1, block).abs().sum(1)
        empty = ~blocks.any(1)
        assert int(empty.sum()) == int(zeros * len(blocks)), path
        assert torch.equal(blocks[~empty], full.reshape(-1, block)[~empty]), "what is kept is not changed"
        assert sizes[empty].max() <= sizes[~empty].min(), "the smallest blocks go"


def test_networks_and_calibration_are_the_same_every_time() -> None:
    first, second = networks.build("mobilenet_v2-dense").state_dict(), networks.build("mobilenet_v2-dense").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(a, b) for a, b in zip(networks.calibration(32), networks.calibration(32), strict=True))


def test_ratios_are_medians_of_rounds_not_ratios_of_medians() -> None:
    summary = summarize({"niwaki": [1.0, 2.0, 10.0], "openvino": [3.0, 2.0, 10.0], "niwaki dense": [2.0, 6.0, 40.0]})
    assert summary["openvino"]["ms_per_image"] == 3.0
    assert (summary["openvino"]["ratio"], summary["openvino"]["ratio_min"], summary["openvino"]["ratio_max"]) == (
        1.0,
        1.0,
        3.0,
    )
    assert summary["niwaki"]["ratio"] == 1.0
    assert summary["niwaki"]["gain"] == 3.0 and summary["niwaki"]["dense_ms_per_image"] == 6.0
    assert set(summary) == {"niwaki", "openvino"}
    assert "ratio" not in summarize({"openvino": [1.0]})["openvino"]


def test_table_in_markdown(result: dict) -> None:
    lines = table.markdown(result).splitlines()
    assert lines[0] == (
        "| network | batch, threads | niwaki | OpenVINO | torch float32 | fastest peer | pruning gains |"
    )
    assert lines[2] == "| resnet50, dense | 1, 2 | **11.00** | 12.00 (1.09x) | 50.00 (4.55x) | 1.09x (OpenVINO) |  |"
    assert lines[3] == (
        "| resnet50, 85 % of blocks | 1, 2 | **4.00** | 12.00 (3.00x) | - | 3.00x (OpenVINO) | niwaki 2.50x |"
    )
    assert "Without DeepSparse: its wheels end at Python 3.11." in lines
    assert any("A CPU, 2 cores, avx2" in line and "niwaki 1.0" in line for line in lines)


def test_a_faster_peer_is_shown_as_such(result: dict) -> None:
    result["rows"] = [row("resnet50-dense", niwaki=[10.0], openvino=[8.0])]
    assert "| 10.00 | **8.00** (0.80x) | 0.80x (OpenVINO) |" in table.markdown(result)


def test_table_goes_between_its_marks_and_nowhere_else(result: dict) -> None:
    page = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    assert table.put_into(page, "new\n") == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
    with pytest.raises(ValueError, match="are not in it"):
        table.put_into("nothing here", "new")


def test_rows_measured_again_replace_the_old_ones() -> None:
    old = [row("resnet50-dense", niwaki=[1.0]), row("resnet18-dense", niwaki=[2.0])]
    new = [row("resnet18-dense", niwaki=[3.0]), row("mobilenet_v2-dense", niwaki=[4.0])]
    merged = table.merge(old, new)
    assert [(entry["case"], entry["engines"]["niwaki"]["ms_per_image"]) for entry in merged] == [
        ("resnet50-dense", 1.0),
        ("resnet18-dense", 3.0),
        ("mobilenet_v2-dense", 4.0),
    ]


def test_last_run_is_shown_again_with_a_picture(result: dict, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "peers.json").write_text(json.dumps(result), encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(f"{table.BEGIN}\n{table.END}\n", encoding="utf-8")
    run.main(["--render", "--output", str(tmp_path), "--readme", str(page)])
    assert "OpenVINO" in capsys.readouterr().out
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")
    assert table.markdown(result).strip() in page.read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="no last run to show"):
        run.main(["--render", "--output", str(tmp_path / "empty")])
    with pytest.raises(SystemExit, match="was not put there"):
        run.main(["--render", "--output", str(tmp_path), "--readme", str(tmp_path / "none.md")])


@pytest.mark.parametrize("wrong", [["--cases", "resnet50"], ["--settings", "two"], ["--rounds", "0"]])
def test_wrong_options(wrong: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        run.parse_arguments(wrong)
    assert "is no" in capsys.readouterr().err


def test_picture_of_several_settings(result: dict, tmp_path: Path) -> None:
    result["rows"].append({**result["rows"][0], "batch": 16})
    picture.draw(result, tmp_path / "bars.png")
    assert (tmp_path / "bars.png").stat().st_size > 1000


def test_environments_are_pinned_and_made_anew_when_pins_change(tmp_path: Path) -> None:
    for environment in environments.ENVIRONMENTS.values():
        for file in environments.requirement_files(environment.requirements):
            for line in file.read_text(encoding="utf-8").splitlines():
                assert not line or line[0] in "#-" or "==" in line or line.startswith("setuptools<"), (file, line)
    assert set(environments.HOMES) == set(ENGINES) - {"niwaki"}
    assert set(environments.HOMES.values()) == set(environments.ENVIRONMENTS)
    pins = tmp_path / "pins.txt"
    pins.write_text("a==1")
    before = environments.digest(pins)
    pins.write_text("a==2")
    assert environments.digest(pins) != before


def test_an_environment_that_is_complete_is_used_as_it_is(tmp_path: Path) -> None:
    files = environments.requirement_files(environments.ENVIRONMENTS["openvino"].requirements)
    folder = tmp_path / f"openvino-{environments.digest(*files)}"
    folder.mkdir()
    (folder / ".complete").touch()
    assert environments.make("openvino", tmp_path) == folder / "bin" / "python"


def test_an_engine_without_a_python_is_missing_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = environments.Environment(environments.ENVIRONMENTS["openvino"].requirements, newest=7)
    monkeypatch.setitem(environments.ENVIRONMENTS, "openvino", old)
    with pytest.raises(environments.MissingError, match=r"its wheels end at Python 3\.7"):
        environments.make("openvino", tmp_path)
    place, missing = run.prepare(["niwaki"], ["resnet50-dense"], 32, tmp_path)
    assert list(place.pythons) == ["niwaki"] and not missing


def place(folder: Path, *engines: str) -> Place:
    return Place(dict.fromkeys(engines, Path(sys.executable)), folder, folder / "logs", size=32)


def test_engines_take_turns_in_processes_of_their_own(tmp_path: Path) -> None:
    found = compare(
        "mobilenet_v2-dense",
        Setting(2, 1),
        ["niwaki", "torch-fp32", "onnxruntime"],
        2,
        place(tmp_path, "niwaki", "torch-fp32", "onnxruntime"),
    )
    assert set(found["engines"]) == {"niwaki", "torch-fp32"}
    assert all(len(entry["rounds"]) == 2 and entry["ratio"] > 0 for entry in found["engines"].values())
    assert found["versions"]["torch-fp32"] == torch.__version__
    assert "onnxruntime" in found["missing"], "it has no model file here, and says so"
    assert found["missing"]["onnxruntime"].endswith(".log)")


def test_niwaki_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="niwaki, which all are compared with"):
        compare("nonsense-dense", Setting(1, 1), ["niwaki"], 1, place(tmp_path, "niwaki"))


def test_an_engine_that_ends_is_an_error_not_a_hang(tmp_path: Path) -> None:
    worker = Worker("torch-fp32", "nonsense-dense", Setting(1, 1), place(tmp_path, "torch-fp32"))
    try:
        with pytest.raises(EngineError, match="no network 'nonsense'"):
            worker.wait_until_ready()
        with pytest.raises(EngineError, match="it stopped"):
            worker.turn(1)
    finally:
        worker.stop()
