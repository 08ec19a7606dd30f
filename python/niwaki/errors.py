"""The package's own error, and the words that messages share."""

from __future__ import annotations

from niwaki._core import NiwakiError

__all__ = ["NiwakiError", "first_sentence"]


def first_sentence(error: BaseException, limit: int = 300) -> str:
    """What an exception of someone else says, as one line of at most `limit` characters, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
    return text if len(text) <= limit else text[: limit - 3] + "..."
