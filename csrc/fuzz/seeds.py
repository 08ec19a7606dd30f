"""Writes the files that fuzzing starts from: small networks with every operator and coding, and one of format 1.

python csrc/fuzz/seeds.py FOLDER
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

from small_graphs import GRAPHS  # noqa: E402


def version_1() -> bytes:
    """What the writer of the first version made: csrc/file/version1.inc holds its bytes for the C++ tests."""
    text = (ROOT / "csrc" / "file" / "version1.inc").read_text(encoding="utf-8")
    return bytes(int(word, 16) for word in re.findall(r"0x([0-9a-f]{2})", text))


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in GRAPHS.items():
        make().save(str(folder / f"{name}.niwaki"))
    (folder / "version1.niwaki").write_bytes(version_1())


if __name__ == "__main__":
    main()
