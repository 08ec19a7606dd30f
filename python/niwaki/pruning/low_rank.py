"""Which weights stay where a matrix sees few different inputs, as those of an embedding of 30 letters.

Such inputs span few directions, so few columns of the matrix are enough to give every output exactly, whichever other
columns go: of 256 columns on 29 letters, 227. Searches that weigh a column by its own share of the outputs don't find
them. Here each row starts with nothing and takes the block that explains most of what its output still lacks, again
and again (orthogonal least squares, Chen, Cowan & Grant 1991; with blocks, Eldar, Kuppinger & Bölcskei 2010).
"""

from __future__ import annotations

import torch

# Of the largest eigenvalue of the covariance: directions that vary less are none.
_STILL = 1e-5
# Values of the columns of some rows that are worked on at a time.
_PART = 1 << 23


def directions(covariance: torch.Tensor) -> torch.Tensor:
    """Z [K, r] with Z Z' the covariance [K, K], for its r directions that vary."""
    values, vectors = torch.linalg.eigh(covariance.double())
    varies = values > _STILL * values[-1].clamp_min(1e-30)
    found: torch.Tensor = vectors[:, varies] * values[varies].sqrt()
    return found.float()


def forward_order(weight: torch.Tensor, z: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor]:
    """In which order rows take their blocks, and what they gain.

    Args:
        weight: float32 [R, K].
        z: the directions of the inputs, [K, r].
        block: consecutive columns that go together; K is a multiple of it.

    Returns:
        Numbers of blocks, int64 [R, S], with S enough for all r directions; and by how much each lessens the mean
        square of the error of the row's output, [R, S].
    """
    count, rank = len(z) // block, z.shape[1]
    steps = min(count, -(-rank // block) + 1)
    rows = max(1, _PART // z.numel())
    found = [_forward(part, z.reshape(count, block, rank), steps) for part in weight.split(rows)]
    return torch.cat([order for order, _ in found]), torch.cat([gains for _, gains in found])


def _forward(weight: torch.Tensor, z: torch.Tensor, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows, (count, block, rank) = torch.arange(len(weight)), z.shape
    rest = weight @ z.reshape(-1, rank)  # what each output lacks
    # Of each row, the blocks' columns without what the row can give already. Zeros stay zeros.
    there = (weight != 0).reshape(len(weight), count, block)
    atoms = z * there[..., None]
    least = 1e-6 * z.square().sum(2).mean()
    taken = ~there.any(2)
    order, gains = [], []
    for _ in range(steps):
        products = torch.einsum("nkbr,nr->nkb", atoms, rest)
        squares = atoms @ atoms.transpose(2, 3) + least * torch.eye(block)
        gain: torch.Tensor = (torch.linalg.solve(squares, products[..., None])[..., 0] * products).sum(2)
        best = gain.masked_fill(taken, -1).argmax(1)
        order.append(best)
        gains.append(gain[rows, best].clamp_min(0).where(~taken[rows, best], 0))
        taken[rows, best] = True
        # An orthonormal basis of what the block adds; directions that are nothing but rounding are none.
        _, sizes, basis = torch.linalg.svd(atoms[rows, best], full_matrices=False)
        basis = basis * (sizes > least.sqrt())[:, :, None]
        rest = rest - ((rest[:, None] @ basis.transpose(1, 2)) @ basis)[:, 0]
        flat = atoms.reshape(len(weight), -1, rank)
        atoms = (flat - (flat @ basis.transpose(1, 2)) @ basis).reshape(atoms.shape)
    return torch.stack(order, 1), torch.stack(gains, 1)


def keep_forward(
    weight: torch.Tensor, found: tuple[torch.Tensor, torch.Tensor], rows: torch.Tensor, block: int, kept: int
) -> tuple[torch.Tensor, float]:
    """The mask that keeps so many blocks where they gain most, and what it costs beyond all of them.

    Args:
        weight: [R, K].
        found: order and gains, of `forward_order`.
        rows: what an error of each row counts, [R].
        block: as there.
        kept: how many blocks of all rows stay.

    Returns:
        bool [R, K], and the sum over rows of the mean squared errors, each times what the row counts.
    """
    order, gains = found
    weighted = gains * rows[:, None]
    # A row takes blocks in its own order, so one counts for no more than that before it.
    keys = weighted.cummin(1)[0] * (1 - 1e-6 * torch.arange(order.shape[1]))
    magnitude = weight.reshape(len(weight), -1, block).square().sum(2)
    score = magnitude / magnitude.max().clamp_min(1e-30) - 2
    # What gains nothing goes by its magnitude. A row without blocks to take names one again, which counts once.
    score = score.scatter_reduce(1, order, torch.where(keys > 0, keys, -1.0), "amax")
    chosen = torch.zeros(score.numel(), dtype=torch.bool)
    chosen[score.flatten().topk(kept).indices] = True
    mask = chosen.reshape(score.shape)
    lost = (weighted * ~mask.gather(1, order)).sum()
    return mask.repeat_interleave(block, 1), float(lost)
