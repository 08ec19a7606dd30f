"""The engines' environments: one folder each, made once from pinned versions."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements"


class MissingError(Exception):
    """Why an engine cannot take part, in one sentence."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        requirements: the file with what is in it.
        without_dependencies: a file with what is installed without its dependencies, if any.
        newest: the newest Python 3 minor version that its packages have wheels for; None where any will do.
    """

    requirements: Path
    without_dependencies: Path | None = None
    newest: int | None = None


ENVIRONMENTS = {
    "torch": Environment(REQUIREMENTS / "torch.txt", REQUIREMENTS / "nodeps.txt"),
    "openvino": Environment(REQUIREMENTS / "openvino.txt"),
    "deepsparse": Environment(REQUIREMENTS / "deepsparse.txt", newest=11),
}

HOMES = {
    "onnxruntime": "torch",
    "openvino": "openvino",
    "deepsparse": "deepsparse",
    "torch-int8": "torch",
    "torch-fp32": "torch",
}
"""Which environment an engine lives in; niwaki lives in the one that runs the comparison."""


def default_cache() -> Path:
    """Where environments and model files are kept: $NIWAKI_PEERS, or a folder of the user's cache."""
    chosen = os.environ.get("NIWAKI_PEERS")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "niwaki-peers"


def digest(*paths: Path) -> str:
    """Changes when one of the files does."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:8]


def requirement_files(path: Path) -> list[Path]:
    """The file and those that it includes with -r."""
    files = [path]
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            files += requirement_files(path.parent / line[3:].strip())
    return files


def make(name: str, cache: Path) -> Path:
    """The Python of an environment, which is made if it is not there yet.

    Raises:
        MissingError: no Python that fits, or the packages could not be installed.
    """
    environment = ENVIRONMENTS[name]
    files = requirement_files(environment.requirements)
    if environment.without_dependencies:
        files.append(environment.without_dependencies)
    folder = cache / f"{name}-{digest(*files)}"
    python = folder / "bin" / "python"
    complete = folder / ".complete"
    if complete.exists():
        return python
    interpreter = _interpreter(environment)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([interpreter, "-m", "venv", str(folder)], name)
    install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    _run([*install, "--requirement", str(environment.requirements)], name)
    if environment.without_dependencies:
        _run([*install, "--no-deps", "--requirement", str(environment.without_dependencies)], name)
    complete.touch()
    return python


def _interpreter(environment: Environment) -> str:
    if environment.newest is None or sys.version_info[1] <= environment.newest:
        return sys.executable
    for minor in range(environment.newest, 7, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            return found
    raise MissingError(f"its wheels end at Python 3.{environment.newest}, and no python3.{environment.newest} is here")


def _run(command: list[str], name: str) -> None:
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    result = subprocess.run(command, capture_output=True, text=True, env=clean, check=False)
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines() or ["no message"]
        errors = [line for line in lines if line.startswith("ERROR:")] or lines
        raise MissingError(f"the environment '{name}' could not be made: {errors[-1].removeprefix('ERROR: ')}")


def worker_environment(engine: str) -> dict[str, str]:
    """Environment variables of an engine's process. The number of threads is set by the engine, not from outside."""
    dropped = {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONHOME"}
    variables = {key: value for key, value in os.environ.items() if key not in dropped}
    paths = [str(HERE.parent)]
    if engine == "niwaki" and variables.get("PYTHONPATH"):
        paths.append(variables["PYTHONPATH"])
    variables["PYTHONPATH"] = os.pathsep.join(paths)
    return variables
