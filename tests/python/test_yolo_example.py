"""The example with a YOLO of ultralytics: the same boxes as ultralytics finds, native as a whole, and in int8."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import niwaki
from niwaki._compat import import_torchvision

SIZE = 96


@pytest.fixture(scope="module")
def example(root: Path, import_file: Callable[[Path], ModuleType]) -> ModuleType:
    return import_file(root / "examples" / "yolo" / "detect.py")


@pytest.fixture(scope="module")
def compress(root: Path, import_file: Callable[[Path], ModuleType]) -> Iterator[ModuleType]:
    import_torchvision()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_OFFLINE", "true")
        patch.setattr(sys, "path", list(sys.path))
        pytest.importorskip("ultralytics", reason="ultralytics is not installed: pip install ultralytics")
        yield import_file(root / "examples" / "yolo" / "compress.py")
        sys.modules.pop("detect", None)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """What two boxes share over what they cover, in plain Python."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (areas - width * height)


def test_boxes_that_overlap_a_surer_one_go(example: ModuleType) -> None:
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 60, (200, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(5, 40, (200, 2))], 1).astype(np.float32)
    scores, kinds = generator.random(200).astype(np.float32), generator.integers(0, 3, 200)
    for limit in (0.0, 0.3, 0.7, 1.0):
        wanted: list[int] = []
        for index in np.argsort(-scores):
            others = (boxes[each] for each in wanted if kinds[each] == kinds[index])
            if all(overlap(boxes[index], other) <= limit for other in others):
                wanted.append(int(index))
        assert example.suppress(boxes, scores, kinds, limit).tolist() == wanted, limit
    assert len(wanted) == 200
    nothing = np.zeros((0, 4), np.float32)
    assert example.suppress(nothing, nothing[:, 0], nothing[:, 0].astype(int), 0.5).size == 0


def test_boxes_lie_where_the_sides_say(example: ModuleType) -> None:
    """One sure cell, whose sides are 1, 2, 3 and 0.5 cells from its centre."""
    steps = np.full((4, 16), -30, np.float32)
    steps[[0, 1, 2], [1, 2, 3]] = 30
    steps[3, :2] = 30  # half 0, half 1
    boxes = np.zeros((1, 64, 4, 5), np.float32)
    boxes[0, :, 2, 3] = steps.ravel()
    maps = {"boxes16": boxes, "scores16": np.zeros((1, 7, 4, 5), np.float32)}
    found, scores = example.decode(maps)
    assert found.shape == (1, 20, 4) and scores.shape == (1, 20, 7) and (scores == 0.5).all()
    assert found[0, 2 * 5 + 3] == pytest.approx(16 * np.array([3.5 - 1, 2.5 - 2, 3.5 + 3, 2.5 + 0.5]), abs=1e-3)
    plain = np.zeros((1, 4, 4, 5), np.float32)
    plain[0, :, 2, 3] = 1, 2, 3, 0.5
    found, _ = example.decode({"boxes16": plain, "scores16": maps["scores16"]})
    assert found[0, 2 * 5 + 3] == pytest.approx(16 * np.array([2.5, 0.5, 6.5, 3]))


def test_a_picture_keeps_its_proportions(example: ModuleType, tmp_path: Path) -> None:
    Image.new("RGB", (90, 40), (200, 0, 0)).save(tmp_path / "x.png")
    pixels, scale, (left, above) = example.letterbox(tmp_path / "x.png", 64)
    assert pixels.shape == (1, 3, 32, 64) and scale == pytest.approx(64 / 90) and (left, above) == (0, 2)
    assert (pixels[0, :, 0, 0] == 114).all() and pixels[0, :, 16, 32].tolist() == [200, 0, 0]
    with pytest.raises(ValueError, match="multiple of 32, not 50"):
        example.letterbox(tmp_path / "x.png", 50)


def pictures(folder: Path, count: int) -> list[Path]:
    """Coloured rectangles."""
    generator, made = np.random.default_rng(0), []
    folder.mkdir()
    for index in range(count):
        pixels = np.full((72, 96, 3), 60, np.uint8)
        for _ in range(4):
            top, left = generator.integers(0, 50, 2)
            pixels[top : top + 30, left : left + 40] = generator.integers(0, 256, 3)
        made.append(folder / f"{index}.png")
        Image.fromarray(pixels).save(made[-1])
    return made


