"""Files that appear complete or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes UTF-8 text beside `path` and then renames it, so that nobody ever sees half a file.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such folder, or `path` is one.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"'{target}': there is no folder '{target.parent}'; make it first.")
    if target.is_dir():
        raise IsADirectoryError(f"'{target}' is a folder; name a file in it.")
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
