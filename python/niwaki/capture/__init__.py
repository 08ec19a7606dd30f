"""A module as a graph whose sizes are free: the one place where torch.export is called."""

from niwaki.capture.captured import Captured, CapturedInput
from niwaki.capture.entry import captured_entries
from niwaki.capture.evaluating import evaluating
from niwaki.capture.export import capture, shapes_of
from niwaki.capture.sizes import FreeSize, Guard

__all__ = ["Captured", "CapturedInput", "FreeSize", "Guard", "capture", "captured_entries", "evaluating", "shapes_of"]
