"""Whether an installed niwaki works: compresses, compiles, saves, loads and runs a small network, in Python and shell.

python check.py [FOLDER]: niwaki must lie in FOLDER, where one is given. Needs nothing of this repository.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import torch
from torch import nn

import niwaki


def main() -> None:
    if len(sys.argv) > 1:
        assert Path(niwaki.__file__).is_relative_to(Path(sys.argv[1]).resolve()), niwaki.__file__
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    x = torch.randn(2, 3, 16, 16)
    small, _ = niwaki.compress(model.eval(), [x], sparsity=0.5, progress=False)
    net = niwaki.compile(small, (x,), threads=2)
    y = net(x)
    assert torch.nn.functional.cosine_similarity(y.flatten(), model(x).flatten(), dim=0) > 0.9
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.niwaki"
        net.save(path)
        assert torch.equal(niwaki.load(path)(x), y)
        command = Path(sysconfig.get_path("scripts")) / "niwaki"
        shown = subprocess.run([command, "inspect", str(path)], capture_output=True, text=True, check=True).stdout
        assert "conv2d" in shown, shown
    print(f"niwaki {niwaki.__version__} works here")


if __name__ == "__main__":
    main()
