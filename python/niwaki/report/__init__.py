"""What compression did to a network, for anyone and layer by layer: as text, as JSON and as an HTML page."""

from niwaki.budget.options import Option
from niwaki.report.answers import Answers
from niwaki.report.nodes import GraphNode
from niwaki.report.origin import Origin
from niwaki.report.report import Report
from niwaki.report.rows import Histogram, LayerReport, NetworkReport, Point
from niwaki.report.speed import Speed
from niwaki.report.verdict import Compared, Verdict

__all__ = [
    "Answers",
    "Compared",
    "GraphNode",
    "Histogram",
    "LayerReport",
    "NetworkReport",
    "Option",
    "Origin",
    "Point",
    "Report",
    "Speed",
    "Verdict",
]


def __dir__() -> list[str]:
    return sorted(__all__)  # what completion shows
