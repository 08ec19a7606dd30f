"""Puts a Python for 64-bit Arm, with numpy, into a folder, where QEMU runs it; nothing is installed:

    python tests/wheel/arm_python.py build/arm-python
    qemu-aarch64-static -L build/arm-python build/arm-python/usr/bin/python3.11 -c 'import numpy'

It is Debian's, which apt-get brings from where this machine's packages come from, and numpy is PyPI's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES = [
    f"python{VERSION}-minimal", f"libpython{VERSION}-minimal", f"libpython{VERSION}-stdlib",
    "libc6", "libgcc-s1", "libstdc++6", "libexpat1", "zlib1g", "libffi8",
]  # fmt: skip
PLATFORMS = ["manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64"]


def packages(target: Path, scratch: Path) -> None:
    """Unpacks Debian's packages. apt-get works in a folder of its own: this system's lists stay as they are."""
    lists, cache, debs = scratch / "lists", scratch / "cache", scratch / "debs"
    for folder in (lists / "partial", cache / "archives" / "partial", debs):
        folder.mkdir(parents=True)
    apt = ["apt-get", "-qq", "-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}",
           "-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64", "-o", "APT::Sandbox::User="]  # fmt: skip
    subprocess.run([*apt, "update"], check=True)
    subprocess.run([*apt, "download", *PACKAGES], check=True, cwd=debs)
    for deb in sorted(debs.iterdir()):
        subprocess.run(["dpkg", "-x", str(deb), str(target)], check=True)


def numpy(target: Path, scratch: Path) -> None:
    """Unpacks numpy to where that Python looks for modules."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "numpy"]
    where = ["--python-version", VERSION, "--dest", str(scratch)]
    subprocess.run([*command, *where, *(f"--platform={each}" for each in PLATFORMS)], check=True)
    (wheel,) = scratch.glob("numpy-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(modules(target))


def modules(target: Path) -> Path:
    """Where modules are put."""
    return target / "usr" / "local" / "lib" / f"python{VERSION}" / "dist-packages"


def main() -> None:
    """Makes the folder; it appears complete or not at all."""
    target = Path(sys.argv[1]).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        scratch, made = Path(name), Path(name) / "made"
        made.mkdir()
        packages(made, scratch)
        numpy(made, scratch)
        os.replace(made, target)
    print(target / "usr" / "bin" / f"python{VERSION}")


if __name__ == "__main__":
    main()
