"""A compiled network as what `transformers.pipeline` takes for a model.

A pipeline asks a model for more than answers: its config (labels, kind of problem), device and dtype, the name of its
class, and whether it generates text. transformers itself is not needed here.
"""

from __future__ import annotations

from typing import Any

import torch

from niwaki.errors import NiwakiError
from niwaki.runtime.network import Network

_MODALITIES = {"pixel_values": "image", "input_values": "audio", "input_features": "audio"}


class PipelineModel:
    """See `pipeline_model`. Attributes are those that pipelines read of a `transformers.PreTrainedModel`."""

    base_model_prefix = ""
    hf_device_map = None
    training = False
    dtype = torch.float32

    def __init__(self, network: Network, config: Any) -> None:
        self.network, self.config = network, config
        self.device = torch.device("cpu")
        self.main_input_name = network.inputs[0].name
        self.input_modalities = (_MODALITIES.get(self.main_input_name, "text"),)

    def forward(self, **inputs: Any) -> Any:
        """The network's answers, with the names that the model's have."""
        return self.network(**inputs)

    __call__ = forward

    def can_generate(self) -> bool:
        """No: a call is one step, which keeps nothing for the next."""
        return False

    def generate(self, *_: Any, **__: Any) -> Any:
        """Refuses."""
        raise NiwakiError(
            "a compiled network answers once for each call, and pipelines that generate text need a model that "
            "generates; use the model itself."
        )

    def eval(self) -> PipelineModel:
        """Nothing changes."""
        return self

    def to(self, *places: Any, non_blocking: bool = False, **named: Any) -> PipelineModel:
        """Nothing changes; other places than the CPU, and other dtypes, are refused."""
        for place in (*places, *named.values()):
            fits = place == self.dtype if isinstance(place, torch.dtype) else str(place).split(":")[0] == "cpu"
            if place is not None and not fits:
                raise NiwakiError(
                    f"a compiled network takes and gives float32 on the CPU, not {place}; write pipeline(..., "
                    "device='cpu')."
                )
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.network!r}>"


def pipeline_model(network: Network, model: Any) -> Any:
    """A compiled network as the model of a `transformers.pipeline`.

    The network has to take what the tokenizer or image processor gives, by the same names: calibrate and compile it
    with that. Pipelines that generate text are refused.

    Args:
        network: what niwaki.compile or niwaki.load returned.
        model: the transformers model that it was made of, or its config alone
            (`AutoConfig.from_pretrained(name)`), which has the names of the labels.

    Returns:
        An object for `pipeline(task, model=..., tokenizer=...)`.

    Raises:
        TypeError: network is no niwaki.Network, or model has no config.
        ValueError: the network has entry points.

    Examples:
        >>> from transformers import pipeline
        >>> model = niwaki.pipeline_model(niwaki.load("small.niwaki"), config)
        >>> pipeline("text-classification", model=model, tokenizer=tokenizer)("well done")
    """
    if not isinstance(network, Network):
        raise TypeError(
            f"pipeline_model takes what niwaki.compile or niwaki.load returned, not {type(network).__name__}."
        )
    if network.entries:
        names = ", ".join(f'net["{name}"]' for name in network.entries)
        raise ValueError(f"the network has entry points; pass one of them: {names}.")
    config = getattr(model, "config", model)
    if not hasattr(config, "to_dict"):
        raise TypeError(f"pipeline_model takes a model of transformers or its config, not {type(model).__name__}.")
    if hasattr(model, "config"):
        name = type(model).__name__
    else:
        name = (getattr(config, "architectures", None) or [PipelineModel.__name__])[0]
    # Pipelines compare the name of the class with those that they know, and say that others are not supported.
    return type(name, (PipelineModel,), {})(network, config)
