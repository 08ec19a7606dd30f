"""niwaki.predict and `niwaki predict`: sources, columns, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import predicted
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import niwaki
from niwaki.cli import main
from niwaki.prediction.over_ray import check_room
from niwaki.runs.cluster import connected


def predict(*arguments: object) -> int:
    return main(["predict", *map(str, arguments)])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The sentence with which a command ends."""
    assert predict(*arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("niwaki: error: ")
    assert said.count("\n") == 1
    return said


def normalized(path: Path, resize: int = 37) -> torch.Tensor:
    """A picture as torchvision's usual transforms make it an input: resized, then the center crop of 32."""
    image = Image.open(path).convert("RGB")
    ratio = resize / min(image.size)
    image = image.resize((round(image.width * ratio), round(image.height * ratio)), Image.Resampling.BILINEAR)
    left, top = (image.width - 32) // 2, (image.height - 32) // 2
    pixels = np.asarray(image.crop((left, top, left + 32, top + 32)), np.float32) / np.float32(255)
    mean, std = np.array(predicted.MEAN, np.float32), np.array(predicted.STD, np.float32)
    return torch.from_numpy(((pixels - mean) / std).transpose(2, 0, 1).copy())[None]


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_rows_of_an_array(batch: int, tmp_path: Path) -> None:
    x = predicted.rows(100)
    np.save(tmp_path / "x.npy", x)
    assert predict(predicted.file("rows"), tmp_path / "x.npy", "-o", tmp_path / "y.parquet", "--batch", batch) == 0
    answers = predicted.columns(tmp_path / "y.parquet")
    (name,) = set(answers) - {"row", "error"}
    assert answers["row"] == list(range(100))
    assert answers["error"] == [None] * 100
    assert (np.array(answers[name], np.float32) == predicted.compiled("rows")(torch.from_numpy(x)).numpy()).all()


def test_pictures_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = predicted.pictures(tmp_path)
    (folder / "notes.md").write_text("no picture")
    labels = [f"kind {index}" for index in range(10)]
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    options = ("--top", 3, "--softmax", "--labels", tmp_path / "labels.txt", "--batch", 2, "--json")
    assert predict(predicted.file("pictures"), folder, "-o", tmp_path / "y.parquet", *options) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["rows"], said["errors"], said["resumed"]) == (7, 0, 0)
    answers = predicted.columns(tmp_path / "y.parquet")
    assert answers["path"] == [*(f"{index}.png" for index in range(6)), "sub/6.png"]
    for path, classes, scores in zip(answers["path"], answers["classes"], answers["scores"], strict=True):
        expected = predicted.compiled("pictures")(normalized(folder / path))[0]
        best, order = expected.double().softmax(0).topk(3)
        assert classes == [labels[index] for index in order]
        assert np.allclose(scores, best, rtol=1e-6, atol=0)


def test_one_picture(tmp_path: Path) -> None:
    path = predicted.pictures(tmp_path, 1) / "sub" / "0.png"
    assert predict(predicted.file("pictures"), path, "-o", tmp_path / "y.parquet", "--top", 1) == 0
    answers = predicted.columns(tmp_path / "y.parquet")
    scores = predicted.compiled("pictures")(normalized(path))[0]
    assert (answers["path"], answers["class"]) == (["0.png"], [int(scores.argmax())])


def test_what_the_file_does_not_say_of_pictures(tmp_path: Path) -> None:
    folder = predicted.pictures(tmp_path, 2)
    mean, std = ([str(number) for number in numbers] for numbers in (predicted.MEAN, predicted.STD))
    options = ("--mean", *mean, "--std", *std, "--size", "32", "--resize", "40")
    assert predict(predicted.file("plain"), folder, "-o", tmp_path / "y", *options) == 0
    answers = predicted.columns(tmp_path / "y")
    expected = [predicted.compiled("plain")(normalized(folder / path, 40))[0].tolist() for path in answers["path"]]
    assert list(answers.values())[2] == expected


