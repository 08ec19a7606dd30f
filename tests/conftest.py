"""What the tests share: one thread, fixed seeds, and the data that only some machines have."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real weights and images: NIWAKI_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("NIWAKI_SHARED") or ROOT.parent / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(
            f"needs real weights and images: no folder 'data' in {folder} (set NIWAKI_SHARED to the folder that has it)"
        )
    return folder
