"""How each operator of the core is written, by families."""

from niwaki.onnx_file.operators import (  # noqa: F401 (they fill the table)
    binary,
    layers,
    movement,
    parts,
    products,
    quantized,
    recurrent,
    reductions,
    resizing,
    unary,
    values,
    windows,
)