def test_broken_pictures_are_rows_with_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = predicted.pictures(tmp_path)
    whole = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(whole[: len(whole) // 2])
    (folder / "4.png").write_bytes(b"no picture at all")
    (tmp_path / "list.txt").write_text(
        "\n".join(["pictures/0.png", "pictures/2.png", "pictures/gone.png", "pictures/4.png", "pictures/1.png"])
    )
    arguments = (predicted.file("pictures"), tmp_path / "list.txt", "-o", tmp_path / "y.parquet", "--top", 1)
    assert predict(*arguments) == 1
    assert "3 inputs went wrong" in capsys.readouterr().err
    answers = predicted.columns(tmp_path / "y.parquet")
    assert [text is None for text in answers["error"]] == [True, False, False, False, True]
    assert [value is None for value in answers["class"]] == [False, True, True, True, False]
    assert "no such file" in answers["error"][2]
    assert answers["error"][3].startswith("It is not a readable image")
    for row, name in ((0, "0.png"), (4, "1.png")):
        scores = predicted.compiled("pictures")(normalized(folder / name))[0]
        assert (answers["class"][row], answers["score"][row]) == (int(scores.argmax()), float(scores.max()))
    assert predict(*arguments) == 1  # nothing is left to do, and the code still says so
    capsys.readouterr()
    assert "3 rows with an error from an earlier run" in refused(capsys, *arguments, "--strict")
    (tmp_path / "y.parquet").unlink()
    assert "row 1 ('pictures/2.png'): It is not a readable image" in refused(capsys, *arguments, "--strict")


def test_several_inputs_and_outputs_of_a_table(tmp_path: Path) -> None:
    lengths = [3, 5, 5, 0, 3, 7]
    generator = np.random.default_rng(2)
    ids: list[Any] = [generator.integers(0, 20, length).tolist() for length in lengths]
    weights: list[Any] = generator.random(6).tolist()
    ids += [[1, 2, 20], None, [1, None], [1]]  # outside of the table, missing, missing within
    weights += [1.0, 1.0, 1.0, None]
    table = pa.table({"name": list("abcdefghij"), "ids": ids, "weight": pa.array(weights, pa.float64())})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=4)
    done = niwaki.predict(predicted.file("tokens"), tmp_path / "x.parquet", keep=["name"], batch=5).write(
        tmp_path / "y"
    )
    assert (done.rows, done.errors) == (10, 4)
    answers = predicted.columns(tmp_path / "y")
    assert answers["name"] == list("abcdefghij")
    for row, length in enumerate(lengths):
        one = predicted.compiled("tokens")(
            torch.tensor([ids[row]], dtype=torch.int64).reshape(1, length), torch.tensor([weights[row]])
        )
        assert answers["vectors"][row] == one["vectors"][0].tolist()
        assert answers["total"][row] == one["total"][0].item()
    assert answers["vectors"][6:] == [None] * 4
    assert "20" in answers["error"][6]
    assert all("missing" in text for text in answers["error"][7:])


def test_a_folder_with_an_array_for_each_input(tmp_path: Path) -> None:
    ids, weight = np.arange(12, dtype=np.int32).reshape(4, 3), np.arange(4, dtype=np.float64)
    np.save(tmp_path / "ids.npy", ids)
    np.save(tmp_path / "weight.npy", weight)
    (answers,) = niwaki.predict(predicted.file("tokens"), tmp_path, columns=["total"])
    expected = predicted.compiled("tokens")(torch.from_numpy(ids).long(), torch.from_numpy(weight).float())["total"]
    assert answers.schema.names == ["row", "total", "error"]
    assert answers["total"].to_pylist() == expected.tolist()


def test_uint8_arrays_are_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(pixels))
    mean, std = (np.array(each, np.float32).reshape(1, 3, 1, 1) for each in (predicted.MEAN, predicted.STD))
    x = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    expected = predicted.compiled("pictures")(torch.from_numpy(x)).argmax(1).tolist()
    for name in ("x.npy", "fortran.npy"):
        (answers,) = niwaki.predict(predicted.file("pictures"), tmp_path / name, top=1)
        assert answers["class"].to_pylist() == expected


