"""A model of Triton's Python backend that runs network.niwaki, which lies beside this file.

Inputs and outputs are called as `niwaki inspect` shows them. Instances are processes that map the same file; count in
config.pbtxt says how many, NIWAKI_THREADS on how many threads each of them runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import triton_python_backend_utils as pb_utils

import niwaki


class TritonPythonModel:
    """What Triton looks for."""

    def initialize(self, args: dict[str, Any]) -> None:
        """Loads the file."""
        file = Path(args["model_repository"]) / args["model_version"] / "network.niwaki"
        self.network = niwaki.load(file, threads=int(os.environ.get("NIWAKI_THREADS", "1")))
        self.inputs = [info.name for info in self.network.inputs]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers requests, each of which may be a batch. What is wrong with one stays with it."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            arrays = [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs]
            results = self.network(*(torch.from_numpy(array) for array in arrays))
        except (TypeError, ValueError, niwaki.NiwakiError) as error:
            return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(str(error)))
        values = results.values() if isinstance(results, dict) else results
        values = [values] if isinstance(values, torch.Tensor) else list(values)
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor(name, value.numpy()) for name, value in zip(self.network.outputs, values, strict=True)
            ]
        )
