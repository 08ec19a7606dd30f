"""What a file answers to two images, as bytes in hexadecimal: the same on every machine.

python arm.py FILE: FILE takes float32 images [batch, 3, height, width]. Needs numpy and niwaki, nothing else.
"""

from __future__ import annotations

import platform
import sys

import numpy as np

import niwaki


def main() -> None:
    net = niwaki.load(sys.argv[1], threads=2)
    x = np.linspace(-2, 2, 2 * 3 * 16 * 12, dtype=np.float32).reshape(2, 3, 16, 12)
    print(platform.machine(), niwaki.isa(), niwaki.__version__, net(x).tobytes().hex())


if __name__ == "__main__":
    main()
