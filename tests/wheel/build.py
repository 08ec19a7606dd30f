"""Builds wheels for the Python that runs this, for Linux on x86-64 or, with g++-aarch64-linux-gnu, on 64-bit Arm:

    python tests/wheel/build.py FOLDER [x86_64] [aarch64]

Then auditwheel, where it is installed, says which systems each is for, and the wheel's name says so from then on
(manylinux). A wheel for Arm is built beside the tests for Arm, in build/aarch64, and runs under QEMU with a Python for
Arm (tests/wheel/arm_python.py). The headers of Python are this machine's: of what they say, nothing that an extension
uses differs between the two.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BUILD = """
import sys, scikit_build_core.build
settings = dict(each.split("=", 1) for each in sys.argv[2:])
print(scikit_build_core.build.build_wheel(sys.argv[1], settings))
"""


def build(folder: Path, machine: str) -> Path:
    """Builds a wheel into a folder.

    Args:
        folder: where it goes.
        machine: x86_64 or aarch64; another one than this takes its cross compiler.

    Returns:
        Its path.
    """
    settings = {"build-dir": str(ROOT / "build" / "wheel")}
    environment = dict(os.environ)
    if machine != platform.machine():
        suffix = sysconfig.get_config_var("EXT_SUFFIX").replace(platform.machine(), machine)
        environment |= {"_PYTHON_HOST_PLATFORM": f"linux-{machine}", "SETUPTOOLS_EXT_SUFFIX": suffix}
        settings = {
            "build-dir": str(ROOT / "build" / machine),
            "cmake.toolchain-file": str(ROOT / "cmake" / f"{machine}-linux-gnu.cmake"),
            "cmake.define.PYBIND11_USE_CROSSCOMPILING": "ON",  # ask no Python for Arm what its modules are called
        }
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-c",
        _BUILD,
        str(folder.resolve()),
        *(f"{key}={value}" for key, value in settings.items()),
    ]
    run = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"the wheel for {machine} was not built:\n{run.stdout}")
    return folder / run.stdout.splitlines()[-1]


def systems(wheel: Path) -> str | None:
    """The oldest manylinux that a wheel runs on, as auditwheel finds it; None where it is not installed."""
    if importlib.util.find_spec("auditwheel") is None:
        return None
    run = subprocess.run([sys.executable, "-m", "auditwheel", "show", str(wheel)], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"auditwheel refuses {wheel.name}:\n{run.stdout}{run.stderr}")
    found = re.search(r'following platform tag:\s*"?(\w+)', run.stdout)
    if found is None:
        raise SystemExit(f"auditwheel says nothing of {wheel.name}:\n{run.stdout}")
    return found[1]


def named(wheel: Path, tag: str) -> Path:
    """The wheel under the name of the systems that it is for."""
    command = [sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", tag, str(wheel)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return wheel.with_name(run.stdout.splitlines()[-1].strip())


def main() -> None:
    """Builds the wheels that are asked for, and says what they are."""
    folder, *machines = sys.argv[1:]
    for machine in machines or [platform.machine()]:
        wheel = build(Path(folder), machine)
        tag = systems(wheel)
        if tag is None:
            print(f"{wheel}: for which systems it is, auditwheel would say, which is not installed")
            continue
        if tag not in wheel.name:
            wheel = named(wheel, tag)
        print(f"{wheel}: {wheel.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
