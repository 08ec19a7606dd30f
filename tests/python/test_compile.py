"""niwaki.compile and the network it returns: the same numbers as the module, any size, any thread, clear refusals."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import pytest
import torch
from lowering import Function, compiled, cosine, images
from torch import nn
from torch.nn import functional as F

import niwaki


class Small(nn.Module):
    """A residual network of every common piece."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.point = nn.Conv2d(16, 16, 1)
        self.fc = nn.Linear(16, 10)
        self.norm.running_mean.uniform_(-0.5, 0.5)
        self.norm.running_var.uniform_(0.5, 1.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.point(F.hardswish(self.depthwise(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(3)
    return Small().eval()


@pytest.fixture(scope="module")
def small(model: nn.Module) -> nn.Module:
    return niwaki.compress(model, [images(8, 24, 24, seed=5)])[0]


@pytest.fixture(scope="module")
def net(small: nn.Module) -> niwaki.Network:
    return niwaki.compile(small, (images(1, 24, 24),), threads=1)


def test_agrees_with_the_module_and_the_original(model: nn.Module, small: nn.Module, net: niwaki.Network) -> None:
    x = images(8, 24, 24, seed=5)
    with torch.no_grad():
        assert cosine(net(x), small(x)) >= 0.99
        assert cosine(net(x), model(x)) >= 0.99


@pytest.mark.parametrize("size", [(1, 24, 24), (5, 24, 24), (2, 33, 17), (1, 1, 1)])
def test_any_batch_and_image_size(model: nn.Module, net: niwaki.Network, size: tuple[int, int, int]) -> None:
    x = images(*size, seed=6)
    with torch.no_grad():
        assert cosine(net(x), model(x)) >= 0.98


def test_images_of_a_batch_do_not_meet(net: niwaki.Network) -> None:
    x = images(5, 21, 21)
    assert torch.equal(net(x), torch.cat([net(image[None]) for image in x]))


def test_empty_batch(net: niwaki.Network) -> None:
    assert net(torch.zeros(0, 3, 24, 24)).shape == (0, 10)


def test_threads_and_instruction_sets_change_no_bit(small: nn.Module, net: niwaki.Network) -> None:
    from niwaki._core import isas

    x = images(3, 24, 24)
    expected = net(x)
    for isa in isas():
        other = niwaki.compile(small, (x,), threads=2, isa=isa)
        assert other.isa == isa
        assert other.threads == 2
        assert torch.equal(other(x), expected)


def test_memory_layouts(net: niwaki.Network) -> None:
    x = images(2, 24, 24)
    expected = net(x)
    assert torch.equal(net(x.to(memory_format=torch.channels_last)), expected)
    assert torch.equal(net(images(2, 24, 24).transpose(2, 3).contiguous().transpose(2, 3)), expected)


def test_no_gradients(net: niwaki.Network) -> None:
    x = images().requires_grad_()
    assert not net(x).requires_grad
    with torch.inference_mode():
        assert net(images()).shape == (2, 10)


def test_results_are_new_tensors(net: niwaki.Network) -> None:
    a = net(images(seed=1))
    before = a.clone()
    net(images(seed=2))
    assert torch.equal(a, before)


def test_many_threads_call_one_network(net: niwaki.Network) -> None:
    inputs = [images(1 + i % 3, 16 + i, 20, seed=i) for i in range(6)]
    expected = [net(x) for x in inputs]
    wrong: list[int] = []

    def work(first: int) -> None:
        for i in range(12):
            index = (first + i) % len(inputs)
            if not torch.equal(net(inputs[index]), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_module_is_unchanged(model: nn.Module) -> None:
    small, _ = niwaki.compress(model, [images(4, 24, 24)])
    before = copy.deepcopy(small.state_dict())
    x = images(2, 24, 24)
    niwaki.compile(small, (x,))(x)
    after = small.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, pair, scale: int = 2):
        a, b = pair["a"], pair["b"]
        y = self.conv(a) * scale
        return {"sum": y + self.conv(b), "rest": [y, (None, 3, y)], "image": a}


def test_nested_arguments_and_results() -> None:
    model = Nested().eval()
    args = ({"a": images(), "b": images(seed=2)}, 2)
    small = niwaki.quantize(model, [{"pair": args[0]}], progress=False)
    net = niwaki.compile(small, args)
    with torch.no_grad():
        found, wanted = net(*args), model(*args)
    assert list(found) == list(wanted)
    assert type(found["rest"]) is list
    assert found["rest"][1][:2] == (None, 3)
    assert torch.equal(found["image"], args[0]["a"])
    assert cosine(found["sum"], wanted["sum"]) > 0.99
    assert cosine(found["rest"][1][2], wanted["rest"][0]) > 0.99
    with pytest.raises(ValueError, match="compiled for 2, not 3"):
        net(args[0], 3)
    with pytest.raises(TypeError, match=r"keys \['a', 'b'\]"):
        net({"a": args[0]["a"]}, 2)


WRONG_INPUTS = {
    "dtype": (lambda x: x.double(), TypeError, "input 'x': float32 is expected, not float64"),
    "rank": (
        lambda x: x[0],
        ValueError,
        r"input 'x': rank 4 \[batch, 3, height, width\] is expected, not shape \(3, 24, 24\)",
    ),
    "channels": (lambda x: x[:, :2], ValueError, "[Ii]nput 'x'.* 3"),
    "device": (lambda x: x.to("meta"), ValueError, "input 'x': it is on meta"),
    "sparse": (lambda x: x.to_sparse(), ValueError, "input 'x': a dense tensor is expected"),
    "list": (lambda x: x.tolist(), TypeError, "a torch.Tensor or another tensor with DLPack is expected, not list"),
}


@pytest.mark.parametrize("name", WRONG_INPUTS)
def test_wrong_inputs(net: niwaki.Network, name: str) -> None:
    change, error, message = WRONG_INPUTS[name]
    with pytest.raises(error, match=message):
        net(change(images(2, 24, 24)))


def test_wrong_number_of_inputs(net: niwaki.Network) -> None:
    with pytest.raises(TypeError, match="takes \\(x\\), not 2"):
        net(images(), images())
    with pytest.raises(TypeError, match="argument 'x' is missing"):
        net()


def test_too_small_an_image_names_the_layer() -> None:
    net = compiled(Function(lambda x: F.max_pool2d(x, 5)).eval(), images())
    with pytest.raises(ValueError, match=r"max_pool2d|height"):
        net(images(1, 3, 3))


def test_wrong_arguments_of_compile(small: nn.Module) -> None:
    x = images()
    with pytest.raises(TypeError, match=r"niwaki\.compile\(module, \(x,\)\)"):
        niwaki.compile(small, x)
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module"):
        niwaki.compile(lambda x: x, (x,))
    with pytest.raises(ValueError, match="threads must be at least 1"):
        niwaki.compile(small, (x,), threads=0)
    with pytest.raises(TypeError, match="threads must be an int"):
        niwaki.compile(small, (x,), threads=2.0)
    with pytest.raises(ValueError, match="mmx"):
        niwaki.compile(small, (x,), isa="mmx")


def test_nothing_quantized(model: nn.Module) -> None:
    """A network that nobody compressed runs in float32, whole."""
    net = niwaki.compile(model, (images(),))
    assert not net.plan.torch and all("int8" not in step.scheme for step in net.plan)
    x = images(2, 31, 27)
    torch.testing.assert_close(net(x), model(x), rtol=1e-4, atol=1e-5)


class Switch(nn.Module):
    """Its graph changes after calibration."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.more = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return torch.sigmoid(x) + torch.tanh(x) if self.more else torch.sigmoid(x)


def test_missing_range_is_observed_again() -> None:
    x = images()
    small = niwaki.quantize(Switch().eval(), [x], progress=False)
    small.more = True
    with pytest.raises(
        niwaki.NiwakiError, match=r"another graph than the one that was calibrated.*calibration= to niwaki\.compile"
    ):
        niwaki.compile(small, (x,))
    net = niwaki.compile(small, (x,), calibration=[x])
    assert cosine(net(x), small(x)) > 0.999


def test_wrong_calibration(small: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"NaN or infinity|not finite"):
        niwaki.compile(small, (images(),), calibration=[torch.full((1, 3, 24, 24), np.nan)])
    with pytest.raises(ValueError, match=r"calibration"):
        niwaki.compile(small, (images(),), calibration=[])


def test_networks_are_not_copied(net: niwaki.Network) -> None:
    with pytest.raises(TypeError, match="save it to a file"):
        copy.deepcopy(net)


def test_names(net: niwaki.Network) -> None:
    (x,) = net.inputs
    assert x.name == "x" and x.dims == ("batch", 3, "height", "width") and x.dtype == "float32"
    assert str(x) == "x: float32 [batch, 3, height, width]" and [size.name for size in net.sizes] == [
        "batch",
        "height",
        "width",
    ]
    assert net.outputs == ("output",)
    assert "Small" in repr(net)


def test_options_that_the_network_was_captured_without_are_refused() -> None:
    """A forward that takes any name takes those that matter, too: `double` was left out in silence."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor, **options: Any) -> torch.Tensor:
            return self.layer(x) * (2 if options.get("double") else 1)

    x = torch.randn(8, 4)
    compiled = niwaki.compile(niwaki.quantize(Net(), x), (x,))
    with pytest.raises(TypeError, match="argument 'double' is not one of those that the network was compiled with"):
        compiled(x, double=True)
    assert torch.equal(compiled(x, double=None), compiled(x))
