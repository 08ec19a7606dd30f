"""Operators of ONNX Runtime's own domain, com.microsoft, that its optimizer and its quantizer write."""

from __future__ import annotations
