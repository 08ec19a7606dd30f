"""The way from a captured module to core graphs and what stays in torch."""

from niwaki.lower.program import NativeStage, Program, TorchStage, build_program

__all__ = ["NativeStage", "Program", "TorchStage", "build_program"]
