"""How each operator of torch becomes some of niwaki's. A new one is a class in one of these files."""

from niwaki.lower.operators import (
    affine,
    arithmetic,
    convolution,
    creation,
    diagonals,
    folding,
    grid,
    indexing,
    layers,
    normalization,
    padding,
    pooling,
    products,
    recurrent,
    reductions,
    resizing,
    scattering,
    shapes,
    unary,
)
from niwaki.lower.operators.registry import Operator, find, handler, known_operators, refusal, register

__all__ = ["Operator", "find", "handler", "known_operators", "refusal", "register"]

_FAMILIES = (
    affine, arithmetic, convolution, creation, diagonals, folding, grid, indexing, layers, normalization, padding,
    pooling, products, recurrent, reductions, resizing, scattering, shapes, unary,
)  # fmt: skip
