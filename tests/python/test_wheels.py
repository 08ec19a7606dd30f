"""Wheels that tests/wheel/build.py makes: for old enough systems, and one for 64-bit Arm, which runs under QEMU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import niwaki

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def built(root: Path) -> Callable[[str], Path]:
    """The wheel of `make wheels` for a machine."""

    def find(machine: str) -> Path:
        name = f"niwaki-{niwaki.__version__}-cp{VERSION.replace('.', '')}-*{machine}.whl"
        wheels = sorted((root / "build" / "wheels").glob(name))
        if not wheels:
            pytest.skip(f"needs a wheel for {machine} in build/wheels, which takes minutes: make wheels")
        return wheels[-1]

    return find


@pytest.fixture(scope="module")
def script(root: Path, import_file: Callable[[Path], ModuleType]) -> ModuleType:
    return import_file(root / "tests" / "wheel" / "build.py")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_it_is_for_systems_of_2022_and_later(machine: str, built: Callable[[str], Path], script: ModuleType) -> None:
    """glibc 2.35: Ubuntu 22.04, Debian 12."""
    pytest.importorskip("auditwheel", reason="auditwheel is not installed: pip install auditwheel")
    tag = script.systems(built(machine))
    kind, major, minor, *rest = tag.split("_")
    assert kind == "manylinux" and "_".join(rest) == machine and (int(major), int(minor)) <= (2, 35)
    assert tag in built(machine).name


def test_the_wheel_for_arm_answers_to_the_bit_under_qemu(
    root: Path, built: Callable[[str], Path], tmp_path: Path
) -> None:
    emulator, arm = shutil.which("qemu-aarch64-static"), root / "build" / "arm-python"
    if emulator is None:
        pytest.skip("needs qemu-user-static to run Arm's programs: see docs/arm.md")
    if not (arm / "usr" / "bin" / f"python{VERSION}").exists():
        pytest.skip("needs a Python for Arm in build/arm-python: python tests/wheel/arm_python.py build/arm-python")
    with zipfile.ZipFile(built("aarch64")) as archive:
        modules = [name for name in archive.namelist() if name.endswith(".so")]
        assert modules == [f"niwaki/_core.cpython-{VERSION.replace('.', '')}-aarch64-linux-gnu.so"]
        assert (
            "Root-Is-Purelib: false"
            in archive.read(next(name for name in archive.namelist() if name.endswith("/WHEEL"))).decode()
        )
        archive.extractall(tmp_path / "site")
    layers = (nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.Flatten(), nn.Linear(8 * 12 * 8, 5))
    images = torch.rand(4, 3, 16, 12)
    small, _ = niwaki.compress(nn.Sequential(*layers).eval(), [images], sparsity=0.5, progress=False)
    niwaki.compile(small, (images,)).save(tmp_path / "net.niwaki")
    command = [str(root / "tests" / "wheel" / "arm.py"), str(tmp_path / "net.niwaki")]
    here = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "QEMU_CPU": "max"}
    python = [emulator, "-L", str(arm), str(arm / "usr" / "bin" / f"python{VERSION}")]
    there = subprocess.run([*python, *command], capture_output=True, text=True, check=False, env=environment)
    assert there.returncode == 0, there.stderr
    machine, isa, version, answer = there.stdout.split()
    assert (machine, isa, version) == ("aarch64", "i8mm", niwaki.__version__)
    assert answer == here.stdout.split()[-1] and len(answer) == 2 * 4 * 10
