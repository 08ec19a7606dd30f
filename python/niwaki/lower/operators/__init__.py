"""How each operator of torch becomes one of niwaki's. A new operator is a class in one of these files."""

from niwaki.lower.operators import affine, arithmetic, layers, pooling, shapes, unary
from niwaki.lower.operators.registry import Operator, find, handler, refusal, register

__all__ = ["Operator", "find", "handler", "refusal", "register"]

_FAMILIES = (affine, arithmetic, layers, pooling, shapes, unary)
