"""Small graphs of every uint8 operator and every way in which a file stores weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from niwaki import _core

Attributes = Mapping[str, "int | float | str | _core.Dim | Sequence[int | _core.Dim]"]


class Chain:
    """A graph in which most nodes take what the one before them made, with one scale and zero point for all."""

    def __init__(self, seed: int, channels: int = 3, rank: int = 4, size: int = 9, **metadata: str) -> None:
        self.graph = _core.Graph()
        self.graph.metadata = {"source": "a test", **metadata}
        self.random = np.random.default_rng(seed)
        self.batch = self.graph.add_size("batch", 0, 2**31 - 1, 1)
        sides = self.sides = (
            [self.graph.add_size(name, 1, 2**31 - 1, size) for name in ("height", "width")] if rank == 4 else []
        )
        self.last = self.add(
            "quantize", inputs=[self.graph.add_input("image", "float32", [self.batch, channels, *sides])]
        )

    def add(
        self,
        op: str,
        attributes: Attributes | None = None,
        *,
        inputs: Sequence[int] | None = None,
        **tensors: np.ndarray,
    ) -> int:
        number = len(self.graph.nodes())
        quantizations = [] if op == "dequantize" else [(0.05, 128)]
        chosen = [self.last] if inputs is None else inputs
        (self.last,) = self.graph.add_node(op, f"{op}.{number}", chosen, attributes or {}, tensors, quantizations)
        return self.last

    def layer(
        self, weight: np.ndarray, attributes: Attributes | None = None, inputs: Sequence[int] | None = None
    ) -> int:
        outputs = weight.shape[0]
        scale = self.random.uniform(0.001, 0.01, outputs).astype(np.float32)
        bias = self.random.integers(-500, 500, outputs, dtype=np.int32)
        op = "conv2d" if weight.ndim == 4 else "linear"
        return self.add(op, attributes, inputs=inputs, weight=weight, weight_scale=scale, bias=bias)

    def weight(self, *shape: int, limit: int = 127) -> np.ndarray:
        return self.random.integers(-limit, limit, shape, dtype=np.int8, endpoint=True)

    def blocks(self, *shape: int, kept: float = 0.2) -> np.ndarray:
        """Whole blocks of four input channels are zero, or not."""
        keep = self.random.random((shape[0], -(-shape[1] // 4), *shape[2:])) < kept
        return self.weight(*shape) * keep.repeat(4, axis=1)[:, : shape[1]]

    def singles(self, *shape: int, kept: float = 0.2) -> np.ndarray:
        return self.weight(*shape) * (self.random.random(shape) < kept)

    def bell(self, *shape: int, width: float = 6.0) -> np.ndarray:
        """Small numbers are frequent: what Huffman codes well."""
        return np.clip(np.rint(self.random.normal(0, width, shape)), -127, 127).astype(np.int8)

    def finish(self) -> _core.Graph:
        self.add("dequantize")
        self.graph.add_output(self.last, "result")
        return self.graph


def dense() -> _core.Graph:
    chain = Chain(1, **{"image.mean": "0.5,0.4,0.3", "image.std": "0.2,0.2,0.3"})
    chain.layer(chain.weight(8, 3, 3, 3), {"padding": [1, 1, 1, 1], "stride": [2, 2], "low": 128})
    chain.layer(chain.weight(6, 8, 1, 1))
    return chain.finish()


def block_mask() -> _core.Graph:
    chain = Chain(2, channels=10)
    chain.layer(chain.blocks(12, 10, 3, 3), {"padding": [1, 1, 1, 1]})
    return chain.finish()


def bit_mask() -> _core.Graph:
    chain = Chain(3, channels=9, rank=2)
    chain.layer(chain.singles(40, 9))
    return chain.finish()


def codebook() -> _core.Graph:
    chain = Chain(4, channels=8)
    levels = np.array([-90, -20, 0, 3, 60], dtype=np.int8)
    chain.layer(chain.random.choice(levels, (8, 8, 3, 3)))
    chain.layer(np.sign(chain.blocks(32, 8, 1, 1, kept=0.3)) * np.int8(64))
    chain.layer(np.sign(chain.singles(16, 32, 1, 1, kept=0.1)) * np.int8(5))
    return chain.finish()


def huffman() -> _core.Graph:
    chain = Chain(5, channels=16)
    chain.layer(chain.bell(16, 16, 3, 3))
    return chain.finish()


def huffman_masks() -> _core.Graph:
    chain = Chain(6, channels=32, rank=2)
    chain.layer(chain.blocks(256, 32, kept=0.02))
    chain.layer(chain.bell(64, 256) * (chain.random.random((64, 256)) < 0.01).astype(np.int8))
    return chain.finish()


def depthwise() -> _core.Graph:
    chain = Chain(7, channels=6)
    chain.layer(chain.weight(6, 1, 3, 3), {"groups": 6, "padding": [1, 1, 1, 1]})
    chain.layer(
        chain.weight(6, 1, 5, 5, limit=9), {"groups": 6, "stride": [2, 1], "dilation": [1, 2], "padding": [2, 4, 2, 4]}
    )
    return chain.finish()


def joined() -> _core.Graph:
    chain = Chain(8, channels=4)
    first = chain.last
    left = chain.layer(chain.weight(5, 4, 1, 1))
    right = chain.layer(chain.weight(8, 4, 3, 3), {"padding": [1, 1, 1, 1], "groups": 1}, inputs=[first])
    chain.add("concat", {"axis": 1}, inputs=[left, right, first])
    joined = chain.last
    chain.add("mul", inputs=[joined, chain.add("adaptive_avg_pool2d", {"size": [1, 1]})])
    chain.add("add", {"low": 128}, inputs=[chain.last, joined])
    return chain.finish()


def shapes() -> _core.Graph:
    chain = Chain(9, channels=8, size=8)
    chain.add("max_pool2d", {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1, 1, 1], "ceil_mode": 1})
    chain.add("avg_pool2d", {"kernel": [2, 3], "count_include_pad": 0, "padding": [0, 1, 0, 1]})
    chain.add("channel_shuffle", {"groups": 2})
    chain.add("upsample_nearest2d", {"scale": [2, 1]})
    chain.add("pad", {"padding": [0, 0, 1, 0, 0, 2, 1, 1], "mode": "constant", "q": 7})
    chain.add("slice", {"axis": 1, "start": -6, "step": 2})
    chain.add("slice", {"axis": 3, "end": -1})
    chain.add("clamp", {"low": 100, "high": 200})
    chain.add("table", table=chain.random.integers(0, 256, 256, dtype=np.uint8))
    chain.add("reshape", {"shape": [chain.batch, -1, 5, 1]})
    chain.add("reshape", {"shape": [chain.batch, -1]})
    return chain.finish()


def shuffled() -> _core.Graph:
    chain = Chain(15, channels=24)
    chain.add("pixel_shuffle", {"factors": [2, 2]})
    chain.add("pixel_shuffle", {"factors": [1, 2]})
    chain.add("reshape", {"shape": [chain.batch, 3, -1]})
    chain.add("slice", {"axis": 2, "end": 40})
    chain.add("reshape", {"shape": [chain.batch, 12, 10]})
    chain.add("pixel_shuffle", {"factors": [1, 4]})
    return chain.finish()


def resized() -> _core.Graph:
    chain = Chain(12, channels=6)
    first = chain.layer(chain.weight(6, 6, 1, 1))
    size = [side * 2 for side in chain.sides]
    chain.add("prelu", slope=chain.random.uniform(-0.5, 1.5, 6).astype(np.float32))
    chain.add("extreme", {"function": "maximum", "high": 200}, inputs=[chain.last, first])
    chain.add("resize", {"mode": "linear", "size": size, "align_corners": 1})
    chain.add("resize", {"mode": "cubic", "size": [5, 11], "scales": [0.0, 1.5]})
    chain.add("resize", {"mode": "nearest-exact", "size": [7, 3]})
    return chain.finish()


def phases() -> _core.Graph:
    """A first convolution that works on the phases of its image; a second input, a second output in float32."""
    chain = Chain(10, size=14)
    chain.layer(chain.weight(8, 3, 7, 7), {"padding": [3, 3, 3, 3], "stride": [2, 2]})
    chain.add("adaptive_avg_pool2d", {"size": [1, 1]})
    flat = chain.add("reshape", {"shape": [chain.batch, 8]})
    extra = chain.add("quantize", inputs=[chain.graph.add_input("extra", "float32", [chain.batch, 8])])
    chain.layer(chain.weight(8, 8), inputs=[flat, extra])
    return chain.finish()


def batches() -> _core.Graph:
    """Two inputs, each of a batch of its own: what is cut into parts of some images for one is not for the other."""
    chain = Chain(11, channels=4)
    first = chain.layer(chain.weight(6, 4, 3, 3))
    others = chain.graph.add_size("others", 0, 2**31 - 1, 1)
    second = chain.graph.add_input("second", "float32", [others, 4])
    chain.add("quantize", inputs=[second])
    chain.layer(chain.weight(5, 4))
    chain.graph.add_output(chain.add("dequantize"), "other")
    chain.last = first
    return chain.finish()


GRAPHS: dict[str, Callable[[], _core.Graph]] = {
    make.__name__: make
    for make in (
        dense,
        block_mask,
        bit_mask,
        codebook,
        huffman,
        huffman_masks,
        depthwise,
        joined,
        shapes,
        shuffled,
        resized,
        phases,
        batches,
    )
}