def test_best_classes(tmp_path: Path) -> None:
    x = predicted.rows(20)
    x[3] = np.nan
    x[4] = -100 * np.ones(8)  # all scores are cut to 0 or are what the weights say: ties go to the first class
    np.save(tmp_path / "x.npy", x)
    (answers,) = niwaki.predict(predicted.file("rows"), tmp_path / "x.npy", top=5)
    scores = predicted.compiled("rows")(torch.from_numpy(x)).numpy()
    for row, (classes, values, error) in enumerate(
        zip(answers["classes"].to_pylist(), answers["scores"].to_pylist(), answers["error"].to_pylist(), strict=True)
    ):
        if np.isnan(scores[row]).any():
            assert (classes, values) == (None, None)
            assert "NaN" in error
        else:
            assert classes == sorted(range(5), key=lambda index: (-scores[row][index], index))
            assert values == [float(scores[row][index]) for index in classes]
    assert answers["error"].null_count == 19


def test_entry_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    y = np.random.default_rng(4).standard_normal((9, 6), dtype=np.float32)
    np.save(tmp_path / "y.npy", y)
    file = predicted.file("towers")
    (answers,) = niwaki.predict(file, tmp_path / "y.npy", entry="second")
    expected = predicted.compiled("towers")["second"](torch.from_numpy(y)).tolist()
    assert answers.column(1).to_pylist() == expected
    assert "first, second" in refused(capsys, file, tmp_path / "y.npy", "-o", tmp_path / "z.parquet")
    assert "no entry point 'third'" in refused(
        capsys, file, tmp_path / "y.npy", "-o", tmp_path / "z.parquet", "--entry", "third"
    )


def test_no_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((0, 8), np.float32))
    pq.write_table(pa.table({"x": pa.array([], pa.list_(pa.float32()))}), tmp_path / "x.parquet")
    for name in ("x.npy", "x.parquet"):
        assert list(niwaki.predict(predicted.file("rows"), tmp_path / name)) == []
        for output in (f"{name}.y", f"{name}.y.parquet"):
            done = niwaki.predict(predicted.file("rows"), tmp_path / name).write(tmp_path / output)
            assert (done.rows, done.errors) == (0, 0)
            table = pq.read_table(tmp_path / output)
            assert table.num_rows == 0
            assert table.schema.names[::2] == ["row", "error"]


