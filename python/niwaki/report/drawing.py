"""Draws the graph of a network: a step in each line, one below what it reads, and threads between them on the left."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from niwaki.report.nodes import GraphNode

# Pixels.
_LINE, _LANE, _MARGIN, _LETTER = 26, 16, 18, 7.4
_CLASSES = {"int8": "int8", "sparse int8": "sparse", "float32": "float32"}


def draw(nodes: Sequence[GraphNode], layers: Mapping[str, tuple[str, str]]) -> str:
    """An SVG element; empty where there are no nodes.

    Args:
        nodes: the graph; each comes after what it reads.
        layers: of layers by name, how they are kept and the id that a click leads to.
    """
    if not nodes:
        return ""
    places, paths = lanes(nodes)
    left = _MARGIN + (max(places) + 1) * _LANE + 6
    width = left + max(_LETTER * len(_words(node)) for node in nodes) + _MARGIN
    height = _LINE * len(nodes) + 12
    lines = [f'<svg width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}" role="img">']
    lines += [f'<path d="{path}"/>' for path in paths]
    lines += [_step(node, index, places[index], left, layers) for index, node in enumerate(nodes)]
    return "\n".join([*lines, "</svg>"])


def lanes(nodes: Sequence[GraphNode]) -> tuple[list[int], list[str]]:
    """The lane that each step lies in, from 0 at the left, and the threads between steps as paths of SVG.

    A step stays in the lane of the first that it reads, where nobody further down needs that any more.
    """
    last = {source: index for index, node in enumerate(nodes) for source in node.sources}
    places: list[int] = []
    taken: dict[int, int] = {}  # lane: until which step
    paths = []
    for index, node in enumerate(nodes):
        own = [places[source] for source in node.sources if last[source] == index]
        free = (lane for lane in range(len(nodes) + 1) if lane in own or taken.get(lane, -1) < index)
        lane = min(own, default=None)
        if lane is None or taken.get(lane, -1) > index:
            lane = next(free)
        places.append(lane)
        taken[lane] = last.get(index, index)
        paths += [_thread(_point(places[source], source), _point(lane, index)) for source in node.sources]
    return places, paths


def _point(lane: int, index: int) -> tuple[float, float]:
    return _MARGIN + lane * _LANE, 6 + _LINE * (index + 0.5)


def _thread(begin: tuple[float, float], end: tuple[float, float]) -> str:
    """Down from one step in its lane, and over to the other just before it."""
    (x, y), (to_x, to_y) = begin, end
    if x == to_x:
        return f"M{x:.0f} {y:.0f}V{to_y:.0f}"
    turn = to_y - _LINE * 0.9
    return f"M{x:.0f} {y:.0f}V{max(y, turn):.0f}C{x:.0f} {to_y:.0f} {to_x:.0f} {turn:.0f} {to_x:.0f} {to_y:.0f}"


def _words(node: GraphNode) -> str:
    return "  ".join(part for part in (node.op, node.name, node.detail) if part)


def _step(node: GraphNode, index: int, lane: int, left: float, layers: Mapping[str, tuple[str, str]]) -> str:
    x, y = _point(lane, index)
    # What belongs to a layer, an activation say, has its name; the weights are its own step's alone.
    scheme, anchor = layers.get(node.name, ("", ""))
    kind = "end" if node.op in ("input", "output") else _CLASSES.get(scheme, "")
    escaped = [html.escape(part) for part in (node.op, node.name, node.detail)]
    text = (
        f'<text x="{left:.0f}" y="{y + 4.5:.1f}"><tspan class="op">{escaped[0]}</tspan>'
        f'<tspan dx="8">{escaped[1]}</tspan><tspan dx="8" class="about">{escaped[2]}</tspan></text>'
    )
    content = f'<g class="{kind}"><circle cx="{x:.0f}" cy="{y:.0f}" r="5"/>{text}</g>'
    return f'<a href="#{anchor}">{content}</a>' if anchor else content
