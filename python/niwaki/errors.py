"""The package's own error, and the words that messages share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from niwaki._core import NiwakiError

__all__ = ["NiwakiError", "first_sentence", "meant", "unknown_option"]


def unknown_option(where: str, name: str, known: Iterable[str]) -> TypeError:
    """The error for an option that does not exist: what was meant, most likely, and which there are.

    Args:
        where: what was called: "niwaki.compress".
        name: that was given.
        known: the options that there are.
    """
    options = list(known)
    return TypeError(f"{where}: there is no option '{name}'{meant(name, options)} There are {', '.join(options)}.")


def meant(name: str, known: Iterable[str]) -> str:
    """How a sentence about a name that does not exist ends: with what was meant, most likely."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else "."


def first_sentence(error: BaseException, limit: int = 300) -> str:
    """What an exception of someone else says, as one line of at most `limit` characters, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."
