"""How an operator says that it cannot do what a node asks for."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818 (no error of the caller's, but an answer)
    """Why a node is not supported: the end of a sentence that begins with the node."""
