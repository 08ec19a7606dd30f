"""Reads the command line and runs a command; errors become one sentence on stderr and exit code 2."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any

from niwaki._lazy import missing
from niwaki._version import __version__
from niwaki.cli import bench, compress, export, inspect, predict
from niwaki.cli.console import UsageError, numbers
from niwaki.errors import meant

DESCRIPTION = (
    "Make a trained PyTorch network small and fast on CPUs: prune it, quantize it, store it in one file, run it."
)
EXAMPLES = """\
examples:
  compress a network, three quarters of its weights pruned, into a file
    niwaki compress torchvision.models:resnet50 --weights w.safetensors --calibration images/ --sparsity 0.75 \\
      -o resnet50.niwaki
  see what is in the file, then how fast it runs on this machine
    niwaki inspect resnet50.niwaki
    niwaki bench resnet50.niwaki --batch 1 --threads 2 --layers
  the five best classes of each of a million images
    niwaki predict resnet50.niwaki images/ -o answers.parquet --top 5

'niwaki COMMAND --help' says more.
"""


class Parser(argparse.ArgumentParser):
    """A parser that says which option or command was meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, which takes the value of an option that it does not know for something else first."""
        words = list(sys.argv[1:] if args is None else args)
        groups = [each for each in self._actions if isinstance(each, argparse._SubParsersAction)]
        commands = [name for group in groups for name in group.choices]
        if commands:
            if words and not words[0].startswith("-") and words[0] not in commands:
                self.error(
                    f"there is no command '{words[0]}'{meant(words[0], commands)} There are {', '.join(commands)}."
                )
            return super().parse_known_args(args, namespace)
        words = _joined(words, {name for each in self._actions if each.type is numbers for name in each.option_strings})
        for word in words[: words.index("--") if "--" in words else None]:
            name, known = word.partition("=")[0], [*self._option_string_actions]
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                self.error(f"there is no option '{name}'{meant(name, known)} '{self.prog} --help' shows all.")
        return super().parse_known_args(words, namespace)


def _joined(words: list[str], options: set[str]) -> list[str]:
    """Numbers that follow one of these options with spaces between them, as one word with commas."""
    found: list[str] = []
    listing = False
    for word in words:
        number = bool(re.fullmatch(r"[-+]?[0-9.]+(?:e[-+]?[0-9]+)?", word))
        if listing and number and found[-1] not in options:
            found[-1] += f",{word}"
        else:
            found.append(word)
        listing = word in options or (listing and number)
    return found


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; `run` of what it returns is the command's function."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="niwaki", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"niwaki {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for command in (compress, inspect, bench, predict, export):
        command.add_parser(commands)
    return parser


def _expected_errors() -> tuple[type[Exception], ...]:
    """What a person can put right. Anything else is a defect of niwaki, and its traceback is wanted."""
    from niwaki._core import NiwakiError

    return (UsageError, NiwakiError, ValueError, TypeError, ImportError, OSError, MemoryError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0; 1 where the command says that a part of its work went wrong (`niwaki predict`: some inputs); 2
        for an error that was reported on stderr; 130 after Ctrl-C.
    """
    arguments = make_parser().parse_args(argv)
    try:
        code: int | None = arguments.run(arguments)
    except KeyboardInterrupt:
        folder = getattr(arguments, "checkpoint", None)
        kept = f"what is done lies in '{folder}', and the same command goes on" if folder else "nothing was written"
        print(f"niwaki: interrupted; {kept}.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `niwaki inspect file | head`
        sys.stderr.close()
        return 0
    except _expected_errors() as found:
        error = found
        if isinstance(found, ModuleNotFoundError):
            error = missing(f"'niwaki {arguments.command}'", found)
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"niwaki: error: {text}", file=sys.stderr)
        return 2
    return code or 0
