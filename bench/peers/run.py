"""niwaki beside ONNX Runtime, OpenVINO, DeepSparse and torch: makes their environments and model files, times all of
them turn and turn about, and prints the table of docs/comparison.md.

    python bench/peers/run.py                                        everything: half an hour on two cores, after set-up
    python bench/peers/run.py --cases resnet50-block85 --settings 1x1 --rounds 3
    python bench/peers/run.py --add --cases resnet18-dense            measure some rows again, keep the others
    python bench/peers/run.py --render --readme docs/comparison.md    write the table of the last run into a file;
                                                                     docs/make_speed.py then draws README.md's picture

Environments (about 3 GB, less with a CPU build of torch) and model files are kept in a folder of the user's cache;
$NIWAKI_PEERS or --cache names another. An engine that cannot be installed here is left out, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers import environments, picture, table
from peers.cases import CASES, ENGINES, SETTINGS, Case, Setting
from peers.turns import EngineError, Place, compare

ROOT = Path(__file__).resolve().parents[2]
console = Console(stderr=True)
_WIDE = 180  # characters of the table where no terminal says how many there are


def checked(parse):
    """`parse` for argparse, which shows the message of its own kind of error only."""

    def convert(text: str):
        try:
            parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return convert


def count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; argparse ends the program where they are wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", type=checked(Case.parse), default=CASES, metavar="CASE")
    parser.add_argument(
        "--settings",
        nargs="+",
        type=checked(Setting.parse),
        default=[f"{setting.images}x{setting.threads}" for setting in SETTINGS],
        metavar="BATCHxTHREADS",
    )
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES), help="niwaki always takes part")
    parser.add_argument("--rounds", type=count, default=7, metavar="N", help="turns of each engine (default: 7)")
    parser.add_argument("--size", type=count, default=224, metavar="N", help="of images (default: 224)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "peers", metavar="FOLDER")
    parser.add_argument("--cache", type=Path, default=environments.default_cache(), metavar="FOLDER")
    parser.add_argument("--add", action="store_true", help="keep the rows of the last run that are not measured now")
    parser.add_argument("--render", action="store_true", help="measure nothing: show the last run again")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="put the table between its marks in this file, too")
    return parser.parse_args(arguments)


def prepare(engines: list[str], cases: list[str], size: int, cache: Path) -> tuple[Place, dict[str, str]]:
    """Environments and model files. Returns where the engines are, and why others are not."""
    pythons = {"niwaki": Path(sys.executable)}
    missing: dict[str, str] = {}
    homes = dict.fromkeys(environments.HOMES[engine] for engine in engines if engine in environments.HOMES)
    if any(engine in engines for engine in ("onnxruntime", "openvino", "deepsparse")):
        homes = {"torch": None, **homes}  # it makes the ONNX files of the others
    made: dict[str, Path] = {}
    failed: dict[str, str] = {}
    for home in homes:
        with console.status(f"environment '{home}' (minutes, the first time) ..."):
            try:
                made[home] = environments.make(home, cache)
            except environments.MissingError as error:
                failed[home] = str(error)
    sources = [environments.HERE / name for name in ("export.py", "networks.py", "cases.py")]
    sources.append(environments.HERE.parent / "whole" / "own.py")
    pinned = environments.requirement_files(environments.REQUIREMENTS / "torch.txt")
    models = cache / f"models-{size}-{environments.digest(*sources, *pinned)}"
    models.mkdir(parents=True, exist_ok=True)
    problem = failed.get("torch", "")
    onnx_engines = [engine for engine in engines if engine in ("onnxruntime", "openvino", "deepsparse")]
    if "torch" in made and onnx_engines:
        problem = _export(made["torch"], models, size, cases)
    for engine in engines:
        home = environments.HOMES.get(engine)
        if home in failed:
            missing[engine] = failed[home]
        elif engine in onnx_engines and problem:
            missing[engine] = problem
        elif home is not None:
            pythons[engine] = made[home]
    return Place(pythons, models, cache / "logs", size), missing


def _export(python: Path, models: Path, size: int, cases: list[str]) -> str:
    """Writes the ONNX files. Returns what went wrong, or nothing."""
    wanted = dict.fromkeys(name for case in cases for name in (case, Case.parse(case).dense_twin))
    command = [str(python), "-m", "peers.export", str(models), str(size), *wanted]
    with console.status("model files (a minute or two, the first time) ..."):
        result = subprocess.run(
            command, capture_output=True, text=True, env=environments.worker_environment("export"), check=False
        )
    if result.returncode == 0:
        return ""
    return "the ONNX files could not be made: " + (result.stderr.strip().splitlines() or ["no message"])[-1]


def machine() -> dict:
    """What the times depend on."""
    from niwaki import _core

    return {
        "cpu": _core.cpu_name(),
        "cores": os.cpu_count(),
        "isa": _core.isa(),
        "gmacs_limit": round(_core.int8_limit(0.2) * 1e-9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def measure(options: argparse.Namespace, file: Path) -> dict:
    """Times everything that was asked for; what is done is in the file after each row."""
    engines = [engine for engine in ENGINES if engine == "niwaki" or engine in options.engines]
    place, missing = prepare(engines, list(options.cases), options.size, options.cache)
    result = {"machine": machine(), "size": options.size, "versions": {}, "missing": missing, "rows": []}
    old = json.loads(file.read_text(encoding="utf-8")) if options.add and file.exists() else None
    if old is not None and (old["machine"]["cpu"], old["size"]) != (result["machine"]["cpu"], options.size):
        sys.exit(f"{file}: it is from another machine or image size, so rows can't be added; run without --add.")
    kept = old["rows"] if old else []
    if old:
        result["versions"] = old["versions"]
    settings = [Setting.parse(text) for text in options.settings]
    pairs = [(case, setting) for case in options.cases for setting in settings]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    done: list[dict] = []
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=len(pairs) * options.rounds)
        for case, setting in pairs:
            progress.update(task, description=f"{case}, batch {setting.images}, threads {setting.threads}")
            row = compare(case, setting, list(place.pythons), options.rounds, place, lambda: progress.advance(task))
            result["versions"].update(row.pop("versions"))
            done.append(row)
            result["rows"] = table.merge(kept, done)
            write(file, json.dumps(result, indent=1) + "\n")
    return result


def write(path: Path, text: str) -> None:
    """Writes a file that appears complete or not at all."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)


def main(arguments: list[str] | None = None) -> None:
    """Measures, prints, writes."""
    options = parse_arguments(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "peers.json"
    if options.render:
        if not file.exists():
            sys.exit(f"{file}: there is no last run to show; run without --render first.")
        result = json.loads(file.read_text(encoding="utf-8"))
    else:
        try:
            result = measure(options, file)
        except EngineError as error:
            sys.exit(f"{error}.")
    text = table.markdown(result)
    write(options.output / "peers.md", text)
    picture.draw(result, options.output / "peers.png")
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table.terminal(result))
    if not sys.stdout.isatty():
        print(text)
    if options.readme:
        try:
            write(options.readme, table.put_into(options.readme.read_text(encoding="utf-8"), text))
        except (OSError, ValueError) as error:
            sys.exit(f"{options.readme}: the table was not put there: {error}")
    console.print(f"Written: {file}, peers.md, peers.png in {options.output}")


if __name__ == "__main__":
    main()
