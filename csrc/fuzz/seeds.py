"""Writes the files that fuzzing starts from: small networks with every operator and coding, and files of old formats.

python csrc/fuzz/seeds.py FOLDER
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))

import plain_graphs  # noqa: E402
import small_graphs  # noqa: E402

from niwaki import _core  # noqa: E402


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (small_graphs.GRAPHS | plain_graphs.GRAPHS).items():
        make().save(str(folder / f"{name}.niwaki"))
    # Entry points: layers that are the same in two of them, and others.
    known = small_graphs.GRAPHS | plain_graphs.GRAPHS
    for names in (("dense", "dense", "tokens"), ("huffman_masks", "huffman_masks"), ("tokens", "axes", "axes")):
        entries = [(f"{name}_{place}", known[name]()) for place, name in enumerate(names)]
        _core.save_entries(entries, str(folder / f"entries_{names[0]}.niwaki"))
    for old in (ROOT / "tests" / "data" / "formats").glob("*.niwaki"):
        shutil.copy(old, folder / f"old-{old.name}")


if __name__ == "__main__":
    main()
