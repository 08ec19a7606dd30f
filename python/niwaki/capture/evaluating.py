"""A module as it is when it answers: in eval mode, without gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from niwaki.capture.results import know_results
from niwaki.modules.encoder import with_padding


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in eval mode and without gradients; each part gets its own mode back afterwards.

    torch's fused path of transformer layers is off meanwhile: it reads the weights of layers instead of calling them.
    What it answers where sequences are padded stays. Dataclasses that it returns become known to torch.
    """
    modes = [(part, part.training) for part in module.modules()]
    fused = torch.backends.mha.get_fastpath_enabled()
    hook = module.register_forward_hook(know_results)
    try:
        for part, _ in modes:
            part.training = False
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.inference_mode(False), torch.no_grad(), with_padding(module):
            yield
    finally:
        hook.remove()
        torch.backends.mha.set_fastpath_enabled(fused)
        for part, mode in modes:
            part.training = mode
