"""What the commands share: errors that need no traceback, and notes on stderr."""

from __future__ import annotations

import sys


class UsageError(Exception):
    """Something that the person at the shell can put right; the text is one sentence that says how."""


def note(text: str) -> None:
    """Says something on stderr, where it does not get into the way of --json."""
    print(f"niwaki: {text}", file=sys.stderr)