def test_limit(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", predicted.rows(50))
    answers = pa.Table.from_batches(niwaki.predict(predicted.file("rows"), tmp_path / "x.npy", limit=7, batch=3))
    assert answers["row"].to_pylist() == list(range(7))
    assert sum(batch.num_rows for batch in niwaki.predict(predicted.file("rows"), tmp_path / "x.npy", limit=70)) == 50


def test_networks_that_mix_rows_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", predicted.rows(5))
    arguments = (predicted.file("mixing"), tmp_path / "x.npy", "-o", tmp_path / "y.parquet")
    assert "depends on the rows beside it" in refused(capsys, *arguments)
    assert predict(*arguments, "--batch", 1) == 0


@pytest.mark.parametrize(
    ("file", "inputs", "options", "words"),
    [
        ("rows", "nowhere", [], "there is no folder or file"),
        ("rows", "x.txt", [], "does not take pictures"),
        ("rows", "x.csv", [], "none of what can be read"),
        ("rows", "x.csv", [], "make a .parquet file of it"),
        ("rows", "x.npz", [], "save its arrays as NAME.npy into a folder"),
        ("rows", "pictures/sub/0.png", [], "does not take pictures"),
        ("rows", "wide.npy", [], "rows [9] do not fit input"),
        ("rows", "whole.npy", [], "elements are int64, which is no float32"),
        ("rows", "broken.npy", [], "cannot be read as a .npy file"),
        ("rows", "broken.parquet", [], "cannot be read as a .parquet file"),
        ("rows", "other.parquet", [], "no column for input"),
        ("rows", "x.npy", ["--columns", "z"], "has no output 'z'"),
        ("rows", "x.npy", ["--top", "6"], "has 5 classes"),
        ("rows", "x.npy", ["--softmax"], "give top"),
        ("rows", "x.npy", ["--keep", "name"], "only the columns of a .parquet file"),
        ("rows", "x.npy", ["--mean", "0.5"], "--mean and --std belong together"),
        ("rows", "x.npy", ["--labels", "nowhere.txt"], "--labels 'nowhere.txt' cannot be read"),
        ("tokens", "x.npy", [], "has several inputs"),
        ("tokens", "ids.parquet", ["--top", "1"], "has several outputs"),
        ("plain", "pictures", [], "does not say how pixels become its input"),
        ("plain", "pixels.npy", [], "holds uint8"),
        ("pictures", "pictures", ["--size", "64"], "takes images of 32 x 32 only"),
        (
            "plain",
            "pictures",
            ["--mean", "0", "0", "0", "--std", "1", "1", "1"],
            "say which (--size 32 is what it was made with)",
        ),
        ("pictures", "pictures", ["--resize", "20"], "smaller than the crop"),
        ("pictures", "empty", [], "there are no images"),
        ("pictures", "pictures", ["--mean", "0.5", "--std", "0.5"], "need 3 numbers each"),
    ],
)
def test_refused_in_a_sentence(
    file: str, inputs: str, options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", predicted.rows(3))
    np.save(tmp_path / "wide.npy", np.zeros((3, 9), np.float32))
    np.save(tmp_path / "whole.npy", np.zeros((3, 8), np.int64))
    np.save(tmp_path / "pixels.npy", np.zeros((3, 3, 32, 32), np.uint8))
    for name in ("broken.npy", "broken.parquet", "x.csv", "x.npz", "x.txt"):
        (tmp_path / name).write_text("a/b.png")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    pq.write_table(pa.table({"ids": [[1]], "weight": [1.0]}), tmp_path / "ids.parquet")
    (tmp_path / "empty").mkdir()
    predicted.pictures(tmp_path, 1)
    assert words in refused(capsys, predicted.file(file), tmp_path / inputs, "-o", tmp_path / "y.parquet", *options)
    assert not (tmp_path / "y.parquet").exists()


@pytest.mark.parametrize(
    ("missing", "options", "words"),
    [
        ("pyarrow.parquet", [], "install it with: pip install 'niwaki[predict]'"),
        ("ray", ["--ray", "auto"], "install it with: pip install 'niwaki[ray]'"),
    ],
)
def test_packages_that_are_not_there(
    missing: str,
    options: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    np.save(tmp_path / "x.npy", predicted.rows(5))
    monkeypatch.setitem(sys.modules, missing, None)
    assert words in refused(capsys, predicted.file("rows"), tmp_path / "x.npy", "-o", tmp_path / "y", *options)


def test_more_threads_than_any_machine_of_a_cluster_has_cpus() -> None:
    """What test_predict_ray.py asks of a cluster, without Ray."""
    nodes: list[dict[str, Any]] = [
        {"Alive": True, "Resources": {"memory": 1.0}}, {"Alive": True, "Resources": {"CPU": 4.0}},
        {"Alive": False, "Resources": {"CPU": 16.0}},
    ]  # fmt: skip
    check_room(nodes, 4)
    with pytest.raises(niwaki.NiwakiError, match="no machine of the cluster has more than 4"):
        check_room(nodes, 5)


def test_a_machine_that_is_too_busy_for_ray_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray gives a node 30 s to begin, and says that they are over in a bare Exception."""

    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup. This could happen because the raylet failed.")

    ended: list[bool] = []
    stand_in = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: ended.append(True))
    monkeypatch.setitem(sys.modules, "ray", stand_in)
    monkeypatch.setitem(sys.modules, "ray.exceptions", SimpleNamespace())
    words = r"no cluster of Ray at 'local': .*timed out during startup.*; run it again when the machine has less to do"
    with pytest.raises(niwaki.NiwakiError, match=words), connected("local", 1, "--ray"):
        pass
    assert ended


def test_numbers_out_of_range() -> None:
    for options in ({"batch": 0}, {"threads": True}, {"limit": -1}, {"part": 2.5}):
        with pytest.raises(ValueError, match="has to be a whole number of at least 1"):
            niwaki.predict("net.niwaki", "x.npy", **options)
