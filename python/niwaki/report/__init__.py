"""What compression did to a network, layer by layer: as a table, as JSON and as an HTML page."""

from niwaki.report.rows import LayerReport, Report

__all__ = ["LayerReport", "Report"]
