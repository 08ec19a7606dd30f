"""Functions of torch that would tie a graph to the sizes of its example, said in others that do not."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from niwaki.capture.settings import hint

_DIRECT = 25  # rows of which torch takes differences; of more, a product
_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


def cdist(x1: torch.Tensor, x2: torch.Tensor, p: float = 2.0, compute_mode: str = _MODES[0]) -> torch.Tensor | None:
    """Distances between rows. How many rows the example has says how they are computed, for all sizes."""
    if x1.dim() < 2 or x2.dim() < 2 or compute_mode not in _MODES:
        return None
    many = any(hint(x.shape[-2]) > _DIRECT for x in (x1, x2))
    if p == 2 and (compute_mode == _MODES[1] or (compute_mode == _MODES[0] and many)):
        squares = x1.square().sum(-1)[..., :, None] + x2.square().sum(-1)[..., None, :]
        return (squares - 2 * (x1 @ x2.transpose(-1, -2))).clamp(min=0).sqrt()
    found: torch.Tensor = torch.linalg.vector_norm(x1[..., :, None, :] - x2[..., None, :, :], p, -1)
    return found


def bilinear(
    input1: torch.Tensor, input2: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """input1' W input2 for each output, with weights [outputs, inputs, other inputs]."""
    outputs, first, second = weight.shape
    rows = weight.transpose(0, 1).reshape(first, outputs * second)
    products: torch.Tensor = (input1 @ rows).unflatten(-1, (outputs, second))
    found = (products * input2[..., None, :]).sum(-1)
    return found if bias is None else found + bias


def adaptive_max_pool(axes: int) -> Callable[..., torch.Tensor | None]:
    """A pool that keeps the size of some axes is one over each of the others."""

    def pool(input: torch.Tensor, output_size: Any, return_indices: bool = False) -> torch.Tensor | None:
        sizes = list(output_size) if isinstance(output_size, Sequence) else [output_size] * axes
        if return_indices or None not in sizes or len(sizes) != axes:
            return None
        for axis, size in zip(range(-axes, 0), sizes, strict=True):
            if size is not None:
                last = input.movedim(axis, -1)
                rows = F.adaptive_max_pool1d(last.flatten(0, -2), size)
                input = rows.unflatten(0, last.shape[:-1]).movedim(-1, axis)
        return input

    return pool


