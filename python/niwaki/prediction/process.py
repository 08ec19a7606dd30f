"""A process that answers parts for another one, which it hears on stdin and tells on stdout. It ends with that one."""

from __future__ import annotations

import os
import pickle
import sys
from typing import IO, Any

from niwaki.errors import NiwakiError, first_sentence

START = "import sys; sys.path[:] = {path!r}; from niwaki.prediction.process import main; main()"
"""What Python runs in such a process. No module of the caller's is imported in it, so a script needs no guard."""


def send(pipe: IO[bytes], message: Any) -> None:
    """Writes a message."""
    pickle.dump(message, pipe)
    pipe.flush()


def main() -> None:
    """Answers parts until stdin ends.

    It hears a Job, then (share, path) again and again. It tells ("ready",), ("rows", rows, errors) after each batch,
    ("done",) after each part, and ("error", sentence, expected) as its last word.
    """
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed must not get between the messages
    parent = os.getppid()

    def tick(rows: int, errors: int) -> None:
        if os.getppid() != parent:  # it was killed: somebody else may have begun to do these rows
            raise SystemExit(1)
        send(pipe, ("rows", rows, errors))

    try:
        from niwaki.prediction.job import Worker
        from niwaki.prediction.write import write_part

        worker = Worker(pickle.load(sys.stdin.buffer))
        send(pipe, ("ready",))
        while True:
            share, path = pickle.load(sys.stdin.buffer)
            write_part(worker, share, path, tick)
            send(pipe, ("done",))
    except (EOFError, BrokenPipeError):
        pass
    except NiwakiError as error:
        send(pipe, ("error", str(error), True))
    except Exception as error:
        import traceback

        traceback.print_exc()
        send(pipe, ("error", first_sentence(error), False))
    os._exit(0)
