"""What compression did to a network, layer by layer: as a table, as JSON and as an HTML page."""

from niwaki.report.report import Report
from niwaki.report.rows import Choice, Histogram, LayerReport, NetworkReport, Point

__all__ = ["Choice", "Histogram", "LayerReport", "NetworkReport", "Point", "Report"]
