"""Whole networks of torch, torchvision, timm and transformers through niwaki; writes docs/networks.md.

    python bench/whole/run.py                             all that have no result yet: hours on two cores
    python bench/whole/run.py --only torch/ timm/mixnet   those whose names begin so
    python bench/whole/run.py --before 2026-12-01         again, what was checked before that day
    python bench/whole/run.py --page                      write the page of what is there

Each network runs in a process of its own. Results are lines of JSON, one for each network, with the CPU time that it
took: --results. What the page says otherwise than before is printed with what it was. Needs torchvision, timm and
transformers.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import sys
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from whole import page, results
from whole.check import check
from whole.models import GROUPS, families
from whole.results import Row

ROOT = Path(__file__).resolve().parents[2]


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options; argparse ends the program where they are wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="networks whose names begin so")
    parser.add_argument("--before", default="", metavar="DAY", help="again, those checked before that day: 2026-12-01")
    parser.add_argument("--results", type=Path, default=Path(__file__).with_name("results.jsonl"), metavar="FILE")
    parser.add_argument("--seconds", type=int, default=600, metavar="N", help="for one network (default: 600)")
    parser.add_argument("--page", action="store_true", help="check nothing: write the page")
    return parser.parse_args(arguments)


def wanted(rows: Mapping[str, Row], only: list[str], before: str) -> list[str]:
    """The networks to check: those without a result, and those whose result is older.

    Families have been listed where there are results of some: to list them makes hundreds of networks.
    """
    names = [f"{group}/{name}" for group, (_, members) in GROUPS.items() for name in members]
    listed = [name for name in rows if name.startswith("family/")]
    if not listed and any(each[:7] == "family/"[: len(each)] for each in only or [""]):
        listed = families()
    names += listed
    return [
        name
        for name in names
        if name.startswith(tuple(only or [""])) and (name not in rows or rows[name].get("checked", "") < before)
    ]


def checked(name: str, seconds: int) -> Row:
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
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return {"name": name, "checked": today.isoformat(), **row}


def _child(name: str, sender: Connection) -> None:
    try:
        sender.send({**check(name), "cpu_seconds": time.process_time()})
    except Exception as problem:  # of whatever kind: it is what was found
        sender.send({"failed": f"{type(problem).__name__}: {problem}"})


def main() -> None:
    options = parse_arguments()
    rows = results.read(options.results)
    for name in [] if options.page else wanted(rows, options.only, options.before):
        was = page.summary(rows[name]) if name in rows else ""
        rows = results.add(options.results, checked(name, options.seconds))
        found = page.summary(rows[name])
        print(name, found, f"(was: {was})" if was not in ("", found) else "", flush=True)
    page.write(rows, ROOT / "docs" / "networks.md")


if __name__ == "__main__":
    main()
