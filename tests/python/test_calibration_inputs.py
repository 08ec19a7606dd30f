"""How items of calibration become calls of a network: tensors, tuples, labels, dicts, keyword arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import niwaki
from niwaki.quantization.inputs import Batch, batches

X = torch.randn(4, 3)
LABELS = torch.arange(4)


class One(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Two(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Scaled(nn.Module):
    """Takes a scale for each input, as an option: one could take labels for it."""

    def forward(self, x: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        return x if scale is None else x * scale.reshape(-1, 1)


class Masked(nn.Module):
    """Takes a mask of the input's shape, as an option: labels do not fit."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return x if mask is None else x * mask.reshape(x.shape)


class Everything(nn.Module):
    def forward(self, *parts: torch.Tensor, **named: torch.Tensor) -> torch.Tensor:
        return sum(parts) + sum(named.values())  # type: ignore[return-value]


class Named(nn.Module):
    def forward(self, *, image: torch.Tensor) -> torch.Tensor:
        return image


def read(model: nn.Module, item: Any, transform: Any = None) -> Batch:
    (batch,) = batches([item], transform, model)
    return batch


def test_a_tensor_is_the_one_argument() -> None:
    assert read(One(), X) == Batch(0, (X,), {})
    assert read(One(), (X,)).args == (X,)


@pytest.mark.parametrize("rest", [(LABELS,), (torch.randn(4, 5),), (LABELS, torch.arange(4)), ("cat",), (3,)])
def test_what_forward_does_not_take_is_left_out(rest: tuple[Any, ...]) -> None:
    assert read(One(), (X, *rest)).args == (X,)
    assert read(One(), [X, *rest]).args == (X,)  # as torch's loaders give it
    assert read(Two(), (X, X, *rest)).args == (X, X)


def test_what_forward_needs_is_given_to_it() -> None:
    assert read(Two(), (X, LABELS)).args == (X, LABELS)
    assert len(read(Everything(), (X, X, X)).args) == 3


def test_options_that_cannot_be_labels_are_given() -> None:
    mask = torch.ones(4, 3)
    assert read(Masked(), (X, mask)).args == (X, mask)
    assert read(Scaled(), (X, torch.ones(4, 1))).args[1].shape == (4, 1)
    assert read(Everything(), (X, torch.ones(4, dtype=torch.bool))).args[1].dtype == torch.bool


def test_labels_that_the_network_cannot_run_with_are_left_out() -> None:
    assert read(Masked(), (X, LABELS)).args == (X,)
    assert read(Masked(), (X, 3)).args == (X,)


@pytest.mark.parametrize("part", [LABELS, torch.rand(4), torch.tensor([2.0])])
def test_where_nobody_can_tell_the_user_is_asked(part: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"item 0 is a tuple of 2.*labels or 'scale' of forward.*transform=lambda"):
        read(Scaled(), (X, part))
    assert read(Scaled(), (X, part), lambda item: item).args == (X, part)
    assert read(Scaled(), (X, part), lambda item: item[:1]).args == (X,)
    assert read(Scaled(), (X, part), lambda item: item[0]).args == (X,)


def test_an_optional_input_is_not_dropped_by_compress() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 8)

        def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
            return self.fc(x if y is None else x + 10 * y)

    net = Net().eval()
    items = [(torch.randn(4, 3), torch.randn(4, 3)) for _ in range(6)]
    small, _ = niwaki.compress(net, items)
    x, y = items[0]
    with torch.no_grad():
        wanted, found = net(x, y), niwaki.compile(small, (x, y))(x, y)
    assert float((found - wanted).norm() / wanted.norm()) < 0.03
    # Without it, the network is another graph, of which no range is known.
    with pytest.raises(niwaki.NiwakiError, match="another graph than the one that was calibrated"):
        niwaki.compile(small, (x,))


def test_dicts_hold_arguments_by_name() -> None:
    assert read(Scaled(), {"x": X, "scale": LABELS}).kwargs == {"x": X, "scale": LABELS}
    assert read(Named(), {"image": X}) == Batch(0, (), {"image": X})
    for name in ("label", "labels", "label_ids"):
        assert read(Scaled(), {"x": X, name: LABELS}).kwargs == {"x": X}
    assert read(Scaled(), ({"x": X}, LABELS)).kwargs == {"x": X}
    assert read(Everything(), {"x": X, "labels": LABELS}, lambda item: item).kwargs.keys() == {"x", "labels"}
    with pytest.raises(ValueError, match=r"item 0: the network cannot be called with it: .*'y'"):
        read(One(), {"x": X, "y": X})


class Whole(nn.Module):
    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        return batch["image"].mean() + batch["more"][0]  # type: ignore[no-any-return]


def test_a_dict_may_be_the_one_argument() -> None:
    item = {"image": X, "more": [LABELS], "labels": LABELS}
    for given in (item, (item, LABELS)):
        batch = read(Whole(), given)
        assert batch.args == (item,)
        assert not batch.kwargs
    with pytest.raises(ValueError, match="missing a required argument: 'batch'"):
        read(Whole(), {"picture": X})


def test_hugging_face_batches() -> None:
    transformers = pytest.importorskip("transformers.tokenization_utils_base")
    item = transformers.BatchEncoding({"x": X, "scale": LABELS, "labels": LABELS})
    assert read(Scaled(), item).kwargs == {"x": X, "scale": LABELS}


def test_masks_may_be_infinite_and_nothing_else() -> None:
    mask = torch.tensor([[0.0, -torch.inf, 0.0]]).expand(4, 3)
    assert read(Two(), (X, mask)).args[1] is mask
    for bad in (mask + X, -mask):
        with pytest.raises(ValueError, match="holds NaN or infinity"):
            read(Two(), (X, bad))


def test_batches_that_were_read_are_left_alone() -> None:
    batch = Batch(7, (X,), {})
    assert read(One(), batch, lambda item: None) is batch
    assert batch.inputs == 4 and batch.tensors == [X]