def seeded(compress: ModuleType, name: str) -> Any:
    """A detector whose scores are spread, as those of a trained one are."""
    detector = compress.detector_of(name)
    head = detector.model[-1]
    generator = torch.Generator().manual_seed(1)
    for kind in ("cv2", "cv3", "one2one_cv2", "one2one_cv3"):
        for branch in getattr(head, kind, None) or ():
            last = branch[-1]
            last.weight.data = torch.randn(last.weight.shape, generator=generator) * 0.3 / last.in_channels**0.5
            last.bias.data = torch.randn(last.bias.shape, generator=generator) - 1
    return detector


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_boxes_are_those_of_ultralytics(
    name: str, compress: ModuleType, example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.utils.nms import non_max_suppression

    detector = seeded(compress, name)
    maps = compress.Maps(detector).eval()
    path = pictures(tmp_path / "p", 1)[0]
    pixels, scale, around = example.letterbox(path, SIZE)
    images = torch.from_numpy(pixels).float() / 255
    head = detector.model[-1]
    head.xyxy = True
    with torch.no_grad():
        preds = detector(images)[1]
        preds = preds.get("one2one", preds)
        wanted = head._inference(preds)
    network = niwaki.compile(maps, (images,), threads=1)
    assert not network.plan.torch, network.plan
    boxes, scores = example.decode({key: value.numpy() for key, value in network(images).items()})
    assert np.allclose(boxes.transpose(0, 2, 1), wanted[:, :4], atol=2e-2 * SIZE / 100)
    assert np.allclose(scores.transpose(0, 2, 1), wanted[:, 4:], atol=1e-3)

    head.xyxy = False
    mine = example.detect(lambda x: {k: v.numpy() for k, v in network(torch.from_numpy(x).float() / 255).items()},
                          path, size=SIZE, sure=0.6, overlap=0.5)  # fmt: skip
    assert (scale, around) == (1, (0, 12))
    if name == "yolo26n.yaml":
        return  # its own answers are those of the other heads
    monkeypatch.delitem(sys.modules, "torchvision")  # whose own function is not there beside a torch of another build
    with torch.no_grad():
        (rows,) = non_max_suppression(detector(images), conf_thres=0.6, iou_thres=0.5, max_det=300)
    assert len(mine) == len(rows) > 5
    for found, row in zip(mine, rows.numpy(), strict=True):
        assert found.kind == int(row[5]) and found.score == pytest.approx(row[4], abs=1e-3)
        assert found.box == pytest.approx(row[:4] - [0, 12, 0, 12], abs=0.05)


@pytest.mark.filterwarnings("default")
def test_a_file_in_int8_detects_without_torch(
    compress: ModuleType, example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """Noise for weights makes much of every error: 8 bits are compared with a step of the pixels."""
    detector = seeded(compress, "yolo11n.yaml")
    monkeypatch.setattr(compress, "detector_of", lambda model: detector)
    file = tmp_path / "y.niwaki"
    compress.main(["yolo11n.yaml", "--count", "8", "--size", str(SIZE), "-o", str(file)])
    assert f"{file}: " in capsys.readouterr().out
    network = niwaki.load(file, threads=1)
    assert sum(step.op == "conv2d" and step.scheme.endswith("int8") for step in network.plan) > 70
    pixels = torch.randint(0, 256, (1, 3, SIZE, SIZE), dtype=torch.uint8)
    maps, images = compress.Maps(detector).eval(), pixels.float() / 255
    with torch.no_grad():
        plain, moved = maps(images), maps(images + torch.randn(images.shape) / 255)
    found = network(pixels.numpy())
    for key, value in plain.items():
        assert isinstance(found[key], np.ndarray)
        wrong = np.abs(found[key] - value.numpy()).mean() / float((moved[key] - value).abs().mean())
        assert wrong < 5, f"{key}: {wrong:.1f} times what a step of the pixels does"
    example.main([str(file), str(pictures(tmp_path / "p", 1)[0]), "--size", str(SIZE), "--sure", "0.6"])
    assert "class " in capsys.readouterr().out
