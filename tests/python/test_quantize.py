"""niwaki.quantize: weights, calibration, ranges, and what it refuses."""

from __future__ import annotations

import copy
import io
import itertools
import math
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune as torch_prune

import niwaki
from niwaki.quantization import Ranges, attach_ranges, qparams, ranges_of
from niwaki.quantization.inputs import batches, check_calibration
from niwaki.quantization.weights import quantize_weight, relative_error

INT32 = 2**31 - 1


class Block(nn.Module):
    """A residual block with functional calls, a batch norm that cannot be folded, and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv1(self.norm(x)), inplace=True)
        y = torch.cat([x + self.conv2(x), x], 1)
        return self.fc(F.adaptive_avg_pool2d(y, 1).flatten(1))


def similar(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.detach().double().flatten(), b.detach().double().flatten()
    return float(a @ b / (a.norm() * b.norm()))


# Weights.


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("weight_range", ["minmax", "mse"])
def test_weights_round_to_the_nearest_step(per_channel: bool, weight_range: Any) -> None:
    weight = torch.randn(6, 4, 3, 3) * torch.tensor([1e-3, 1.0, 5.0, 0.1, 1.0, 1.0]).reshape(-1, 1, 1, 1)
    q, scale = quantize_weight(weight, None, 0.1, per_channel=per_channel, weight_range=weight_range)
    assert q.dtype == torch.int8 and q.shape == weight.shape and scale.shape == (6,) and scale.dtype == torch.float32
    assert q.min() >= -127
    assert (len(set(scale.tolist())) == 1) == (not per_channel)
    step = scale.reshape(-1, 1, 1, 1)
    if weight_range == "minmax":
        assert ((q * step - weight).abs() <= step / 2 * (1 + 1e-5)).all()
        assert q.abs().amax() == 127


def test_mse_range_of_weights_has_no_more_error() -> None:
    weight = torch.randn(8, 5000)
    weight[:, 0] = 12.0
    plain = relative_error(weight, *quantize_weight(weight, None, 0.1))
    fitted = relative_error(weight, *quantize_weight(weight, None, 0.1, weight_range="mse"))
    assert fitted < plain


def test_zero_and_constant_channels() -> None:
    weight = torch.zeros(4, 3)
    weight[1] = 0.25
    weight[2, 0] = 1e-30
    bias = torch.tensor([3.0, 0.0, 0.0, 0.0])
    q, scale = quantize_weight(weight, bias, 0.01)
    assert (scale > 0).all() and torch.isfinite(scale).all()
    assert q[0].tolist() == [0, 0, 0] and q[1].tolist() == [127, 127, 127] and q[3].tolist() == [0, 0, 0]
    assert torch.equal(q == 0, weight == 0)
    # The bias of a channel without weights is still exact.
    unit = scale[0].double() * 0.01
    assert abs((3.0 / unit).round() * unit - 3.0) < 1e-5


@pytest.mark.parametrize("bias", [1e3, 1e6, -1e9, 1e20])
def test_a_large_bias_fits_int32(bias: float) -> None:
    q, scale = quantize_weight(torch.full((1, 10), 1e-3), torch.tensor([bias]), 1e-3)
    steps = abs(bias) / (1e-3 * scale.double().item())
    assert steps <= 2**30 * (1 + 1e-6)
    assert float(q.double().abs().sum()) * 255 + steps <= INT32


def test_the_longest_sum_with_a_bias_fits_int32() -> None:
    weight, bias = torch.ones(1, 66_311), torch.tensor([5e6])
    q, scale = quantize_weight(weight, bias, 1.0)
    assert float(q.double().abs().sum()) * 255 + 5e6 / scale.double().item() <= INT32


# Networks.


def test_layers_are_swapped_and_answers_are_close() -> None:
    model = Block().eval()
    x = torch.randn(16, 3, 8, 8)
    quantized = niwaki.quantize(model, x)
    kinds = [type(quantized.conv1), type(quantized.conv2), type(quantized.fc)]
    assert kinds == [niwaki.nn.Conv2d, niwaki.nn.Conv2d, niwaki.nn.Linear]
    assert type(quantized.norm) is nn.BatchNorm2d
    assert not quantized.training and not list(quantized.conv1.parameters())
    assert similar(quantized(x), model(x)) > 0.999
    assert [m.name for m in (quantized.conv1, quantized.fc)] == ["conv1", "fc"]


def test_the_callers_model_is_untouched() -> None:
    model = Block().train()
    before = copy.deepcopy(model.state_dict())
    x = torch.randn(4, 3, 8, 8)
    kept = x.clone()
    niwaki.quantize(model, x)
    assert model.training and type(model.conv1) is nn.Conv2d and model.conv1.weight.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.conv1._forward_pre_hooks and torch.equal(x, kept)
    with pytest.raises(ValueError, match="calibration item 1"):
        niwaki.quantize(model, [x, torch.full_like(x, math.nan)])
    assert type(model.conv1) is nn.Conv2d and not hasattr(model, "niwaki_ranges")


def test_inputs_that_the_network_writes_to_are_kept() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x.sub_(1.0))

    x = torch.randn(2, 3, 4, 4)
    kept = x.clone()
    quantized = niwaki.quantize(Writes(), x)
    assert torch.equal(x, kept)
    low, high = (x - 1).min().item(), (x - 1).max().item()
    minmax = niwaki.quantize(Writes(), x, niwaki.QuantizeConfig(observer="minmax"))
    assert minmax.conv.input_scale.item() == qparams(low, high)[0]
    assert quantized.conv.input_scale > 0


def test_every_value_has_its_range() -> None:
    model = Block().eval()
    data = [torch.randn(4, 3, 8, 8), torch.randn(2, 3, 8, 8) * 3]
    quantized = niwaki.quantize(model, data, niwaki.QuantizeConfig(observer="minmax"))
    ranges = quantized.niwaki_ranges
    assert isinstance(ranges, Ranges)
    with torch.no_grad():
        norm = torch.cat([model.norm(d).flatten() for d in data])
        hidden = [F.relu(model.conv1(model.norm(d))) for d in data]
        added = torch.cat([(h + model.conv2(h)).flatten() for h in hidden])
    for name, value in (("batch_norm", norm), ("add", added)):
        assert ranges.get(name) == pytest.approx((value.min().item(), value.max().item()), rel=1e-4), name
    # Before the ReLU in place, conv2d was negative, too.
    assert ranges.get("conv2d")[0] < 0 and ranges.get("relu_")[0] == 0
    # What goes in and comes out is float32.
    assert ranges.get("x") is None and ranges.get("linear") is None and "cat" in ranges
    scale, zero_point = qparams(*ranges.get("batch_norm"))
    assert (quantized.conv1.input_scale.item(), quantized.conv1.input_zero_point.item()) == (scale, zero_point)


def test_calibration_computes_with_the_float_weights() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 64))
    x = torch.randn(32, 64)
    config = niwaki.QuantizeConfig(observer="minmax")
    quantized = niwaki.quantize(model, x, config)
    hidden = model[1](model[0](x))
    assert quantized[2].input_scale.item() == pytest.approx(qparams(hidden.min().item(), hidden.max().item())[0], 1e-5)


def test_ranges_travel() -> None:
    x = torch.randn(4, 3, 8, 8)
    quantized = niwaki.quantize(Block(), x)
    ranges = ranges_of(quantized)
    assert len(ranges) >= 8 and ranges.fingerprint
    file = io.BytesIO()
    torch.save(quantized.state_dict(), file)
    file.seek(0)
    other = niwaki.quantize(Block(), x * 2)
    other.load_state_dict(torch.load(file, weights_only=True))
    for travelled in (copy.deepcopy(quantized), pickle.loads(pickle.dumps(quantized)), other):
        assert ranges_of(travelled) == ranges
        assert torch.equal(travelled(x), quantized(x))
    from safetensors.torch import load, save

    loaded = load(save(quantized.state_dict()))
    attach_ranges(other, Ranges())
    other.load_state_dict(loaded)
    assert ranges_of(other) == ranges
    with pytest.raises(RuntimeError, match=r"niwaki_ranges\.values"):
        other.load_state_dict({name: value for name, value in loaded.items() if not name.startswith("niwaki_ranges")})
    assert list(other.children()) == [other.norm, other.conv1, other.conv2, other.fc]


def test_batches_and_images_of_other_sizes() -> None:
    class Views(Block):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = F.relu(self.conv1(x))
            y = torch.cat([y, self.conv2(y)], 1)
            n, c, h, w = y.shape
            return self.fc(y.view(n, c, h * w).mean(2))

    data = [torch.randn(4, 3, 8, 8), torch.randn(3, 3, 8, 8), torch.randn(4, 3, 11, 9), torch.randn(1, 3, 8, 8) * 5]
    model = Views().eval()
    quantized = niwaki.quantize(model, data, niwaki.QuantizeConfig(observer="minmax"))
    assert quantized.niwaki_ranges.get("x") == (min(d.min().item() for d in data), max(d.max().item() for d in data))
    for x in data:
        assert similar(quantized(x), model(x)) > 0.995


def test_a_network_that_torch_cannot_export_is_still_quantized() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x)) if x.sum() > -1e9 else x

    model = Branches()
    x = torch.randn(8, 4)
    quantized = niwaki.quantize(model, x)
    assert isinstance(quantized.b, niwaki.nn.Linear) and len(quantized.niwaki_ranges) == 0
    assert similar(quantized(x), model(x)) > 0.999


def test_shared_layers_and_one_layer_networks() -> None:
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    x = torch.randn(8, 4)
    quantized = niwaki.quantize(model, x)
    assert quantized[0] is quantized[2]
    assert similar(quantized(x), model(x)) > 0.999
    single = niwaki.quantize(layer, x)
    assert similar(single(x), layer(x)) > 0.999


def test_pruned_networks_keep_their_zeros() -> None:
    ours = niwaki.prune(nn.Sequential(nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8, 4)), sparsity=0.6)
    quantized = niwaki.quantize(ours, torch.randn(4, 8, 3, 3))
    assert (quantized[0].weight[ours[0].weight == 0] == 0).all()
    torchs = nn.Sequential(nn.Linear(16, 16))
    torch_prune.random_unstructured(torchs[0], "weight", 0.5)
    torchs(torch.randn(2, 16))  # makes the masked weight a computed tensor
    x = torch.randn(4, 16)
    quantized = niwaki.quantize(torchs, x)
    assert (quantized[0].weight[torchs[0].weight == 0] == 0).all()
    assert similar(quantized(x), torchs(x)) > 0.999 and torch_prune.is_pruned(torchs)


def test_layers_that_stay_in_float32() -> None:
    class Own(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 2

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)
            self.reflect = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.own = Own(8, 8)
            self.read = nn.Linear(8, 8)
            self.dead = nn.Linear(8, 8)
            self.both = nn.Linear(8, 8)
            self.fc = nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.reflect(self.conv(x)).flatten(2).transpose(1, 2)
            y = self.both(y.to(self.both.weight.dtype))
            y = self.own(self.attention(y, y, y)[0])
            return self.fc(F.linear(y, self.read.weight))

    model = Net().eval()
    x = torch.randn(4, 3, 7, 7)
    quantized, report = niwaki.compress(model, x)
    reasons = {row.name: row.reason for row in report if row.scheme == "float32"}
    assert "computes something of its own" in reasons["own"]
    assert "not called" in reasons["read"] and "not called" in reasons["dead"]
    assert reasons["both"] == "other parts of the network read its weight or bias"
    assert type(model.both) is nn.Linear
    projections = {f"attention.{part}_proj" for part in ("q", "k", "v", "out")}
    assert {row.name for row in report if row.scheme != "float32"} == {"conv", "reflect.conv", "fc"} | projections
    assert similar(quantized(x), model(x)) > 0.999
    quantized = niwaki.quantize(model, x, niwaki.QuantizeConfig(skip=("conv",)))
    assert type(quantized.conv) is nn.Conv2d and type(quantized.fc) is niwaki.nn.Linear


def test_transformer_layers_run_whichever_path_torch_takes() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), nn.Linear(16, 4)).eval()
    x = torch.randn(4, 5, 16)
    quantized = niwaki.quantize(model, x)
    parts = (quantized[1], quantized[0].linear1, quantized[0].linear2)
    assert all(type(part) is niwaki.nn.Linear for part in parts)
    assert similar(quantized(x), model(x)) > 0.999
    with torch.inference_mode():
        assert similar(quantized(x), model(x)) > 0.999


def test_constant_and_all_zero_layers() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(-1.0)  # so the ReLU gives zeros only
        model[2].weight.fill_(0.5)
        model[4].weight.zero_()
    x = torch.randn(2, 3, 4, 4)
    quantized = niwaki.quantize(model, x)
    torch.testing.assert_close(quantized(x), model(x), rtol=1e-3, atol=1e-3)
    assert quantized(torch.zeros(0, 3, 4, 4)).shape == (0, 2, 4, 4)


# Calibration.

IMAGE = torch.randn(2, 3, 8, 8)


def images() -> Iterator[torch.Tensor]:
    yield from (IMAGE, IMAGE[:1])


class Plain(nn.Module):
    """A convolution, whose input is x."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


