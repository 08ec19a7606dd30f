"""`niwaki inspect`: what is in a .niwaki file, without running it."""

from __future__ import annotations

import argparse
import json
from typing import Any

EXAMPLES = """\
examples:
  niwaki inspect resnet50.niwaki
  niwaki inspect resnet50.niwaki --tensors
  niwaki inspect resnet50.niwaki --wide | less -S           nothing is left out, however long lines become
  niwaki inspect resnet50.niwaki --json | python -m json.tool
"""


def add_parser(commands: Any) -> None:
    """Adds the command to the `niwaki` parser."""
    parser = commands.add_parser(
        "inspect",
        help="show the graph, layers, sizes and checksums of a .niwaki file",
        description="Show what a .niwaki file holds: inputs, outputs, layers and what feeds them, sizes, zeros and "
        "checksums, which are verified. Nothing is run.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("file", metavar="FILE", help="a .niwaki file")
    parser.add_argument("--tensors", action="store_true", help="list every tensor: place, size and checksum")
    parser.add_argument(
        "--wide", action="store_true", help="whole names and all columns (default: what fits 80 characters)"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Does what `niwaki inspect` says."""
    import niwaki

    content = niwaki.inspect(arguments.file)
    if arguments.json:
        print(json.dumps(content.to_dict(), indent=2))
    else:
        from niwaki.runtime.narrow import WIDTH

        width = None if arguments.wide else WIDTH
        print(content.tensors(width) if arguments.tensors else content.table(width))
