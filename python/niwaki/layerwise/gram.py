"""Covariances of a layer's inputs, and the few things that layer-by-layer methods do with them.

A covariance is a matrix of K x K for K inputs. Where there are many fewer samples than inputs (the first linear layer
of a VGG has 25,088 inputs, and one sample an image), that matrix has a low rank and would take gigabytes: it is never
made, and all is computed from the samples, with the same results.

All tensors are float32; a layer of G groups has G matrices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import torch

# From here on, two triangular solves cost no more than a product with the inverse, which takes time itself.
_WIDE = 2048

# Rows [G, O, K] times a matrix [G, K, K]: a new tensor.
Apply = Callable[[torch.Tensor], torch.Tensor]


class Residual(Protocol):
    """b - v A, for weights v that the caller changes in place, a few columns at a time."""

    def of(self, part: slice) -> torch.Tensor:
        """[G, O, columns], of columns of K; not to be written to."""

    def moved(self, part: slice, change: torch.Tensor) -> None:
        """`change` [G, O, columns] was added to these columns of v."""


class Gram(ABC):
    """A symmetric positive semidefinite matrix [G, K, K]."""

    @abstractmethod
    def diagonal(self) -> torch.Tensor:
        """[G, K]."""

    @abstractmethod
    def times(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows [G, O, K], times the matrix; of the rows' dtype."""

    @abstractmethod
    def normalized(self, scale: torch.Tensor) -> Gram:
        """Rows and columns over `scale` [G, 1, K], at least the root of the diagonal, which is then ones."""

    @abstractmethod
    def inverse(self, penalty: float) -> Apply | None:
        """Multiplies rows by (A + penalty)^-1; None where rounding made that singular."""

    @abstractmethod
    def ordered(self, order: torch.Tensor) -> Gram:
        """Rows and columns in another order, int64 [G, 1, K]."""

    @abstractmethod
    def block(self, part: slice) -> torch.Tensor:
        """[G, columns, columns], of columns of K."""

    @abstractmethod
    def residual(self, b: torch.Tensor, v: torch.Tensor) -> Residual:
        """b - v A, which follows v."""

    @abstractmethod
    def is_finite(self) -> bool:
        """Whether all of its values are."""


class Dense(Gram):
    """A matrix as it is, [G, K, K]."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix = matrix

    def diagonal(self) -> torch.Tensor:
        return self.matrix.diagonal(dim1=1, dim2=2)

    def times(self, rows: torch.Tensor) -> torch.Tensor:
        return rows @ self.matrix.to(rows.dtype)

    def normalized(self, scale: torch.Tensor) -> Dense:
        matrix = self.matrix / scale / scale.transpose(1, 2)
        matrix.diagonal(dim1=1, dim2=2).fill_(1.0)
        return Dense(matrix)

    def inverse(self, penalty: float) -> Apply | None:
        factor, failed = torch.linalg.cholesky_ex(self.matrix + penalty * torch.eye(self.matrix.shape[-1]))
        if bool(failed.any()):
            return None
        if self.matrix.shape[-1] >= _WIDE:
            return lambda rows: torch.cholesky_solve(rows.transpose(1, 2), factor).transpose(1, 2).contiguous()
        inverse = torch.cholesky_inverse(factor)
        return lambda rows: rows @ inverse

    def ordered(self, order: torch.Tensor) -> Dense:
        rows = order.expand_as(self.matrix)
        # Symmetric: columns are gathered, then those of the transposed.
        return Dense(self.matrix.gather(2, rows).transpose(1, 2).gather(2, rows))

    def block(self, part: slice) -> torch.Tensor:
        return self.matrix[:, part, part]

    def residual(self, b: torch.Tensor, v: torch.Tensor) -> Residual:
        return _DenseResidual(self.matrix, b - v @ self.matrix)

    def is_finite(self) -> bool:
        return bool(torch.isfinite(self.matrix).all())


class _DenseResidual:
    def __init__(self, matrix: torch.Tensor, rest: torch.Tensor) -> None:
        self._matrix, self._rest = matrix, rest

    def of(self, part: slice) -> torch.Tensor:
        return self._rest[:, :, part]

    def moved(self, part: slice, change: torch.Tensor) -> None:
        self._rest -= change @ self._matrix[:, part]


class LowRank(Gram):
    """Z Z' + diag(d), of samples Z [G, K, N], few beside K, and d [G, K], not negative."""

    def __init__(self, samples: torch.Tensor, extra: torch.Tensor | None = None) -> None:
        self.samples = samples
        self.extra = torch.zeros(samples.shape[:2]) if extra is None else extra

    def diagonal(self) -> torch.Tensor:
        return self.samples.square().sum(2) + self.extra

    def times(self, rows: torch.Tensor) -> torch.Tensor:
        samples = self.samples.to(rows.dtype)
        return (rows @ samples) @ samples.transpose(1, 2) + rows * self.extra[:, None].to(rows.dtype)

    def normalized(self, scale: torch.Tensor) -> LowRank:
        samples = self.samples / scale.transpose(1, 2)
        return LowRank(samples, (1 - samples.square().sum(2)).clamp_min(0))

    def inverse(self, penalty: float) -> Apply | None:
        # (S + Z Z')^-1 = W - W Z (1 + Z' W Z)^-1 Z' W with W = S^-1 (Woodbury), S = diag(d) + penalty.
        weights = 1 / (self.extra + penalty)[:, None]
        weighted = self.samples * weights.transpose(1, 2)
        factor, failed = torch.linalg.cholesky_ex(
            torch.eye(self.samples.shape[2]) + self.samples.transpose(1, 2) @ weighted
        )
        if bool(failed.any()):
            return None
        middle = torch.cholesky_inverse(factor)

        def apply(rows: torch.Tensor) -> torch.Tensor:
            ours = ((rows @ weighted) @ middle) @ self.samples.transpose(1, 2)
            return torch.sub(rows, ours, out=ours).mul_(weights)

        return apply

    def ordered(self, order: torch.Tensor) -> LowRank:
        samples = self.samples.gather(1, order.transpose(1, 2).expand_as(self.samples))
        return LowRank(samples, self.extra.gather(1, order[:, 0]))

    def block(self, part: slice) -> torch.Tensor:
        samples = self.samples[:, part]
        return samples @ samples.transpose(1, 2) + torch.diag_embed(self.extra[:, part])

    def residual(self, b: torch.Tensor, v: torch.Tensor) -> Residual:
        return _LowRankResidual(self, b, v)

    def is_finite(self) -> bool:
        # Where the squares are, so are all products.
        return bool(torch.isfinite(self.diagonal()).all())


class Cross:
    """E[r x'] for a low rank: R Z' of samples R and Z, [G, K, N]."""

    def __init__(self, left: torch.Tensor, right: torch.Tensor) -> None:
        self._left, self._right = left, right

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return (rows @ self._left) @ self._right.transpose(1, 2)


class _LowRankResidual:
    def __init__(self, a: LowRank, b: torch.Tensor, v: torch.Tensor) -> None:
        self._a, self._b, self._v = a, b, v
        self._seen = v @ a.samples  # [G, O, N]

    def of(self, part: slice) -> torch.Tensor:
        a = self._a
        ours = self._v[:, :, part] * a.extra[:, None, part]
        return self._b[:, :, part] - self._seen @ a.samples[:, part].transpose(1, 2) - ours

    def moved(self, part: slice, change: torch.Tensor) -> None:
        self._seen += change @ self._a.samples[:, part]