@pytest.mark.parametrize(
    "calibration",
    [
        IMAGE,
        [IMAGE, IMAGE[:1]],
        (IMAGE,),
        [(IMAGE, torch.tensor([0, 1])), [IMAGE[:1], torch.tensor([0])]],
        [{"x": IMAGE}],
        {"x": IMAGE},
        images(),
        torch.utils.data.DataLoader(torch.utils.data.TensorDataset(IMAGE, torch.tensor([0, 1])), batch_size=2),
    ],
    ids=["tensor", "list", "tuple", "labels", "dicts", "dict", "generator", "loader"],
)
def test_forms_of_calibration(calibration: Any) -> None:
    config = niwaki.QuantizeConfig(observer="minmax")
    found = niwaki.quantize(Plain(), calibration, config).niwaki_ranges.get("x")
    assert found == (IMAGE.min().item(), IMAGE.max().item())


def test_transform() -> None:
    data = [{"pixels": IMAGE.numpy(), "label": 3}]
    config = niwaki.QuantizeConfig(transform=lambda item: torch.from_numpy(item["pixels"]) * 2, observer="minmax")
    assert niwaki.quantize(Plain(), data, config).niwaki_ranges.get("x")[1] == 2 * IMAGE.max().item()


def test_an_endless_stream_is_not_read_ahead() -> None:
    stream = batches(check_calibration(itertools.repeat(IMAGE)), None, Block())
    assert [batch.number for batch in itertools.islice(stream, 3)] == [0, 1, 2]


