"""examples/serving: the web service, and the model for Triton, whose own module is stood in for."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import predicted
import pytest
import torch

import niwaki

SERVING = Path(__file__).parents[2] / "examples" / "serving"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_web_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, import_file: Callable[[Path], ModuleType]
) -> None:
    pytest.importorskip("fastapi", reason="FastAPI is not installed: pip install fastapi httpx")
    testing = pytest.importorskip("fastapi.testclient", reason="its test client wants httpx", exc_type=Exception)
    monkeypatch.setenv("NIWAKI_FILE", predicted.file("pictures"))
    monkeypatch.setenv("NIWAKI_SIZE", "32")
    client = testing.TestClient(import_file(SERVING / "service.py").app)
    assert client.get("/health").json()["file"] == predicted.file("pictures")
    folder = predicted.pictures(tmp_path, 3)
    (batch,) = niwaki.predict(predicted.file("pictures"), folder, top=3, softmax=True)
    answers = batch.to_pylist()
    for answer in answers:
        picture = (folder / answer["path"]).read_bytes()
        said = client.post("/classes?top=3", content=picture, headers={"content-type": "application/octet-stream"})
        assert [each["class"] for each in said.json()] == answer["classes"]
        assert [each["score"] for each in said.json()] == pytest.approx(answer["scores"], rel=1e-6)
    said = client.post("/classes", content=b"no picture", headers={"content-type": "application/octet-stream"})
    assert said.status_code == 400
    assert "not a readable image" in said.json()["detail"]


class Tensor:
    """Triton's: a name and an array."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self.name, self._array = name, array

    def as_numpy(self) -> np.ndarray:
        return self._array


def test_triton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, import_file: Callable[[Path], ModuleType]) -> None:
    def input_of(request: list[Tensor], name: str) -> Any:
        return next((tensor for tensor in request if tensor.name == name), None)

    stand_in = SimpleNamespace(
        Tensor=Tensor, TritonError=str, get_input_tensor_by_name=input_of,
        InferenceResponse=lambda output_tensors, error=None: SimpleNamespace(tensors=output_tensors, error=error),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stand_in)
    repository = tmp_path / "classifier"
    shutil.copytree(SERVING / "triton" / "classifier", repository)
    shutil.copy(predicted.file("pictures"), repository / "1" / "network.niwaki")
    model = import_file(repository / "1" / "model.py").TritonPythonModel()
    model.initialize({"model_repository": str(repository), "model_version": "1"})
    x = np.random.default_rng(5).standard_normal((4, 3, 32, 32), dtype=np.float32)
    right, wrong = model.execute([[Tensor("image", x)], [Tensor("image", x[:, :2])]])
    assert right.error is None
    (output,) = right.tensors
    assert (output.as_numpy() == predicted.compiled("pictures")(torch.from_numpy(x)).numpy()).all()
    config = (repository / "config.pbtxt").read_text()
    assert f'output [ {{ name: "{output.name}"' in config
    assert 'input [ { name: "image"' in config
    assert "must be 3" in wrong.error
