"""Pictures of every kind become the pixels that a network sees, or are refused: never white in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from niwaki.cli import main
from niwaki.cli.calibration import CalibrationConfig, load_calibration
from niwaki.cli.console import UsageError
from niwaki.prediction import picture
from niwaki.prediction.picture import read_picture

GREY = (np.arange(48 * 64, dtype=np.uint32).reshape(48, 64) * 21 % 65536).astype(np.uint16)
"""Grey pixels of 16 bits."""


def read(path: Path, channels: int = 3) -> np.ndarray:
    return read_picture(path, (32, 32), 40, channels)


def as_portable(path: Path) -> None:
    path.write_bytes(b"P5 64 48 65535\n" + GREY.astype(">u2").tobytes())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["g.png", "g.tif", "big.tif", "g.ppm"])
def test_of_16_bits_the_upper_8_count(name: str, channels: int, tmp_path: Path) -> None:
    """Pillow alone cuts them off at 255, so that nearly all is white."""
    Image.fromarray((GREY >> 8).astype(np.uint8)).save(tmp_path / "bytes.png")
    if name == "g.ppm":
        as_portable(tmp_path / name)
    elif name == "big.tif":
        Image.frombytes("I;16B", (64, 48), GREY.astype(">u2").tobytes()).save(tmp_path / name)
    else:
        Image.fromarray(GREY).save(tmp_path / name)
    found = read(tmp_path / name, channels)
    assert found.mean() < 200 and (found == read(tmp_path / "bytes.png", channels)).all()


def test_pixels_whose_white_nobody_knows_are_refused(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.int32)).save(tmp_path / "i.tif")
    Image.fromarray((GREY / 65535).astype(np.float32)).save(tmp_path / "f.tif")
    for name, what in (("i.tif", "whole numbers of 32 bits"), ("f.tif", "floating-point numbers")):
        with pytest.raises(ValueError, match=f"^its pixels are {what}, of which nobody knows what is white; save it"):
            read(tmp_path / name)


def test_grey_pictures_and_palettes_are_colours_too(tmp_path: Path) -> None:
    grey = Image.fromarray((GREY >> 8).astype(np.uint8))
    for kind in ("L", "P", "LA", "RGBA", "RGB"):
        grey.convert(kind).save(tmp_path / f"{kind}.png")
        assert (read(tmp_path / f"{kind}.png") == read(tmp_path / "L.png")).all(), kind
        assert (read(tmp_path / f"{kind}.png", 1)[0] == read(tmp_path / "L.png")[0]).all(), kind


def test_a_strip_that_would_take_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (900, 3)).save(tmp_path / "strip.png")
    assert read(tmp_path / "strip.png").shape == (3, 32, 32)
    monkeypatch.setattr(picture, "LARGEST", 40 * 12_000 - 1)
    with pytest.raises(
        ValueError, match=r"^it is 900 x 3 pixels, too long for a shorter side of 40; cut it into parts"
    ):
        read(tmp_path / "strip.png")


def test_all_pictures_that_cannot_calibrate_are_named(tmp_path: Path) -> None:
    """Not the first alone: one would have to look for the others one by one."""
    for name in "abcdef":
        Image.new("RGB", (40, 40)).save(tmp_path / f"{name}.png")
    assert len(load_calibration(CalibrationConfig(str(tmp_path), size=(32, 32)))[0]) == 6
    for name in "bcde":
        (tmp_path / f"{name}.png").write_bytes(b"broken")
    with pytest.raises(UsageError, match=r"4 of 6 images cannot be used.*b\.png': it is not a readable .*; and 1 more"):
        load_calibration(CalibrationConfig(str(tmp_path), size=(32, 32)))


def test_a_network_for_other_channels_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not that its code could not be captured."""
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    (tmp_path / "net.py").write_text("import torch\n\ndef make():\n    return torch.nn.Conv2d(1, 4, 3)\n")
    options = ["--calibration", str(tmp_path), "--input-size", "32", "-o", str(tmp_path / "x.niwaki")]
    assert main(["compress", f"{tmp_path / 'net.py'}:make", *options]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "cannot be run with the calibration inputs, [1, 3, 32, 32]: " in said and "--mean 0.5 --std 0.5" in said
