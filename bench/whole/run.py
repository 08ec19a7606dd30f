"""Whole networks of torch, torchvision, timm and transformers through niwaki; writes docs/networks.md.

    python bench/whole/run.py                      all that the results do not have yet: hours on two cores
    python bench/whole/run.py --only transformers  those whose names begin so
    python bench/whole/run.py --page               write the page of what is there

Each network runs in a process of its own. Results are lines of JSON, one for each network: --results. Needs
torchvision, timm and transformers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from whole import page
from whole.check import check
from whole.models import GROUPS, families

ROOT = Path(__file__).resolve().parents[2]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; argparse ends the program where they are wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAME", help="networks whose names begin so")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "networks.jsonl", metavar="FILE")
    parser.add_argument("--seconds", type=int, default=600, metavar="N", help="for one network (default: 600)")
    parser.add_argument("--page", action="store_true", help="check nothing: write the page")
    return parser.parse_args(arguments)


def checked(name: str, seconds: int) -> dict[str, Any]:
    """What a process of its own finds out about a network."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=_child, args=(name, sender))
    process.start()
    sender.close()
    try:
        row = receiver.recv() if receiver.poll(seconds) else {"failed": f"took more than {seconds} s"}
    except EOFError:
        row = {"failed": "its process ended"}
    process.kill()
    process.join()
    return {"name": name, **row}


def _child(name: str, sender: Connection) -> None:
    try:
        sender.send(check(name))
    except Exception as problem:  # of whatever kind: it is what was found
        sender.send({"failed": f"{type(problem).__name__}: {problem}"})


def main() -> None:
    options = parse_arguments()
    rows = page.read(options.results)
    if not options.page:
        options.results.parent.mkdir(parents=True, exist_ok=True)
        names = [f"{group}/{name}" for group, (_, members) in GROUPS.items() for name in members] + families()
        for name in names:
            if name in rows or not name.startswith(options.only):
                continue
            rows[name] = checked(name, options.seconds)
            with options.results.open("a") as file:
                file.write(json.dumps(rows[name]) + "\n")
            print(name, rows[name].get("failed") or page.verdict(rows[name]), flush=True)
    page.write(rows, ROOT / "docs" / "networks.md")


if __name__ == "__main__":
    main()
