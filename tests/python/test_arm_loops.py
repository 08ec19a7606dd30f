"""What bench/arm_loops.py finds in a disassembly."""

from __future__ import annotations

from pathlib import Path

import arm_loops
import pytest

DISASSEMBLY = """
0000000000000000 <void niwaki::conv_dotprod::(anonymous namespace)::dense_part<3>(niwaki::DenseTile const&, int)>:
   0:	ldr	q0, [x1]
   4:	sdot	v1.4s, v0.16b, v2.4b[0]
   8:	b.ne	0 <dense_part<3>>  // b.any
   c:	ldp	q0, q3, [x1]
  10:	sdot	v1.4s, v0.16b, v2.4b[0]
  14:	sdot	v4.4s, v3.16b, v2.4b[0]
  18:	subs	x4, x4, #0x1
  1c:	b.ne	c <dense_part<3>+0xc>
  20:	cbz	x1, 30 <dense_part<3>+0x30>
  24:	tbnz	w0, #0, 0 <dense_part<3>>
  30:	ret

0000000000000040 <niwaki::conv_dotprod::fill(niwaki::PanelFill const&)>:
  40:	str	q0, [x1]
  44:	b	40 <niwaki::conv_dotprod::fill(niwaki::PanelFill const&)>
"""


def test_the_innermost_loop_with_the_most_products_counts() -> None:
    loop = arm_loops.main_loop(DISASSEMBLY, "dense_part", 3)
    assert loop.mnemonics == ("ldp", "sdot", "sdot", "subs", "b.ne"), "not the shorter loop, nor the one around both"
    assert loop.products == 32
    for function, size in (("dense_part", 2), ("fill", 0)):
        with pytest.raises(LookupError, match=f"{function}<{size}>: no loop"):
            arm_loops.main_loop(DISASSEMBLY, function, size)


def test_tiles_are_named() -> None:
    dense, wide = arm_loops.KERNELS[0], arm_loops.KERNELS[-1]
    assert dense.tile("neon") == "8 pixels x 4 outputs" and wide.tile("i8mm") == "1 pixel x 16 outputs"


def test_a_missing_build_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make test-arm"):
        arm_loops.disassemble(tmp_path, "neon", "true")
