"""From the nodes of an ONNX graph to a torch.fx.GraphModule, node by node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import fx

from niwaki.errors import NiwakiError, first_sentence
from niwaki.onnx import operators  # noqa: F401 (fills the table)
from niwaki.onnx.builder import Builder, identifier
from niwaki.onnx.call import Call, Following
from niwaki.onnx.dtypes import UNSIGNED, dtype_of, from_numpy, name_of
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import sizes as size_functions
from niwaki.onnx.inference import dims_of, infer
from niwaki.onnx.names import label_of
from niwaki.onnx.registry import NEWEST, Entry, find
from niwaki.onnx.values import Dims, Value, value_of

_ANY_INTEGER = ("BitShift", "Cast", "CastLike", "DequantizeLinear", "QuantizeLinear", "Shape", "Size")


class Converter:
    """One file on its way.

    Attributes:
        problems: what is not supported: a reason, and the nodes that it is about.
    """

    def __init__(self, model: Any, opsets: dict[str, int], fixed: dict[str, Any], shapes: dict[str, Any]) -> None:
        self.problems: dict[str, list[str]] = {}
        self._model = model
        self._fixed = fixed
        self._shapes = shapes
        self._opsets = opsets
        self._builder = Builder()
        self._uses: Counter[str] = Counter()
        self._users: dict[str, Any] = {}
        self._absorbed: set[int] = set()

    def convert(self, name: str) -> fx.GraphModule:
        """The module.

        Raises:
            NiwakiError: something in the file is not supported; names all of it.
        """
        graph = self._model.graph
        self._count_uses(graph)
        values: dict[str, Value | None] = {"": None}
        self._read_initializers(graph, values)
        self._read_inputs(graph, values)
        self._run(graph.node, values)
        results = [self._output(output.name, values) for output in graph.output]
        if not results:
            self._problem("it has no outputs", "")
        if self.problems:
            raise NiwakiError(f"{name} cannot be converted: {self._told()}.")
        arguments = map(self._builder.as_argument, results)
        self._builder.graph.output(next(arguments) if len(results) == 1 else tuple(arguments))
        self._builder.graph.lint()
        module = fx.GraphModule(self._builder.root, self._builder.graph, class_name="OnnxModule")
        module.graph.eliminate_dead_code()
        module.recompile()
        module.delete_all_unused_submodules()
        return module.eval()

    def _problem(self, reason: str, where: str) -> None:
        self.problems.setdefault(reason, []).append(where)

    def _told(self) -> str:
        told = []
        for reason, nodes in self.problems.items():
            more = f" (and {len(nodes) - 1} more)" if len(nodes) > 1 else ""
            told.append(f"{nodes[0]}{more}: {reason}" if nodes[0] else reason)
        return "; ".join(told)

    # Inputs and outputs.

    def _count_uses(self, graph: Any) -> None:
        for node in graph.node:
            for name in node.input:
                self._uses[name] += 1
                self._users[name] = node
            for attribute in node.attribute:
                for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                    self._count_uses(inner)
        for output in graph.output:
            self._uses[output.name] += 2  # nothing may take it in

    def _read_initializers(self, graph: Any, values: dict[str, Value | None]) -> None:
        for sparse in graph.sparse_initializer:
            self._problem("sparse tensors are not supported", f"initializer '{sparse.values.name}'")
        for tensor in graph.initializer:
            try:
                data = from_numpy(numpy_helper.to_array(tensor), tensor.data_type)
            except Refusal as refusal:
                values[tensor.name] = None
                self._problem(str(refusal), f"initializer '{tensor.name}'")
                continue
            except Exception as error:
                raise NiwakiError(
                    f"The initializer '{tensor.name}' cannot be read: {first_sentence(error)}; is the file whole?"
                ) from error
            self._name(data, tensor.name)
            values[tensor.name] = value_of(data, tensor.data_type, name=tensor.name)

    def _name(self, data: torch.Tensor, name: str) -> None:
        self._builder.names[id(data)] = name
        self._builder.keep(data)

    def _read_inputs(self, graph: Any, values: dict[str, Value | None]) -> None:
        taken: set[str] = set()
        found = {dim.dim_param for given in graph.input for dim in given.type.tensor_type.shape.dim}
        for given in graph.input:
            if given.name in values:  # before version 4 of the format, initializers are inputs, too
                continue
            values[given.name] = None
            kind = given.type.WhichOneof("value")
            where = f"input '{given.name}'"
            if kind != "tensor_type":
                self._problem(f"it is no tensor but {str(kind).removesuffix('_type')}", where)
                continue
            elem = given.type.tensor_type.elem_type
            dims = self._fixed_dims(given.name, given.type.tensor_type)
            found |= {given.name}
            try:
                dtype = dtype_of(elem)
            except Refusal as refusal:
                self._problem(str(refusal), where)
                continue
            if given.name in self._fixed:
                values[given.name] = self._fixed_input(given.name, dtype, dims)
                continue
            name = identifier(given.name) or "input"
            while name in taken:
                name += "_"
            taken.add(name)
            node: Any = self._builder.graph.placeholder(name)
            if dims is not None:
                node = self._builder.call(size_functions.checked, node, given.name, dtype, dims)
            values[given.name] = Value(node, elem, dims, given.name)
        strange = sorted((set(self._fixed) | set(self._shapes)) - found)
        if strange:
            known = ", ".join(repr(each) for each in sorted(found - {""})) or "none"
            raise ValueError(f"fixed, shapes: the file has no input and no free size '{strange[0]}'; it has {known}.")

    def _fixed_dims(self, name: str, tensor_type: Any) -> Dims | None:
        """A shape, with the sizes that the caller fixed."""
        dims = dims_of(tensor_type)
        if dims is None:
            return None
        names = [dim.dim_param for dim in tensor_type.shape.dim]
        dims = tuple(
            int(self._fixed[each]) if each in self._fixed else size if size is None or size >= 0 else None
            for each, size in zip(names, dims, strict=True)
        )
        wanted = self._shapes.get(name)
        if wanted is None:
            return dims
        if len(wanted) != len(dims) or any(None not in (a, b) and a != b for a, b in zip(wanted, dims, strict=True)):
            raise ValueError(f"shapes: the input '{name}' has the shape {list(dims)} in the file, not {list(wanted)}.")
        return tuple(a if b is None else b for a, b in zip(wanted, dims, strict=True))

    def _fixed_input(self, name: str, dtype: torch.dtype, dims: Dims | None) -> Value:
        data = torch.as_tensor(self._fixed[name]).detach().clone()
        if data.is_floating_point() != dtype.is_floating_point:
            raise ValueError(f"fixed: the input '{name}' is {dtype}, not {data.dtype}.")
        data = data.to(dtype)
        if dims is not None and data.dim() != len(dims) and data.numel() == 1:
            data = data.reshape([1] * len(dims))
        if dims is not None and (
            data.dim() != len(dims) or any(b is not None and a != b for a, b in zip(data.shape, dims, strict=True))
        ):
            raise ValueError(f"fixed: the input '{name}' has the shape {list(dims)}, not {list(data.shape)}.")
        self._name(data, name)
        return value_of(data, name=name)

    def _output(self, name: str, values: dict[str, Value | None]) -> Any:
        if name not in values:
            self._problem("nothing makes it", f"output '{name}'")
            return None
        value = values[name]
        if value is None:
            return None
        if value.items is not None:
            self._problem("it is a sequence, not a tensor", f"output '{name}'")
            return None
        return self._call("Identity", [value]).x()

    # Nodes.

    def _run(self, nodes: Iterable[Any], values: dict[str, Value | None]) -> None:
        for node in nodes:
            if id(node) in self._absorbed:
                continue
            for name in node.output:
                values.setdefault(name, None)
            try:
                made = self._node(node, values)
            except Refusal as refusal:
                self._problem(str(refusal), _where(node))
                continue
            except NiwakiError:
                raise
            except Exception as error:
                self._problem(f"it cannot be converted ({first_sentence(error)})", _where(node))
                continue
            for name, value in zip(node.output, made, strict=False):
                if name and value is not None:
                    value.name = name
                    values[name] = value
                    if isinstance(value.data, torch.Tensor) and id(value.data) not in self._builder.names:
                        self._name(value.data, name)

    def _node(self, node: Any, values: dict[str, Value | None]) -> list[Value | None]:
        if node.op_type in ("Loop", "Scan") and _domain(node) == "":
            raise Refusal("loops are not supported")
        unknown = [name for name in node.input if name not in values]
        if unknown:
            raise Refusal(f"nothing before it makes its input '{unknown[0]}'; the file is damaged")
        inputs = [values[name] for name in node.input]
        schema, entry = self._entry(node)
        if any(name and value is None for name, value in zip(node.input, inputs, strict=True)):
            return [None] * len(node.output)  # of what is refused already
        if node.op_type == "If" and _domain(node) == "":
            return self._if(node, inputs, values)
        for value in inputs:
            if value is not None and value.elem in UNSIGNED and not entry.moves and node.op_type not in _ANY_INTEGER:
                raise Refusal(f"it computes in {name_of(value.elem)}, and torch does not")
        if schema is not None:
            strange = [each.name for each in node.attribute if each.name not in schema.attributes]
            if strange:
                version = f"{node.op_type} of opset {schema.since_version}"
                raise Refusal(f"its attribute {strange[0]} is none of {version}; the file is damaged")
        attributes = {each.name: _attribute(each) for each in node.attribute}
        inferred = infer(node, schema, inputs, self._opsets, self._model.ir_version) if schema is not None else []
        weights = [value.name for value in inputs if value is not None and value.constant]
        absorbed: list[Any] = []
        call = Call(
            self._builder,
            node.op_type,
            (schema.since_version if schema is not None else 1, self._opsets.get(_domain(node), 1)),
            inputs,
            max((index + 1 for index, name in enumerate(node.output) if self._uses[name]), default=0),
            attributes,
            inferred,
            label_of(node, weights),
            lambda operator: self._following(node, operator, values, absorbed),
        )
        made = entry.function(call)
        made = list(made) if isinstance(made, (tuple, list)) else [made]
        if left := call.leftover():
            raise Refusal(left)
        if len(made) < call.outputs:
            raise Refusal(f"its output {len(made)} is not supported")
        carried = entry.moves and inputs[0] is not None and inputs[0].carried
        found = [
            each if isinstance(each, Value) or each is None else call.result(each, carried=carried, output=index)
            for index, each in enumerate(made)
        ]
        for each in absorbed:
            self._absorbed.add(id(each))
            values[each.output[0]] = found[0]
        return found

    def _entry(self, node: Any) -> tuple[Any, Entry]:
        domain = _domain(node)
        opset = self._opsets.get(domain)
        if opset is None and domain:
            opset = 1
        if opset is None:
            raise Refusal("the file does not say which opset it uses")
        schema = None
        if domain == "":
            try:
                schema = onnx.defs.get_schema(node.op_type, opset, domain)
            except Exception:
                raise Refusal(f"ONNX has no operator {node.op_type} in opset {opset}") from None
        version = schema.since_version if schema is not None else 1
        entry = find(domain, node.op_type, version)
        if entry is None and node.op_type != "If":
            name = f"{domain}.{node.op_type}" if domain else node.op_type
            known = any(find(domain, node.op_type, each) for each in range(1, NEWEST + 1))
            raise Refusal(f"operator {name} is not supported" + (f" in its version {version}" if known else ""))
        return schema, entry or Entry(lambda call: None, 1, NEWEST, moves=False)

    def _following(
        self, node: Any, operator: str, values: dict[str, Value | None], absorbed: list[Any]
    ) -> Following | None:
        """The node that alone uses this one's only output, if it is such an operator."""
        last = absorbed[-1] if absorbed else node
        name = last.output[0]
        user = self._users.get(name)
        if user is None or self._uses[name] != 1 or user.op_type != operator or _domain(user) or len(user.output) != 1:
            return None
        if sum(1 for each in last.output if self._uses[each]) != 1 or user.attribute:
            return None
        others = [values.get(each) for each in user.input if each != name]
        return Following(operator, others, lambda: absorbed.append(user))

    def _if(self, node: Any, inputs: list[Value | None], values: dict[str, Value | None]) -> list[Value | None]:
        condition = inputs[0]
        if condition is None or not condition.constant:
            raise Refusal("it depends on values; branches that do are not supported")
        wanted = "then_branch" if bool(condition.data) else "else_branch"
        branch = next(each.g for each in node.attribute if each.name == wanted)
        inner = dict(values)
        self._read_initializers(branch, inner)
        self._run(branch.node, inner)
        return [inner.get(output.name) for output in branch.output]

    def _call(self, operator: str, inputs: list[Value | None]) -> Call:
        nothing: Callable[[str], None] = lambda name: None  # noqa: E731
        return Call(self._builder, operator, (1, 1), inputs, 1, {}, [], operator, nothing)


def _domain(node: Any) -> str:
    return "" if node.domain == "ai.onnx" else str(node.domain)


def _where(node: Any) -> str:
    name = node.name or (node.output[0] if node.output else "")
    return f"node '{name}' ({node.op_type})"


def _attribute(attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == onnx.AttributeProto.TENSOR:
        return from_numpy(numpy_helper.to_array(value), value.data_type)
    return value