NAN, INFINITY = IMAGE.clone(), IMAGE.clone()
NAN[0, 0, 0, 0], INFINITY[0, 0, 0, 0] = math.nan, math.inf


@pytest.mark.parametrize(
    ("calibration", "error", "says"),
    [
        ([], ValueError, "calibration is empty"),
        (iter([]), ValueError, "calibration is empty"),
        (None, TypeError, "calibration must be an iterable"),
        (3, TypeError, "calibration must be an iterable"),
        ("images", TypeError, "calibration must be an iterable.*not str"),
        (nn.Linear(1, 1), TypeError, "not Linear"),
        ([3], TypeError, "calibration item 0 is int.*transform="),
        ([IMAGE.numpy()], TypeError, "item 0 is a numpy array.*transform="),
        ([()], ValueError, "item 0 is an empty tuple"),
        ([{}], ValueError, "arguments by name"),
        ([{"x": 3}], TypeError, "holds no tensor"),
        ([{"y": IMAGE}], ValueError, "item 0: the network cannot be called with it: missing a required argument: 'x'"),
        ([IMAGE, IMAGE[:0]], ValueError, "item 1 is empty"),
        ([IMAGE[:, :2]], ValueError, r"item 0 \(float32 \[2, 2, 8, 8\]\): the network cannot be run"),
        ([IMAGE, IMAGE[:, :2]], ValueError, r"item 1 \(float32 \[2, 2, 8, 8\]\): the network cannot be run"),
        ([IMAGE.flatten(1)], ValueError, "item 0 .* cannot be run"),
        ([IMAGE.double()], ValueError, "item 0 is float64; niwaki computes in float32"),
        ([(IMAGE * 50).to(torch.uint8)], ValueError, "item 0 .*uint8.* cannot be run"),
        ([IMAGE.to("meta")], ValueError, "item 0 is on device 'meta'"),
        ([IMAGE, NAN], ValueError, "item 1 holds NaN or infinity"),
        ([INFINITY], ValueError, "item 0 holds NaN or infinity"),
    ],
)
@pytest.mark.parametrize("verb", [niwaki.quantize, niwaki.compress])
def test_bad_calibration(verb: Any, calibration: Any, error: type[Exception], says: str) -> None:
    if isinstance(calibration, Iterator):
        calibration = iter([])
    model = Block()
    with pytest.raises(error, match=says):
        verb(model, calibration)
    assert type(model.conv1) is nn.Conv2d


