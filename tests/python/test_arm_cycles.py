"""What bench/arm_cycles.py hands to llvm-mca, and what it makes of the answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import arm_cycles
import arm_loops
import pytest
from test_arm_loops import DISASSEMBLY

LOOP = arm_loops.main_loop(DISASSEMBLY, "dense_part", 3)


def test_a_loop_becomes_assembly() -> None:
    lines = arm_cycles.assembly(LOOP).splitlines()
    assert lines[:2] == [".Lturn:", "ldp q0, q3, [x1]"]
    assert lines[-1] == "b.ne .Lturn"


def test_cycles_are_those_of_one_turn() -> None:
    assert arm_cycles.cycles("Iterations:        100\nTotal Cycles:      3501\nTotal uOps:  9\n") == 35.01
    with pytest.raises(LookupError, match="Total Cycles"):
        arm_cycles.cycles("no report")
    table = arm_cycles.markdown([("dense", "12 pixels x 8 outputs", "Cortex-A55", LOOP, 4.0)])
    assert table.splitlines()[-1] == "| Cortex-A55 | dense | 12 pixels x 8 outputs | 32 | 5 | 4 | 8.0 |"


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert arm_cycles.version("Debian LLVM version 19.1.7\n") == 19 and arm_cycles.version("?") == 0
    assert arm_cycles.main(["--objdump", "true", "--mca", "no-such-mca"]) == 1
    assert "no-such-mca is not installed" in capsys.readouterr().err
    assert arm_cycles.main(["--objdump", "no-such-objdump"]) == 1
    assert "no-such-objdump is not installed" in capsys.readouterr().err
    assert arm_cycles.main(["--objdump", "true", "--mca", "true"]) == 1
    assert "17 or later is needed" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("llvm-mca-19") is None, reason="llvm-19 is not installed")
def test_a_model_waits_for_loads(tmp_path: Path) -> None:
    core = next(core for core in arm_cycles.CORES if core.model == "cortex-a55")
    multiplies = [f"sdot v{i}.4s, v31.16b, v30.4b[0]" for i in range(1, 9)]
    near = arm_loops.Loop(("ldr q31, [x0]", *multiplies))
    far = arm_loops.Loop((*multiplies, "ldr q31, [x0]", *(f"add x{i}, x{i}, #1" for i in range(1, 9))))
    assert arm_cycles.simulate("llvm-mca-19", core, near) > 9, "the first multiply waits for the load before it"
    assert arm_cycles.simulate("llvm-mca-19", core, far) < 8 + 1 + 8
