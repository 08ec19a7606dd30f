"""Whether an installed niwaki runs a file where numpy is all there is.

python run.py FOLDER FILE: niwaki must lie in FOLDER; FILE takes float32 images [batch, 3, height, width].
Needs nothing of this repository.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np

import niwaki


def main() -> None:
    folder, file = sys.argv[1:]
    assert Path(niwaki.__file__).is_relative_to(Path(folder).resolve()), niwaki.__file__
    wanted = [line for line in importlib.metadata.requires("niwaki") or [] if "extra ==" not in line]
    assert [re.match(r"\w+", line)[0] for line in wanted] == ["numpy"], wanted  # type: ignore[index]
    net = niwaki.load(file)
    x = np.linspace(-2, 2, 2 * 3 * 16 * 12, dtype=np.float32).reshape(2, 3, 16, 12)
    y = net(x)
    assert isinstance(y, np.ndarray) and np.isfinite(y).all()
    assert y[:1].tobytes() == net(x[:1]).tobytes()
    command = Path(sysconfig.get_path("scripts")) / "niwaki"
    for words in (["inspect"], ["bench", "--rounds", "2", "--size", "16x12"]):
        shown = subprocess.run([command, *words[:1], file, *words[1:]], capture_output=True, text=True, check=False)
        assert shown.returncode == 0, shown.stderr
    says = ""
    try:
        says = f"niwaki.compress is {niwaki.compress}"
    except ModuleNotFoundError as error:
        says = str(error)
    assert "pip install 'niwaki[torch]'" in says, says
    print(f"niwaki {niwaki.__version__} runs here: {y.ravel()[:4].tolist()}")


if __name__ == "__main__":
    main()