def test_a_transform_that_fails_is_said() -> None:
    with pytest.raises(ValueError, match="item 0: transform failed: KeyError"):
        niwaki.compress(Block(), [{"a": IMAGE}], transform=lambda item: item["b"])


def test_nan_that_arises_within_names_the_layer() -> None:
    model = Block().eval()
    model.norm.running_var.fill_(-1.0)
    with pytest.raises(ValueError, match="the input of layer 'conv1' holds NaN"):
        niwaki.quantize(model, IMAGE)


def test_infinite_masks_are_allowed() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.fc(x).masked_fill(torch.eye(4, dtype=torch.bool), -math.inf).softmax(-1))

    model, x = Masked(), torch.randn(4, 4)
    quantized = niwaki.quantize(model, x)
    assert quantized.niwaki_ranges.get("softmax")[1] <= 1 and similar(quantized(x), model(x)) > 0.999


@pytest.mark.parametrize("what", ["weight", "bias"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_weights_name_the_layer(what: str, bad: float) -> None:
    model = Block()
    with torch.no_grad():
        getattr(model.conv2, what).view(-1)[0] = bad
    with pytest.raises(ValueError, match=f"Layer 'conv2': its {what} holds NaN or infinity"):
        niwaki.quantize(model, IMAGE)


def test_a_reduction_that_is_too_long_names_the_layer() -> None:
    model = nn.Sequential(nn.Linear(66_312, 2))
    with pytest.raises(ValueError, match=r"Layer '0' sums 66312 products.*skip=\('0',\)"):
        niwaki.quantize(model, torch.randn(1, 66_312))


@pytest.mark.parametrize(
    ("model", "error", "says"),
    [
        (None, TypeError, "must be a torch.nn.Module, not NoneType"),
        (Block().double(), TypeError, "float64.*model.float"),
        (Block().to(torch.bfloat16), TypeError, "bfloat16"),
        (Block().to("meta"), TypeError, "device 'meta'.*model.cpu"),
        (nn.Sequential(nn.ReLU()), niwaki.NiwakiError, "no layer to quantize"),
    ],
)
def test_bad_models(model: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        niwaki.quantize(model, IMAGE)


def test_quantized_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="quantized already"):
        niwaki.quantize(niwaki.quantize(Block(), IMAGE), IMAGE)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"observer": "max"}, ValueError, "observer must be one of 'auto', 'mse', 'minmax'"),
        ({"percentile": 0.999}, ValueError, "above 50 and at most 100"),
        ({"percentile": math.nan}, ValueError, "above 50"),
        ({"percentile": "99"}, TypeError, "must be a number"),
        ({"per_channel": 1}, TypeError, "per_channel must be True or False"),
        ({"weight_range": "kl"}, ValueError, "weight_range must be one of"),
        ({"skip": "fc"}, TypeError, r"skip=\('fc',\)"),
        ({"skip": (3,)}, TypeError, "layer names or patterns"),
        ({"transform": 3}, TypeError, "must be callable"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        niwaki.QuantizeConfig(**options)


def test_bad_config_and_skip() -> None:
    with pytest.raises(TypeError, match="config must be a QuantizeConfig"):
        niwaki.quantize(Block(), IMAGE, "mse")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'head' matches no.*'conv1'"):
        niwaki.quantize(Block(), IMAGE, niwaki.QuantizeConfig(skip=("head",)))


def test_batch_norms_are_folded() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    net[1].running_mean.normal_()
    x = torch.randn(8, 3, 6, 6)
    quantized = niwaki.quantize(net, x)
    assert type(quantized[1]) is nn.Identity and similar(quantized(x), net(x)) > 0.999


@pytest.mark.parametrize("count", [1, 3])
def test_a_few_inputs_do_not_mislead_the_ranges(count: int, caplog: pytest.LogCaptureFixture) -> None:
    """Values of other inputs lie beyond those that were seen; cut off there, answers were up to 13 % off."""
    torch.manual_seed(0)
    net = nn.MultiheadAttention(20, 5, kdim=12, vdim=12, batch_first=True).eval()

    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.last = net, nn.Linear(20, 3)

        def forward(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            return self.last(self.attention(q, k, k, need_weights=False)[0])

    model = Crossed().eval()
    items = [{"q": torch.randn(1, 5, 20), "k": torch.randn(1, 9, 12)} for _ in range(count)]
    compiled = niwaki.compile(niwaki.quantize(model, items), (items[0]["q"], items[0]["k"]))
    q, k = torch.randn(30, 11, 20), torch.randn(30, 9, 12)
    with torch.no_grad():
        wanted = model(q, k)
    assert float((compiled(q, k) - wanted).norm() / wanted.norm()) < 0.04
    assert f"calibrated with {count} input" in caplog.text


def test_inputs_along_the_second_dimension_are_no_few(caplog: pytest.LogCaptureFixture) -> None:
    """A GRU over [T, N, C] cannot be cut along its first dimension; its 32 inputs are no single one."""

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.last = nn.GRU(6, 8), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.gru(x)[0][-1])

    niwaki.quantize(Steps().eval(), [torch.randn(7, 32, 6)])
    assert "calibrated with" not in caplog.text
