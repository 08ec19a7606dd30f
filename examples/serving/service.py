"""A web service that classifies pictures with a .niwaki file.

    pip install niwaki pillow fastapi uvicorn
    NIWAKI_FILE=resnet50.niwaki uvicorn service:app --workers 2
    curl --data-binary @cat.jpg 'http://127.0.0.1:8000/classes?top=5'

The file is saved with a niwaki.ImageConfig and takes pictures of one size, NIWAKI_SIZE (224). Each worker maps the same
file. FastAPI runs this endpoint on threads of its own, any number of which may call one network.
"""

from __future__ import annotations

import io
import os

import numpy as np
import torch
from fastapi import Body, FastAPI, HTTPException

import niwaki
from niwaki.prediction.picture import normalize, read_picture, usual_resize

FILE = os.environ["NIWAKI_FILE"]
SIZE = int(os.environ.get("NIWAKI_SIZE", "224"))
LARGEST = 20_000_000  # bytes of a picture

app = FastAPI(title="niwaki")
network = niwaki.load(FILE, threads=1)  # more requests at once, not faster ones: throughput is best so
words = niwaki.inspect(FILE).metadata
mean, std = (tuple(map(float, words[f"image.{name}"].split(","))) for name in ("mean", "std"))


@app.get("/health")
def health() -> dict[str, str]:
    """For who asks whether it is up."""
    return {"file": FILE, "inputs": ", ".join(map(str, network.inputs))}


@app.post("/classes")
def classes(picture: bytes = Body(media_type="application/octet-stream"), top: int = 5) -> list[dict[str, float]]:
    """The best classes of a picture, with their probabilities."""
    if len(picture) > LARGEST:
        raise HTTPException(413, f"A picture may have {LARGEST:,} bytes.")
    try:
        pixels = read_picture(io.BytesIO(picture), (SIZE, SIZE), usual_resize((SIZE, SIZE)), len(mean))
    except ValueError as error:
        raise HTTPException(400, str(error)) from None
    scores = network(torch.from_numpy(normalize(pixels[None], mean, std)))[0]
    best, order = scores.double().softmax(0).topk(min(max(top, 1), len(scores)))
    return [{"class": int(index), "score": float(np.float32(score))} for index, score in zip(order, best, strict=True)]