def grid_sample(
    input: torch.Tensor,
    grid: torch.Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> torch.Tensor | None:
    """Elements of volumes [N, C, D, H, W] at the places of a grid [N, D, H, W, 3]: x, y and z from -1 to 1."""
    if input.dim() != 5 or grid.dim() != 5 or mode not in ("bilinear", "nearest"):
        return None
    sizes = input.shape[:1:-1]
    places = [_place(grid[..., axis], sizes[axis], padding_mode, bool(align_corners)) for axis in range(3)]
    first = [place.round() if mode == "nearest" else place.floor() for place in places]
    flat, found = input.flatten(2), None
    for corner in itertools.product((0, 1), repeat=3) if mode == "bilinear" else [(0, 0, 0)]:
        inside, weight = torch.ones_like(places[0], dtype=torch.bool), torch.ones_like(places[0])
        index = torch.zeros_like(places[0], dtype=torch.int64)
        for place, low, size, more in reversed(list(zip(places, first, sizes, corner, strict=True))):
            element = low + more
            inside = inside & (element >= 0) & (element < size)
            if mode == "bilinear":
                weight = weight * (1 - (place - element).abs())
            index = index * size + element.long().clamp(0, size - 1)
        elements = flat.gather(2, index.flatten(1)[:, None].expand(-1, input.shape[1], -1))
        part = elements.unflatten(2, grid.shape[1:4])
        part = torch.where(inside[:, None], part, torch.zeros_like(part)) * weight[:, None]
        found = part if found is None else found + part
    return found


def _place(place: torch.Tensor, size: Any, padding: str, corners: bool) -> torch.Tensor:
    """A place from -1 to 1 as an element with a fraction."""
    place = (place + 1) / 2 * (size - 1) if corners else ((place + 1) * size - 1) / 2
    if padding == "reflection":
        low, span = (0.0, size - 1) if corners else (-0.5, size)
        place = (place - low).abs()
        turns = (place / span).floor()
        rest = place - turns * span
        place = torch.where(turns % 2 == 0, rest, span - rest).nan_to_num(0.0) + low  # no number where there is no span
    return place if padding == "zeros" else place.clamp(0, size - 1)


def embedding_bag(
    input: torch.Tensor,
    weight: torch.Tensor,
    offsets: torch.Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: torch.Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> torch.Tensor | None:
    """Sums, means or maxima of rows of a table: of each row of indices, or of as many as offsets say.

    Rows of the index for padding count nowhere; a bag without others is zeros.
    """
    if max_norm is not None:
        return None
    rows = F.embedding(input, weight)
    padding = None if padding_idx is None else padding_idx % weight.shape[0]
    taken = torch.ones_like(input, dtype=torch.bool) if padding is None else input != padding
    if padding is not None:
        rows = torch.where(taken[..., None], rows, torch.full_like(rows, -math.inf if mode == "max" else 0))
    if per_sample_weights is not None:
        rows = rows * per_sample_weights[..., None]
    if input.dim() == 2:
        if mode != "max":
            return rows.sum(1) if mode == "sum" else rows.sum(1) / taken.sum(1, keepdim=True).clamp(min=1)
        found = rows.amax(1)
        return found if padding is None else torch.where(taken.any(1, keepdim=True), found, torch.zeros_like(found))
    if offsets is None:
        return None
    starts = offsets[:-1] if include_last_offset else offsets
    count = starts.shape[0]
    marks = rows.new_zeros([input.shape[0] + 1], dtype=torch.int64)
    bags = marks.scatter_add(0, starts.long(), torch.ones_like(starts, dtype=torch.int64)).cumsum(0)[:-1] - 1
    if padding is not None:
        bags = torch.where(taken, bags, torch.full_like(bags, count))  # behind the last bag
    empty = rows.new_zeros([count + 1, weight.shape[1]])
    if mode == "max":
        return empty.scatter_reduce(0, bags[:, None].expand_as(rows), rows, "amax", include_self=False)[:count]
    total = empty.index_add(0, bags, rows)[:count]
    if mode == "sum":
        return total
    sizes = rows.new_zeros([count + 1]).index_add(0, bags, torch.ones_like(bags, dtype=torch.float32))
    return total / sizes[:count].clamp(min=1)[:, None]


def _window(window: torch.Tensor | None, length: int, size: int) -> torch.Tensor:
    """In the middle of as many elements as the transform takes; ones where none is given."""
    window = torch.ones(length) if window is None else window
    before = (size - length) // 2
    return F.pad(window, (before, size - length - before))


def stft(
    input: torch.Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: torch.Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> torch.Tensor | None:
    """Spectra of windows, which lie in memory by themselves: torch reads them out of the signal by its strides."""
    known = not input.is_complex() and (window is None or not window.is_complex()) and not align_to_window
    if not known or input.dim() not in (1, 2) or onesided is False:
        return None
    signal = input if input.dim() == 2 else input[None]
    if center:
        signal = F.pad(signal[:, None], (n_fft // 2, n_fft // 2), mode=pad_mode)[:, 0]
    frames = signal.unfold(-1, n_fft, hop_length or n_fft // 4) * _window(window, win_length or n_fft, n_fft)
    spectra = torch.fft.rfft(frames, norm="ortho" if normalized else "backward").transpose(1, 2)
    spectra = spectra if input.dim() == 2 else spectra[0]
    return spectra if return_complex else torch.view_as_real(spectra)


def istft(
    input: torch.Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: torch.Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> torch.Tensor | None:
    """The signal of spectra: their windows, added up, over the sum of the squares of the windows."""
    if return_complex or onesided is False or input.dim() not in (2, 3) or (window is not None and window.is_complex()):
        return None
    hop = hop_length or n_fft // 4
    each = _window(window, win_length or n_fft, n_fft)
    spectra = input if input.dim() == 3 else input[None]
    frames = torch.fft.irfft(spectra.transpose(1, 2), n_fft, norm="ortho" if normalized else "backward") * each
    count = frames.shape[1]
    whole = n_fft + hop * (count - 1)
    weights = each.square().expand(1, count, n_fft)
    signal, weight = (
        F.fold(part.transpose(1, 2), (1, whole), (1, n_fft), stride=(1, hop))[:, 0, 0] for part in (frames, weights)
    )
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else whole - start if center else whole
    signal, weight = signal[:, start:end], weight[:, start:end]
    if length is not None and hint(end) > hint(whole):
        return None
    signal = signal / weight
    return signal if input.dim() == 3 else signal[0]


def affine_grid(theta: torch.Tensor, size: Sequence[Any], align_corners: bool | None = None) -> torch.Tensor | None:
    """Where pixels of an image of this size come from, [N, H, W, 2] or [N, D, H, W, 3], by maps [N, axes, axes + 1]."""
    axes = theta.shape[-1] - 1
    if theta.dim() != 3 or axes not in (2, 3) or len(size) != axes + 2 or size[0] != theta.shape[0]:
        return None
    theta = theta.reshape([theta.shape[0], *[1] * axes, axes, axes + 1])
    found = theta[..., -1]
    for axis in range(axes):
        count = size[-1 - axis]
        last = count - 1
        places = (2 * torch.arange(count) - last) / (torch.sym_max(last, 1) if align_corners else count)
        places = places.reshape([count, *[1] * axis, 1])
        found = found + theta[..., axis] * places
    return found


def gradient(
    input: torch.Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1
) -> tuple[torch.Tensor, ...] | None:
    """Differences of neighbours on both sides over their distance, at the ends of those on one."""
    axes = list(range(input.dim())) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    steps = list(spacing) if isinstance(spacing, (tuple, list)) else [spacing] * len(axes)
    known = all(isinstance(step, (int, float)) for step in steps) and len(steps) == len(axes)
    if not known or not all(input.shape[axis] > edge_order for axis in axes) or not input.is_floating_point():
        return None
    return tuple(_differences(input, axis, step, edge_order) for axis, step in zip(axes, steps, strict=True))


def _differences(x: torch.Tensor, axis: int, step: float, edge_order: int) -> torch.Tensor:
    size = x.shape[axis]

    def edge(places: Sequence[Any]) -> torch.Tensor:
        near, next_one, *more = (x.narrow(axis, place, 1) for place in places)
        return next_one - near if not more else 2 * next_one - 1.5 * near - 0.5 * more[0]

    count = edge_order + 1
    first, last = edge(range(count)), -edge([size - 1 - i for i in range(count)])
    inner = (x.narrow(axis, 2, size - 2) - x.narrow(axis, 0, size - 2)) / 2
    return torch.cat([first, inner, last], axis) / step


def matrix_norm(
    A: torch.Tensor,  # noqa: N803
    ord: Any = "fro",
    dim: Any = (-2, -1),
    keepdim: bool = False,
    **more: Any,
) -> torch.Tensor | None:
    """The largest or smallest sum of a column or of a row."""
    if more or isinstance(ord, str) or abs(ord) not in (1, math.inf):
        return None
    rows, columns = dim if abs(ord) == 1 else dim[::-1]
    sums = A.abs().sum(rows, keepdim=True)
    found: torch.Tensor = sums.amax(columns, keepdim=True) if ord > 0 else sums.amin(columns, keepdim=True)
    return found if keepdim else found.squeeze((rows, columns))


def norm(
    A: torch.Tensor,  # noqa: N803
    ord: Any = None,
    dim: Any = None,
    keepdim: bool = False,
    **more: Any,
) -> torch.Tensor | None:
    """torch.linalg.norm of matrices."""
    if ord is None or (dim is None and A.dim() != 2) or (dim is not None and (isinstance(dim, int) or len(dim) != 2)):
        return None
    return matrix_norm(A, ord, dim or (-2, -1), keepdim, **more)


def kron(input: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Each element of the first times all of the second, block by block."""
    rank = max(input.dim(), other.dim())
    for _ in range(rank - input.dim()):
        input = input[None]
    for _ in range(rank - other.dim()):
        other = other[None]
    for axis in range(rank):
        input, other = input.unsqueeze(2 * axis + 1), other.unsqueeze(2 * axis)
    found = input * other
    for axis in range(rank):
        found = found.flatten(axis, axis + 1)
    return found


def multi_dot(tensors: Sequence[torch.Tensor], **out: Any) -> torch.Tensor | None:
    """A product of matrices, the first and the last of which may be vectors, in the order that suits the example."""
    if out or len(tensors) < 2:
        return None
    row, column = tensors[0].dim() == 1, tensors[-1].dim() == 1
    matrices = list(tensors)
    matrices[0] = matrices[0][None] if row else matrices[0]
    matrices[-1] = matrices[-1][:, None] if column else matrices[-1]
    if any(x.dim() != 2 for x in matrices):
        return None
    sizes = [hint(matrices[0].shape[0]), *(hint(x.shape[1]) for x in matrices)]

    @functools.cache
    def cost(first: int, end: int) -> tuple[int, int]:
        """Multiplications of matrices [first, end), and where the last product cuts them."""
        if end - first == 1:
            return 0, end
        return min(
            (cost(first, cut)[0] + cost(cut, end)[0] + sizes[first] * sizes[cut] * sizes[end], cut)
            for cut in range(first + 1, end)
        )

    def product(first: int, end: int) -> torch.Tensor:
        if end - first == 1:
            return matrices[first]
        cut = cost(first, end)[1]
        return product(first, cut) @ product(cut, end)

    found = product(0, len(matrices))
    found = found[0] if row else found
    return found[..., 0] if column else found


def vander(x: torch.Tensor, N: Any = None, increasing: bool = False) -> torch.Tensor | None:  # noqa: N803
    """Powers of each element, the highest first."""
    count = x.shape[0] if N is None else N
    if x.dim() != 1 or (isinstance(count, int) and count < 1):
        return None
    powers = x[:, None].expand(x.shape[0], count - 1).cumprod(1)
    found = torch.cat([torch.ones_like(x)[:, None], powers], 1)
    return found if increasing else found.flip(1)


def _of_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of matrices whose rows and columns are numbers: steps are written out for each."""

    def tied(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, torch.Tensor) or x.dim() < 2 or all(isinstance(size, int) for size in x.shape[-2:]):
            return None
        rows, columns = (int(size) for size in x.shape[-2:])
        return function(x.narrow(-2, 0, rows).narrow(-1, 0, columns), *args, **kwargs)

    return tied


_OF_MATRICES = (
    torch.linalg.inv, torch.inverse, torch.Tensor.inverse, torch.linalg.det, torch.det, torch.Tensor.det,
    torch.linalg.slogdet, torch.slogdet, torch.Tensor.slogdet, torch.logdet, torch.Tensor.logdet, torch.linalg.solve,
    torch.linalg.cholesky, torch.cholesky, torch.Tensor.cholesky, torch.linalg.solve_triangular,
)  # fmt: skip

FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **{function: _of_numbers(function) for function in _OF_MATRICES},
    torch.stft: stft,
    torch.Tensor.stft: stft,
    torch.istft: istft,
    torch.Tensor.istft: istft,
    torch.cdist: cdist,
    torch.kron: kron,
    torch.Tensor.kron: kron,
    torch.linalg.multi_dot: multi_dot,
    torch.vander: vander,
    torch.gradient: gradient,
    torch.linalg.matrix_norm: matrix_norm,
    torch.linalg.norm: norm,
    F.affine_grid: affine_grid,
    F.bilinear: bilinear,
    F.embedding_bag: embedding_bag,
    F.grid_sample: grid_sample,
    F.adaptive_max_pool2d: adaptive_max_pool(2),
    F.adaptive_max_pool3d: adaptive_max_pool(3),
}
