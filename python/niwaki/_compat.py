"""What niwaki does so that other people's packages work beside it."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

# The operators that torchvision's Python files register something for when they are imported. Its compiled library
# declares them; where that cannot be loaded (a wheel built for CUDA beside a torch built without), this module does.
_BOX = "Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width"
_BOX_GRADIENT = "Tensor grad, Tensor rois{extra}, float spatial_scale, SymInt pooled_height, SymInt pooled_width"
_BOX_SIZES = "SymInt batch_size, SymInt channels, SymInt height, SymInt width"
_DEFORM = (
    "SymInt stride_h, SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups"
)
_DEFORM_INPUTS = "Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias"
_DEFORM_END = f"{_DEFORM}, SymInt offset_groups, bool use_mask"
_MAPPED = ", Tensor channel_mapping"

_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align": f"({_BOX}, int sampling_ratio, bool aligned) -> Tensor",
    "qroi_align": f"({_BOX}, int sampling_ratio, bool aligned) -> Tensor",
    "_roi_align_backward": f"({_BOX_GRADIENT.format(extra='')}, {_BOX_SIZES}, int sampling_ratio, bool aligned)"
    " -> Tensor",
    "roi_pool": f"({_BOX}) -> (Tensor, Tensor)",
    "_roi_pool_backward": f"({_BOX_GRADIENT.format(extra=', Tensor argmax')}, {_BOX_SIZES}) -> Tensor",
    "ps_roi_align": f"({_BOX}, int sampling_ratio) -> (Tensor, Tensor)",
    "_ps_roi_align_backward": f"({_BOX_GRADIENT.format(extra=_MAPPED)}, int sampling_ratio, {_BOX_SIZES}) -> Tensor",
    "ps_roi_pool": f"({_BOX}) -> (Tensor, Tensor)",
    "_ps_roi_pool_backward": f"({_BOX_GRADIENT.format(extra=_MAPPED)}, {_BOX_SIZES}) -> Tensor",
    "deform_conv2d": f"({_DEFORM_INPUTS}, {_DEFORM_END}) -> Tensor",
    "_deform_conv2d_backward": f"(Tensor grad, {_DEFORM_INPUTS}, {_DEFORM_END})"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
}

# A library takes its declarations back when it is collected, so it lives as long as this module.
_declared: torch.library.Library | None = None


def _declare_missing() -> None:
    global _declared
    if _declared is None:
        _declared = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            _declared.define(name + schema)


def import_torchvision() -> ModuleType:
    """Imports torchvision, also where its compiled library does not fit the installed torch.

    Most wheels of torchvision are built for CUDA; beside a torch without CUDA, `import torchvision` ends in "operator
    torchvision::nms does not exist". Its networks are plain Python and need none of those operators, so they are
    declared, without an implementation, and the import is done again. Where torchvision imports as it is, nothing is
    changed.

    Returns:
        The module `torchvision`.

    Raises:
        ImportError: torchvision is not installed, or fails for another reason.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise ImportError(f"torchvision cannot be imported: {error}") from error
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare_missing()
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        raise ImportError(
            f"torchvision does not fit torch {torch.__version__}: {error}. Install the torchvision made for this torch."
        ) from error
