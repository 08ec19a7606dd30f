"""What compression did to a network, layer by layer: as a table, as JSON and as an HTML page."""

from niwaki.budget.options import Option
from niwaki.report.report import Report
from niwaki.report.rows import Histogram, LayerReport, NetworkReport, Point

__all__ = ["Histogram", "LayerReport", "NetworkReport", "Option", "Point", "Report"]
