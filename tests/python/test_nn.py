"""niwaki.nn layers and their operators: what they compute, and that they live inside any model."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki.nn import sessions
from niwaki.quantization.weights import MAX_REDUCTION

X = (-2.0, 2.0)


def dequantized_input(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """x as the layer sees it, float64."""
    q = (x * (1 / layer.input_scale)).round() + layer.input_zero_point
    q = torch.where(x.isnan(), torch.zeros_like(q), q).clamp(0, 255)
    return (q - layer.input_zero_point).double() * layer.input_scale.double()


def expected(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """What the layer computes, in float64."""
    shape = (-1,) + (1,) * (layer.weight.dim() - 1)
    weight = layer.weight.double() * layer.weight_scale.double().reshape(shape)
    bias = None if layer.bias is None else layer.bias.double()
    x = dequantized_input(layer, x)
    if isinstance(layer, niwaki.nn.Linear):
        return F.linear(x, weight, bias)
    top, left, bottom, right = layer.padding
    x = F.pad(x, (left, right, top, bottom))
    return F.conv2d(x, weight, bias, layer.stride, 0, layer.dilation, layer.groups)


def make_conv(**options: Any) -> tuple[nn.Conv2d, niwaki.nn.Conv2d]:
    layer = nn.Conv2d(8, 12, **{"kernel_size": 3, **options})
    return layer, niwaki.nn.Conv2d.from_float(layer, X)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": 1, "bias": False},
        {"padding": (2, 0), "stride": (1, 2), "kernel_size": (5, 2)},
        {"dilation": 2, "padding": "same"},
        {"kernel_size": (4, 3), "padding": "same"},
        {"kernel_size": 2, "padding": "valid"},
        {"groups": 4, "padding": 1},
        {"kernel_size": 1},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("batch", [1, 3])
def test_conv2d_is_the_convolution_of_its_integers(options: dict[str, Any], batch: int) -> None:
    layer, quantized = make_conv(**options)
    x = torch.randn(batch, 8, 9, 11)
    y = quantized(x)
    assert y.shape == layer(x).shape and y.dtype == torch.float32
    torch.testing.assert_close(y.double(), expected(quantized, x), rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(quantized(x[0]), y[0], rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(16,), (1, 16), (5, 16), (2, 3, 16), (0, 16)])
def test_linear_takes_any_rank(shape: tuple[int, ...]) -> None:
    layer = nn.Linear(16, 7)
    quantized = niwaki.nn.Linear.from_float(layer, X)
    x = torch.randn(shape)
    y = quantized(x)
    assert y.shape == (*shape[:-1], 7)
    torch.testing.assert_close(y.double(), expected(quantized, x), rtol=1e-5, atol=1e-3)


def test_depthwise() -> None:
    layer = nn.Conv2d(6, 6, 3, padding=1, groups=6)
    quantized = niwaki.nn.Conv2d.from_float(layer, X)
    x = torch.randn(2, 6, 7, 5)
    torch.testing.assert_close(quantized(x).double(), expected(quantized, x), rtol=1e-5, atol=1e-3)


def test_batch_0_and_1x1_images_and_other_memory_formats() -> None:
    _, quantized = make_conv(padding=1)
    assert quantized(torch.empty(0, 8, 5, 5)).shape == (0, 12, 5, 5)
    assert quantized(torch.randn(2, 8, 1, 1)).shape == (2, 12, 1, 1)
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(quantized(x.to(memory_format=torch.channels_last)), quantized(x))
    assert torch.equal(quantized(x[:, :, ::2, ::2]), quantized(x[:, :, ::2, ::2].clone()))


def test_nan_becomes_the_lowest_value() -> None:
    quantized = niwaki.nn.Linear.from_float(nn.Linear(4, 2), X)
    x = torch.tensor([[float("nan"), 1.0, float("inf"), float("-inf")]])
    lowest = torch.tensor([[-100.0, 1.0, 100.0, -100.0]])
    assert torch.equal(quantized(x), quantized(lowest))


def test_copies_pickles_and_state_dict_give_the_same() -> None:
    model = nn.Sequential(make_conv()[1], nn.ReLU(), nn.Flatten(), niwaki.nn.Linear(12 * 9, 3)).eval()
    model[3].set_from_float(torch.randn(3, 108), torch.randn(3), X)
    x = torch.randn(2, 8, 5, 5)
    y = model(x)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
        assert torch.equal(other(x), y)
    fresh = nn.Sequential(niwaki.nn.Conv2d(8, 12, 3), nn.ReLU(), nn.Flatten(), niwaki.nn.Linear(108, 3))
    assert not torch.equal(fresh(x), y)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(x), y)
    with torch.inference_mode():
        assert torch.equal(model(x), y)


@pytest.mark.parametrize("inference", [False, True])
def test_a_write_to_any_buffer_is_noticed(inference: bool) -> None:
    _, quantized = make_conv()
    x = torch.randn(1, 8, 5, 5)
    with torch.inference_mode(inference):
        quantized(x)
        for name, change in (
            ("weight", lambda t: t.neg_()),
            ("weight_scale", lambda t: t.mul_(2)),
            ("bias", lambda t: t.add_(1)),
            ("input_scale", lambda t: t.mul_(1.5)),
            ("input_zero_point", lambda t: t.fill_(100)),
        ):
            before = quantized(x)
            change(getattr(quantized, name))
            after = quantized(x)
            assert not torch.equal(after, before), name
            torch.testing.assert_close(after.double(), expected(quantized, x), rtol=1e-5, atol=1e-2)


def test_layers_made_in_inference_mode_run_outside_and_are_kept() -> None:
    layer = nn.Linear(8, 4)
    with torch.inference_mode():
        quantized = niwaki.nn.Linear.from_float(layer, X)
    x = torch.randn(2, 8)
    y = quantized(x)
    assert quantized.weight in sessions._entries
    assert torch.equal(quantized(x), y)


def test_sessions_die_with_their_weight() -> None:
    quantized = niwaki.nn.Linear.from_float(nn.Linear(8, 4), X)
    before = len(sessions._entries)
    quantized(torch.randn(2, 8))
    assert len(sessions._entries) == before + 1
    del quantized
    assert len(sessions._entries) == before


def test_threads_share_a_layer() -> None:
    _, quantized = make_conv(padding=1)
    inputs = [torch.randn(1, 8, 6 + i, 7) for i in range(4)]
    wanted = [quantized(x) for x in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(30):
            if not torch.equal(quantized(inputs[i]), wanted[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_set_threads_changes_no_bit() -> None:
    _, quantized = make_conv(padding=1)
    x = torch.randn(2, 8, 19, 19)
    y = quantized(x)
    niwaki.set_threads(2)
    try:
        assert niwaki.nn.get_threads() == 2
        assert torch.equal(quantized(x), y)
    finally:
        niwaki.set_threads(None)
    assert niwaki.nn.get_threads() == torch.get_num_threads()
    with pytest.raises(ValueError, match="at least 1"):
        niwaki.set_threads(0)
    with pytest.raises(TypeError, match="integer"):
        niwaki.set_threads(1.5)  # type: ignore[arg-type]


def test_export_and_fake_tensors_see_one_node_per_layer() -> None:
    model = nn.Sequential(make_conv(padding=1, stride=2)[1], nn.ReLU()).eval()
    x = torch.randn(2, 8, 9, 9)
    program = torch.export.export(model, (x,), strict=False)
    targets = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert torch.ops.niwaki.conv2d.default in targets and len(targets) == 2
    assert torch.equal(program.module()(x), model(x))


def test_compiled_by_torch() -> None:
    model = nn.Sequential(make_conv(padding=1)[1], nn.ReLU(), nn.Flatten(), niwaki.nn.Linear(12 * 25, 3)).eval()
    x = torch.randn(2, 8, 5, 5)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), model(x))


def test_operators_fulfil_the_rules_of_torch_library() -> None:
    conv, linear = make_conv(padding=1)[1], niwaki.nn.Linear.from_float(nn.Linear(8, 4), X)
    rules = ("test_schema", "test_faketensor")

    def tensors(layer: Any) -> tuple[Any, ...]:
        return (layer.weight, layer.weight_scale, layer.bias, layer.input_scale, layer.input_zero_point)

    settings = ([1, 1], [1, 1, 1, 1], [1, 1], 1)
    x = torch.randn(2, 8, 5, 5)
    torch.library.opcheck(torch.ops.niwaki.conv2d.default, (x, *tensors(conv), *settings), test_utils=rules)
    torch.library.opcheck(torch.ops.niwaki.linear.default, (torch.randn(2, 8), *tensors(linear)), test_utils=rules)


@pytest.mark.parametrize(
    ("x", "error", "says"),
    [
        (torch.zeros(1, 8, 5, 5, dtype=torch.float64), TypeError, "must be float32, not float64"),
        (torch.zeros(1, 8, 5, 5, dtype=torch.uint8), TypeError, "must be float32, not uint8"),
        (torch.zeros(1, 7, 5, 5), ValueError, r"\[N, 8, H, W\], not \[1, 7, 5, 5\]"),
        (torch.zeros(8, 5), ValueError, r"\[N, 8, H, W\]"),
        (torch.zeros(1, 8, 2, 2), ValueError, "too small"),
        ([1.0], TypeError, "must be a torch.Tensor, not list"),
    ],
)
def test_conv2d_refuses_bad_inputs(x: Any, error: type[Exception], says: str) -> None:
    _, quantized = make_conv()
    with pytest.raises(error, match=says):
        quantized(x)


def test_messages_name_the_layer() -> None:
    quantized = niwaki.nn.Linear.from_float(nn.Linear(8, 4), X, name="head.fc")
    with pytest.raises(ValueError, match=r"Layer 'head.fc'.*\[\.\.\., 8\]"):
        quantized(torch.zeros(2, 9))


def test_converted_layers_say_so() -> None:
    _, quantized = make_conv()
    with pytest.raises(TypeError, match=r"weight_scale must be float32.*\.half"):
        quantized.double()(torch.randn(1, 8, 5, 5))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: niwaki.nn.Conv2d.from_float(nn.Linear(3, 3), X), TypeError, "needs a torch.nn.Conv2d"),
        (lambda: niwaki.nn.Linear.from_float(nn.Linear(3, 3).double(), X), TypeError, "must be float32"),
        (lambda: niwaki.nn.Linear.from_float(nn.Linear(3, 3), (1.0, 0.0)), ValueError, "must rise"),
        (lambda: niwaki.nn.Linear.from_float(nn.Linear(3, 3), (0.0, float("inf"))), ValueError, "must be finite"),
        (
            lambda: niwaki.nn.Conv2d.from_float(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), X, name="a"),
            ValueError,
            "Layer 'a': padding_mode 'reflect'",
        ),
        (
            lambda: niwaki.nn.Linear.from_float(nn.Linear(MAX_REDUCTION + 1, 1), X, name="big"),
            ValueError,
            "Layer 'big' sums 66312 products",
        ),
        (lambda: niwaki.nn.Conv2d(4, 6, 3, groups=4), ValueError, "divide into 4 groups"),
        (lambda: niwaki.nn.Conv2d(4, 4, 3, padding="full"), ValueError, "padding must be"),  # type: ignore[arg-type]
        (lambda: niwaki.nn.Conv2d(4, 4, 3, stride=2, padding="same"), ValueError, "stride of 1"),
        (lambda: niwaki.nn.Conv2d(4, 4, (3, 3, 3)), ValueError, "kernel_size must be"),  # type: ignore[arg-type]
        (lambda: niwaki.nn.Linear(0, 4), ValueError, "at least 1"),
    ],
)
def test_layers_that_cannot_be(make: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()


def test_the_longest_reduction_runs() -> None:
    layer = nn.Linear(MAX_REDUCTION, 1, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    quantized = niwaki.nn.Linear.from_float(layer, (0.0, 255.0))
    assert quantized(torch.full((1, MAX_REDUCTION), 255.0)).item() == pytest.approx(255.0 * MAX_REDUCTION, rel=1e-5)


def test_gradients_are_refused_and_not_wrong() -> None:
    quantized = niwaki.nn.Linear.from_float(nn.Linear(8, 4), X)
    x = torch.randn(2, 8, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"niwaki\.linear"):
        quantized(x).sum().backward()
