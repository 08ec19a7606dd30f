"""The view of a layer that compression has: what it says of a convolution and of a linear layer is what torch does."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from niwaki.modules.layer import Conv2dLayer, Layer, LinearLayer, layer_of, named_layers
from niwaki.nn.layers import like


def view(module: nn.Module) -> Layer:
    found = layer_of(module)
    assert found is not None
    return found


CONVOLUTIONS = [
    nn.Conv2d(4, 8, (3, 2), stride, padding, dilation, groups, bias=groups == 1, padding_mode=mode)
    for groups, stride, dilation, padding, mode in [
        *itertools.product((1, 2, 4), (1, (2, 1)), (1, (1, 2)), (0, (1, 2)), ("zeros",)),
        *((2, 1, 2, padding, mode) for padding in ((2, 1), "same") for mode in ("circular", "reflect", "replicate")),
        (1, 1, 1, "valid", "zeros"), (4, 1, (2, 3), "same", "zeros"),
    ]
]  # fmt: skip
LAYERS = [*CONVOLUTIONS, nn.Linear(4, 6), nn.Linear(4, 6, bias=False)]
names = [str(layer) for layer in LAYERS]


def inputs(layer: Layer) -> list[torch.Tensor]:
    shapes = [(3, 4, 9, 8), (4, 9, 8)] if layer.spatial else [(3, 4), (2, 5, 4), (4,)]
    return [torch.randn(shape) for shape in shapes]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("module", LAYERS, ids=names)
@torch.no_grad()
def test_a_layer_is_its_matrix_times_columns_of_its_inputs(module: nn.Module) -> None:
    layer = view(module)
    for x in inputs(layer):
        y = module(x)
        axis = layer.axis(y.dim())
        assert y.shape[axis] == len(layer.weight) and x.shape[axis] == layer.inputs
        if layer.bias is not None:
            y = y - layer.bias.reshape(-1, *[1] * layer.spatial)
        y = y.movedim(axis, 0).reshape(layer.groups, -1, layer.images(x) * layer.places(x))
        found = torch.matmul(layer.matrix(layer.weight), layer.columns(x))
        assert torch.allclose(found, y, atol=1e-5)
        chosen = torch.randperm(layer.places(x))[:2]
        some = layer.columns(x).unflatten(2, (layer.images(x), -1))[..., chosen].flatten(2)
        assert torch.equal(layer.columns(x, chosen), some)
        parts = [layer.columns(part) for part in layer.parts(x, 100)]
        assert torch.equal(torch.cat(parts, 2), layer.columns(x))
    by_input = layer.by_input(layer.weight)
    assert by_input.shape[:3] == (layer.groups, len(layer.weight) // layer.groups, layer.inputs // layer.groups)
    assert torch.equal(by_input.flatten(2), layer.matrix(layer.weight))
    assert torch.equal(layer.matrix(layer.weight).reshape(layer.weight.shape), layer.weight)


@pytest.mark.parametrize("module", LAYERS, ids=names)
def test_padding_that_int8_lacks_is_named_and_others_have_a_layer(module: nn.Module) -> None:
    layer = view(module)
    mode = getattr(module, "padding_mode", "zeros")
    assert layer.is_plain() and (mode == "zeros" or mode in layer.unsupported)
    if mode == "zeros":
        assert not layer.unsupported
        fresh = like(layer)
        assert fresh.weight.shape == layer.weight.shape and fresh.spatial == layer.spatial
        known = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(fresh).items()}
        assert {name: known[name] for name in layer.attributes()} == layer.attributes()


@pytest.mark.parametrize(
    ("module", "pointwise", "pads"),
    [
        (nn.Linear(4, 6), True, False), (nn.Conv2d(4, 6, 1, stride=2), True, False),
        (nn.Conv2d(4, 6, 1, padding="same"), True, False), (nn.Conv2d(4, 6, 1, groups=2), False, False),
        (nn.Conv2d(4, 6, 1, padding=1), False, True), (nn.Conv2d(4, 6, (1, 3)), False, False),
        (nn.Conv2d(4, 6, (1, 3), padding="same"), False, True),
    ],
)  # fmt: skip
@torch.no_grad()
def test_what_is_pointwise_can_be_done_in_two(module: nn.Module, pointwise: bool, pads: bool) -> None:
    layer = view(module)
    assert (layer.pointwise, layer.pads) == (pointwise, pads)
    if not pointwise:
        return
    one, other = layer.in_two(4)
    one.weight.copy_(torch.eye(4).reshape(one.weight.shape))
    other.weight.copy_(layer.weight)
    assert layer.bias is not None and other.bias is not None and one.bias is None
    other.bias.copy_(layer.bias)
    (x,) = (x for x in inputs(layer) if x.dim() == layer.spatial + 2)
    assert torch.allclose(other.module(one.module(x)), module(x), atol=1e-5)


@pytest.mark.parametrize("module", [nn.Linear(4, 6), nn.Conv2d(4, 6, 3, bias=False)])
@torch.no_grad()
def test_channels_are_cut_out(module: nn.Module) -> None:
    layer, whole = view(module), copy.deepcopy(module)
    outputs, kept = torch.tensor([1, 0, 0, 1, 1, 0]).bool(), torch.tensor([0, 1, 1, 1]).bool()
    layer.weight[:, 0] = whole.weight[:, 0] = 0
    layer.weight.requires_grad_(False)
    (x,) = (x for x in inputs(layer) if x.dim() == layer.spatial + 2)
    layer.cut(outputs=outputs)
    assert torch.allclose(module(x), whole(x)[:, outputs], atol=1e-6)
    layer.cut(inputs=kept)
    assert torch.allclose(module(x[:, kept]), whole(x)[:, outputs], atol=1e-6)
    assert not layer.weight.requires_grad and layer.inputs == 3
    assert module.extra_repr().startswith(("3, 3,", "in_features=3, out_features=3,"))


def test_views_of_one_layer_are_one_key() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Linear(4, 4), nn.Conv1d(4, 4, 1))
    found = dict(named_layers(net))
    assert found == {"0": Conv2dLayer(net[0]), "2": LinearLayer(net[2])}
    assert {found["0"]: 1}[view(net[0])] == 1 and view(copy.deepcopy(net[0])) != found["0"]
    assert layer_of(net[1]) is None and layer_of(net[3]) is None and layer_of(nn.LSTM(4, 4)) is None
