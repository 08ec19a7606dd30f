"""The package as it is installed: its files, its version, its entry point, and no dependency that is not declared."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy
import pybind11
import pytest
import torch
from lowering import compiled

import niwaki
from niwaki import _core
from niwaki._compat import import_torchvision

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


MOST_OF_NIWAKI = 9_000_000  # with bytecode; numpy is 55 MB without
"""Bytes that a wheel takes where it is installed; numpy takes about 60 MB besides."""


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
    lines = [*project["project"]["dependencies"], *(line for name in extras if name != "test" for line in extras[name])]
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


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", str(root)]
    settings = ["--config-settings=build-dir=" + str(root / "build" / "wheel"), "--wheel-dir", str(folder)]
    run = subprocess.run([*command, *settings], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_wheel(root: Path, wheel: Path) -> None:
    """A wheel holds the Python files, the native module and the licence, nothing else; its version is the package's."""
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        path.relative_to(root / "python").as_posix()
        for path in (root / "python" / "niwaki").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    }
    assert {"niwaki/py.typed", "niwaki/_core.pyi"} <= sources <= names
    rest = {name for name in names - sources if ".dist-info/" not in name}
    assert len(rest) == 1 and rest.pop().startswith("niwaki/_core."), (
        "beside the sources there is the native module only"
    )
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.name.startswith(f"niwaki-{niwaki.__version__}-cp{sys.version_info.major}{sys.version_info.minor}-")


def test_wheel_in_an_empty_environment(root: Path, wheel: Path, tmp_path: Path) -> None:
    """Installed where there was nothing, it compresses, saves, loads and runs. Its dependencies are lent."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    where = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True
    )
    lent = [path for path in sys.path if Path(path).name == "site-packages"]
    (Path(where.stdout.strip()) / "lent.pth").write_text("\n".join(lent), encoding="utf-8")
    check = subprocess.run(
        [python, "-I", str(root / "tests" / "wheel" / "check.py"), str(tmp_path / "env")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert check.returncode == 0, check.stderr
    assert check.stdout.splitlines()[-1] == f"niwaki {niwaki.__version__} works here"


def packed(name: str, folder: Path) -> Path:
    """The wheel that an installed package came from, made of its files again."""
    there = importlib.metadata.distribution(name)
    words = there.read_text("WHEEL")
    if not there.files or words is None:
        pytest.skip(f"{name} was not installed from a wheel, which this makes again of its files: pip install {name}")
    tag = re.findall(r"^Tag: (.+)$", words, re.MULTILINE)[0]
    path, added = folder / f"{name}-{there.version}-{tag}.whl", {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
    records = []
    with zipfile.ZipFile(path, "w") as archive:
        for file in there.files:
            ours = not file.parts[0].startswith(("..", "/")) and "__pycache__" not in file.parts
            if ours and not (file.parent.suffix == ".dist-info" and file.name in added):
                archive.write(str(file.locate()), file.as_posix())
                records.append(f"{file.as_posix()},,\n")
        archive.writestr(f"{name}-{there.version}.dist-info/RECORD", "".join(records))
    return path


def test_pip_install_from_an_index(root: Path, wheel: Path, tmp_path: Path) -> None:
    """`pip install niwaki` where nothing is: it brings numpy and nothing else, loads a file and runs it, soon."""
    for path in (wheel, packed("numpy", tmp_path)):
        page = tmp_path / "simple" / path.name.partition("-")[0] / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text(f'<a href="{path.as_uri()}">{path.name}</a>', encoding="utf-8")
    x = numpy.linspace(-2, 2, 2 * 3 * 16 * 12, dtype=numpy.float32).reshape(2, 3, 16, 12)
    layers = (torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
    net = compiled(torch.nn.Sequential(*layers), torch.from_numpy(x))
    net.save(tmp_path / "net.niwaki")
    env = tmp_path / "env"
    venv.create(env, with_pip=False)
    python = env / ("Scripts" if os.name == "nt" else "bin") / "python"
    before = sum(os.times()[2:4])
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "--python", str(python), "install"]
    index = ["--quiet", "--no-cache-dir", "--index-url", (tmp_path / "simple").as_uri()]
    run = subprocess.run([*pip, *index, "niwaki"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (packages,) = env.glob("lib/python*/site-packages") if os.name != "nt" else [env / "Lib" / "site-packages"]
    assert {path.name.partition("-")[0] for path in packages.iterdir()} <= {"niwaki", "numpy", "numpy.libs"}
    check = subprocess.run(
        [python, "-I", str(root / "tests" / "wheel" / "run.py"), str(env), str(tmp_path / "net.niwaki")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert check.returncode == 0, check.stderr
    assert check.stdout.splitlines()[-1] == f"niwaki {niwaki.__version__} runs here: {net(x).ravel()[:4].tolist()}"
    assert sum(os.times()[2:4]) - before < 30, "seconds of the processor: installing, loading and running"
    own = [path for folder in packages.glob("niwaki*") for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in own) < MOST_OF_NIWAKI


def sdist(folder: Path, made: Path) -> dict[str, bytes]:
    """The files of the archive of sources that is made in a folder, unpacked into another."""
    code = "import sys, scikit_build_core.build as build; print(build.build_sdist(sys.argv[1]))"
    run = subprocess.run([sys.executable, "-c", code, str(made)], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    with tarfile.open(made / run.stdout.splitlines()[-1]) as archive:
        archive.extractall(made, filter="data")
    (top,) = (path for path in made.iterdir() if path.is_dir())
    return {file.relative_to(top).as_posix(): file.read_bytes() for file in top.rglob("*") if file.is_file()}


def test_sources_in_a_folder_without_git(root: Path, tmp_path: Path) -> None:
    """They are complete, they are the same again where they were unpacked, and CMake finds all that it wants there."""
    for name in ("first", "second", "build"):
        (tmp_path / name).mkdir()
    files = sdist(root, tmp_path / "first")
    kinds = {
        ".cc",
        ".h",
        ".hpp",
        ".inc",
        ".map",
        ".in",
        ".cmake",
        ".py",
        ".pyi",
        ".typed",
        ".yaml",
        ".css",
        ".js",
        ".j2",
    }
    needed = [path for each in ("csrc", "cmake", "include", "python") for path in (root / each).rglob("*.*")]
    wanted = {path.relative_to(root).as_posix() for path in needed if path.suffix in kinds}
    assert len(wanted) > 500 and sorted(wanted - set(files)) == []
    assert {"CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= set(files)
    assert [name for name in files if name.endswith(".so") or name.startswith(("build/", ".venv/", ".git/"))] == []
    unpacked = tmp_path / "first" / f"niwaki-{niwaki.__version__}"
    assert sdist(unpacked, tmp_path / "second") == files
    command = ["cmake", "-S", str(unpacked), "-B", str(tmp_path / "build"), "-DNIWAKI_PYTHON=ON", "-DNIWAKI_TESTS=OFF"]
    where = [f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", f"-DPython_EXECUTABLE={sys.executable}"]
    run = subprocess.run([*command, *where], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_cibuildwheel_builds_for_the_pythons_that_are_declared(project: dict) -> None:
    oldest = project["project"]["requires-python"].removeprefix(">=3.")
    assert project["tool"]["cibuildwheel"]["build"][0] == f"cp3{oldest}-*"


def test_torchvision_beside_any_torch() -> None:
    torchvision = import_torchvision()
    assert torchvision.models.resnet18().fc.out_features == 1000
    assert import_torchvision() is torchvision
    timm = pytest.importorskip("timm", reason="needs timm, which imports torchvision")
    assert timm.create_model("resnet18", num_classes=7).fc.out_features == 7
