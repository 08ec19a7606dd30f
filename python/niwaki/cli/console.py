"""What the commands share: errors that need no traceback, and notes on stderr."""

from __future__ import annotations

import argparse
import sys


class UsageError(Exception):
    """Something that the person at the shell can put right; the text is one sentence that says how."""


def note(text: str) -> None:
    """Says something on stderr, where it does not get into the way of --json."""
    print(f"niwaki: {text}", file=sys.stderr)


def numbers(text: str) -> tuple[float, ...]:
    """The value of an option that is a list of numbers, `--mean 0.485,0.456,0.406`; the parser takes spaces, too."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of numbers; write 0.5 or 0.485,0.456,0.406") from None
