"""A second reader of .niwaki files of one network, written from docs/file-format.md alone: Python, numpy, slow, strict.

It shares nothing with the core: what it reads right the page describes right. What the page rules out: RefusedError.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MAGIC = b"\x89NIWAKI\n"
DTYPES = tuple(np.dtype(name) for name in ("u1", "i1", "<i4", "<f4", "<i8", "?"))
TYPES = ("uint8", "int8", "int32", "float32", "int64", "bool", "byte")
OPERATIONS = ("+", "-", "*", "//", "%", "min", "max")
RELATIONS = ("==", "!=", "<", "<=")
RAW, CODEBOOK, HUFFMAN = range(3)
DENSE, BLOCK_MASK, BIT_MASK = range(3)


class RefusedError(Exception):
    """The file is not what the page says."""


def expect(condition: bool, what: str) -> None:
    if not condition:
        raise RefusedError(what)


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _crc_table() -> list[int]:
    reflected = int(f"{0x1EDC6F41:032b}"[::-1], 2)
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (reflected if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = _crc_table()


class Words:
    """The numbers of a section, in order."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.strings: list[str] = []

    def take(self, count: int) -> bytes:
        expect(self.at + count <= len(self.data), "a section ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def unpack(self, kind: str) -> Any:
        return struct.unpack("<" + kind, self.take(struct.calcsize("<" + kind)))[0]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.unpack("B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        expect(value < 1 << 64 and (byte != 0 or shift == 7), "a number has another spelling")
        return value

    def signed(self) -> int:
        value = self.varint()
        return value // 2 if value % 2 == 0 else -(value + 1) // 2

    def count(self) -> int:
        value = self.varint()
        expect(value < 1 << 32, "a count is too large")
        return value

    def natural(self) -> int:
        value = self.varint()
        expect(value < 1 << 63, "a natural number is too large")
        return value

    def read_strings(self) -> None:
        self.strings = [self.take(self.count()).decode("utf-8") for _ in range(self.count())]

    def string(self) -> str:
        number = self.count()
        expect(number < len(self.strings), "a string does not exist")
        return self.strings[number]

    def end(self) -> None:
        expect(self.at == len(self.data), "a section is followed by something else")


# A number, the name of a free size, or (operation, left, right).
Expression = Any


@dataclass
class ReadNode:
    op: str
    name: str
    inputs: list[int | None]
    attributes: dict[str, list[Expression] | list[float] | str]
    tensors: dict[str, np.ndarray]
    outputs: list[tuple[float, int] | None]  # scale and zero point of a uint8 one


@dataclass
class ReadFile:
    metadata: dict[str, str] = field(default_factory=dict)
    sizes: list[tuple[str, int, int, int]] = field(default_factory=list)  # name, low, high, hint
    inputs: list[tuple[str, str, list[Expression]]] = field(default_factory=list)  # name, type, dims
    states: list[tuple[str, np.ndarray, int]] = field(default_factory=list)  # name, beginning, what it becomes
    guards: list[tuple[str, list[list[tuple[Expression, str, Expression]]]]] = field(default_factory=list)
    nodes: list[ReadNode] = field(default_factory=list)
    outputs: list[tuple[int, str]] = field(default_factory=list)
    storage: list[tuple[int, int, int]] = field(default_factory=list)  # of each tensor: form, coding of values, of mask


def bits_of(data: bytes) -> np.ndarray:
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")


def pack_bits(bits: np.ndarray) -> bytes:
    return np.packbits(bits, bitorder="little").tobytes()


def decode_codebook(data: bytes, count: int) -> bytes:
    words = Words(data)
    size = words.unpack("B") + 1
    expect(size <= 128, "a codebook has more than 128 entries")
    entries = np.frombuffer(words.take(size), np.int8)
    expect(bool((np.diff(entries.astype(int)) > 0).all()), "the entries of a codebook do not rise")
    width = max(1, (size - 1).bit_length())
    bits = bits_of(words.take(-(-count * width // 8)))
    words.end()
    expect(not bits[count * width :].any(), "a codebook's last byte is not filled with zeros")
    indices = bits[: count * width].reshape(count, width) @ (1 << np.arange(width))
    expect(bool((indices < size).all()), "an index has no entry")
    return bytes(entries[indices].astype(np.int8).tobytes())


def huffman_codes(lengths: dict[int, int]) -> dict[tuple[int, int], int]:
    """(length, code) to the signed byte; bits of a code count from its first, the highest."""
    expect(sum(2.0**-length for length in lengths.values()) == 1.0, "a code is not complete")
    codes: dict[tuple[int, int], int] = {}
    code = before = 0
    for length, byte in sorted((length, byte) for byte, length in lengths.items()):
        if codes:
            code += 1
        code <<= length - before
        codes[length, code] = byte
        before = length
    return codes


def decode_huffman(data: bytes, count: int) -> bytes:
    words = Words(data)
    first, last = words.unpack("b"), words.unpack("b")
    expect(first < last, "a code has one byte")
    span = last - first + 1
    nibbles = [half for byte in words.take((span + 1) // 2) for half in (byte & 15, byte >> 4)]
    expect(all(half == 0 for half in nibbles[span:]) and max(nibbles) <= 11, "lengths of codes")
    expect(nibbles[0] > 0 and nibbles[span - 1] > 0, "the first and the last byte have no code")
    codes = huffman_codes({first + i: length for i, length in enumerate(nibbles[:span]) if length > 0})
    sizes = [words.unpack("I") for _ in range(3)]
    streams = [words.take(size) for size in sizes]
    streams.append(words.take(len(data) - words.at))
    out: list[int] = []
    for i, stream in enumerate(streams):
        out += decode_stream(stream, codes, count // 4 + (1 if i < count % 4 else 0))
    return np.array(out, np.int8).tobytes()


def decode_stream(stream: bytes, codes: dict[tuple[int, int], int], count: int) -> list[int]:
    bits = bits_of(stream).tolist()
    out, at = [], 0
    for _ in range(count):
        code = length = 0
        while (length, code) not in codes:
            expect(at < len(bits), "a stream ends early")
            code, length, at = code * 2 + bits[at], length + 1, at + 1
        out.append(codes[length, code])
    expect(len(bits) - at < 8 and not any(bits[at:]), "a stream is followed by something else")
    return out


def decode(data: bytes, coding: int, count: int) -> bytes:
    if coding == CODEBOOK:
        return decode_codebook(data, count)
    if coding == HUFFMAN:
        return decode_huffman(data, count)
    expect(len(data) == count, "the bytes of a payload")
    return data


def decode_weight(payload: bytes, shape: tuple[int, ...], form: int, values: int, mask: int) -> np.ndarray:
    outputs, inputs, taps = shape[0], shape[1], math.prod(shape[2:])
    groups = -(-inputs // 4)
    if form == DENSE:
        return np.frombuffer(decode(payload, values, math.prod(shape)), np.int8).reshape(shape)
    bits = outputs * (groups if form == BLOCK_MASK else inputs) * taps
    mask_bytes = -(-bits // 8)
    words = Words(payload)
    code = words.take(mask_bytes if mask == RAW else words.unpack("I"))
    flags = bits_of(decode(code, mask, mask_bytes))
    expect(not flags[bits:].any(), "a mask's last byte is not filled with zeros")
    where = np.flatnonzero(flags)
    each = 4 if form == BLOCK_MASK else 1
    found = np.frombuffer(decode(words.take(len(payload) - words.at), values, len(where) * each), np.int8)
    found = found.reshape(-1, each)
    expect(bool(found.any(axis=1).all()), "a block or a value that is zero")
    if form == BIT_MASK:
        weight = np.zeros(outputs * inputs * taps, np.int8)
        weight[where] = found[:, 0]
        return weight.reshape(shape)
    blocks = np.zeros((outputs * groups * taps, 4), np.int8)
    blocks[where] = found
    whole = blocks.reshape(outputs, groups, taps, 4).transpose(0, 1, 3, 2).reshape(outputs, groups * 4, taps)
    expect(not whole[:, inputs:].any(), "a channel that does not exist has a weight")
    return whole[:, :inputs].reshape(shape)


def read_table(data: bytes, table: Words, count: int, end: int, result: ReadFile) -> list[np.ndarray]:
    tensors = []
    for _ in range(count):
        kind, storage = table.unpack("B"), table.unpack("B")
        dtype, rank = kind & 15, kind >> 4
        form, values, mask = storage & 3, storage >> 2 & 3, storage >> 4
        expect(dtype <= 5 and rank <= 8 and form <= 2 and values <= 2 and mask <= 2, "a row of the table")
        expect(form != DENSE or mask == RAW, "a dense tensor has a mask")
        shape = tuple(table.varint() for _ in range(rank))
        expect(all(math.prod(shape[:i]) <= 1 << 40 for i in range(rank + 1)), "the shape of a tensor")
        size, crc = table.varint(), table.unpack("I")
        plain = storage == 0
        begin = -(-end // DTYPES[dtype].itemsize) * DTYPES[dtype].itemsize if plain else end
        expect(begin + size <= len(data) and not any(data[end:begin]), "where a payload lies")
        payload = data[begin : begin + size]
        expect(crc32c(payload) == crc, "the checksum of a payload")
        expect(plain or (dtype == 1 and rank >= 2), "a type that is not coded")
        result.storage.append((form, values, mask))
        if plain:
            expect(size == math.prod(shape) * DTYPES[dtype].itemsize, "the bytes of a payload")
            expect(TYPES[dtype] != "bool" or max(payload, default=0) <= 1, "a bool that is neither 0 nor 1")
            tensors.append(np.frombuffer(payload, DTYPES[dtype]).reshape(shape))
        else:
            tensors.append(decode_weight(payload, shape, form, values, mask))
        end = begin + size
    table.end()
    expect(end == len(data), "bytes after the last payload")
    return tensors


def dictionary(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    expect(len(dict(pairs)) == len(pairs), "a name is given twice")
    return dict(pairs)


class GraphReader:
    def __init__(self, words: Words, tensors: list[np.ndarray], result: ReadFile) -> None:
        self.words, self.tensors, self.result = words, tensors, result
        self.unused = set(range(len(tensors)))
        self.owners: dict[int, ReadNode] = {}  # of the tensors that nodes have
        self.again: list[int] = []  # tensors of the node that is read, which another has, too
        self.repeats = self.bytes = False
        self.values = 0

    def read(self, version: int) -> None:
        words, result = self.words, self.result
        words.read_strings()
        self.repeats, self.bytes = version >= 5, version == 6
        expect(not self.repeats or (words.count() == 1 and words.string() == ""), "entry points")
        result.metadata = dictionary([(words.string(), words.string()) for _ in range(words.count())])
        result.sizes = [
            (words.string(), words.natural(), words.natural(), words.natural()) for _ in range(words.count())
        ]
        result.inputs = [
            (words.string(), self.port_type(), [self.expression() for _ in range(words.count())])
            for _ in range(words.count())
        ]
        result.states = [(words.string(), self.tensor(), words.count()) for _ in range(words.count())]
        result.guards = [
            (words.string(), [self.comparisons() for _ in range(words.count())]) for _ in range(words.count())
        ]
        self.values = len(result.inputs) + len(result.states)
        for _ in range(words.count()):
            result.nodes.append(self.node())
        result.outputs = [(words.count(), words.string()) for _ in range(words.count())]
        words.end()
        expect(not self.unused, "a tensor belongs to no node")
        expect(all(value < self.values for value, _ in result.outputs), "an output is no value")
        expect(all(value < self.values for _, _, value in result.states), "a state becomes no value")

    def tensor(self, of_node: list[int] | None = None) -> np.ndarray:
        index = self.words.count()
        if index in self.unused:
            self.unused.remove(index)
        else:
            expect(
                self.repeats and of_node is not None and index in self.owners, "a tensor of another node, or of none"
            )
            self.again.append(index)
        if of_node is not None:
            of_node.append(index)
        return self.tensors[index]

    def port_type(self) -> str:
        number = self.words.unpack("B")
        expect(0 < number < (len(TYPES) if self.bytes else 6) and (self.bytes or number > 1), "the type of an input")
        return TYPES[number]

    def expression(self, depth: int = 0) -> Expression:
        code = self.words.unpack("B")
        if code == 0:
            return self.words.signed()
        if code == 1:
            index = self.words.count()
            expect(index < len(self.result.sizes), "a free size does not exist")
            return self.result.sizes[index][0]
        expect(code < 9 and depth < 64, "an expression")
        return OPERATIONS[code - 2], self.expression(depth + 1), self.expression(depth + 1)

    def comparisons(self) -> list[tuple[Expression, str, Expression]]:
        return [(self.expression(), self.relation(), self.expression()) for _ in range(self.words.count())]

    def relation(self) -> str:
        number = self.words.unpack("B")
        expect(number < len(RELATIONS), "a relation")
        return RELATIONS[number]

    def attribute(self) -> list[Expression] | list[float] | str:
        words = self.words
        kind = words.unpack("B")
        expect(kind <= 3, "the kind of an attribute")
        if kind == 3:
            return words.string()
        read = (words.signed, self.expression, lambda: words.unpack("d"))[kind]
        return [read() for _ in range(words.count())]

    def value(self) -> int | None:
        number = self.words.count()
        expect(number <= self.values, "a node reads what comes later")
        return number - 1 if number else None

    def quantization(self) -> tuple[float, int] | None:
        quantized = self.words.unpack("B")
        expect(quantized <= 1, "the output of a node")
        return (self.words.unpack("f"), self.words.unpack("B")) if quantized else None

    def node(self) -> ReadNode:
        words = self.words
        op, name = words.string(), words.string()
        inputs = [self.value() for _ in range(words.count())]
        attributes = dictionary([(words.string(), self.attribute()) for _ in range(words.count())])
        taken: list[int] = []
        self.again = []
        tensors = dictionary([(words.string(), self.tensor(taken)) for _ in range(words.count())])
        outputs = [self.quantization() for _ in range(words.count())]
        self.values += len(outputs)
        node = ReadNode(op, name, inputs, attributes, tensors, outputs)
        if self.again:
            first = self.owners[self.again[0]]
            expect(op == first.op, "a tensor of another kind of layer")
            if op in ("recurrent", "dynamic_linear"):
                expect(attributes == first.attributes and tensors.keys() == first.tensors.keys(), "another layer")
                expect(all(tensors[key] is first.tensors[key] for key in tensors), "tensors of several layers")
            else:
                weight = tensors["weight"]
                expect(op == "linear" or (op == "conv2d" and weight.shape[1] >= 8), "a layer that shares nothing")
                expect(len(self.again) == 1 and weight is first.tensors["weight"], "more than a weight in common")
        for index in taken:
            self.owners.setdefault(index, node)
        return node


def read(data: bytes) -> ReadFile:
    """Reads the bytes of a file; raises RefusedError."""
    expect(data[:8] == MAGIC and len(data) >= 64, "the beginning of the file")
    version, zero, size, graph_size, count, graph_crc, table_crc, table_size, zeros, crc = struct.unpack(
        "<IIQQQIIQII", data[8:64]
    )
    expect(version in (3, 5, 6), "the version")
    expect(zero == 0 and zeros == 0 and crc32c(data[:60]) == crc and size == len(data), "the header")
    table_begin, end = 64 + graph_size, 64 + graph_size + table_size
    expect(end <= size, "sizes in the header")
    graph, table = data[64:table_begin], data[table_begin:end]
    expect(crc32c(graph) == graph_crc and crc32c(table) == table_crc, "a checksum")
    result = ReadFile()
    tensors = read_table(data, Words(table), count, end, result)
    GraphReader(Words(graph), tensors, result).read(version)
    return result
