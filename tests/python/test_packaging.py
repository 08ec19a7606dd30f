"""The package as it is installed: its files, its version, its entry point, and no dependency that is not declared."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import niwaki
from niwaki import _core
from niwaki._compat import import_torchvision

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(scope="module")
def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def test_one_version(root: Path) -> None:
    assert niwaki.__version__ == _core.__version__ == importlib.metadata.version("niwaki")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {niwaki.__version__}" in changelog


def test_entry_point() -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="niwaki")
    assert entry.load() is not None
    assert callable(entry.load())


def test_the_binding_has_what_its_stub_declares(root: Path) -> None:
    stub = ast.parse((root / "python" / "niwaki" / "_core.pyi").read_text(encoding="utf-8"))
    for node in stub.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            assert hasattr(_core, node.name), node.name
        if isinstance(node, ast.ClassDef):
            members = [item.name for item in node.body if isinstance(item, ast.FunctionDef)]
            assert [name for name in members if not hasattr(getattr(_core, node.name), name)] == [], node.name


def test_the_binding_needs_no_torch() -> None:
    """One build serves every torch release: the native module works in a process without torch."""
    code = (
        "import importlib.util, sys; spec = importlib.util.spec_from_file_location('_core', sys.argv[1]); "
        "core = importlib.util.module_from_spec(spec); spec.loader.exec_module(core); "
        "assert core.isa() in core.isas() and 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code, _core.__file__], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_imports_are_declared(root: Path, project: dict) -> None:
    """Every package that niwaki imports is a dependency, or an extra."""
    extras = project["project"]["optional-dependencies"]
    lines = [*project["project"]["dependencies"], *extras["report"], *extras["images"], *extras["channels"]]
    names = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in lines}  # type: ignore[index]
    declared = names | {"PIL", "yaml", "niwaki"}
    networks = {"torchvision", "timm"}  # only imported for a network that the caller named
    imported: dict[str, Path] = {}
    for path in (root / "python" / "niwaki").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported.update({alias.name.partition(".")[0]: path for alias in node.names})
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported[node.module.partition(".")[0]] = path
    strangers = {name: path for name, path in imported.items() if name not in sys.stdlib_module_names}
    assert {name: path for name, path in strangers.items() if name not in declared | networks} == {}


def test_wheel(root: Path, tmp_path: Path) -> None:
    """A wheel holds the Python files, the native module and the licence, and nothing else."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", str(root)]
    settings = ["--config-settings=build-dir=" + str(root / "build" / "wheel"), "--wheel-dir", str(tmp_path)]
    run = subprocess.run([*command, *settings], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        path.relative_to(root / "python").as_posix()
        for path in (root / "python" / "niwaki").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    }
    assert sources <= names
    rest = {name for name in names - sources if ".dist-info/" not in name}
    assert len(rest) == 1 and rest.pop().startswith("niwaki/_core."), (
        "beside the sources there is the native module only"
    )
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_torchvision_beside_any_torch() -> None:
    torchvision = import_torchvision()
    assert torchvision.models.resnet18().fc.out_features == 1000
    assert import_torchvision() is torchvision
    timm = pytest.importorskip("timm")
    assert timm.create_model("resnet18", num_classes=7).fc.out_features == 7
