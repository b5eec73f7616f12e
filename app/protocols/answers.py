"""Masks as tensors of the Open Inference Protocol."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidProblem
from app.inference.cutting import Cut, Segmented
from app.inference.engine import Inference
from app.inference.loaded_graphs import Choice, Served
from app.protocols.schemas import OUTPUTS
from app.protocols.tensors import Tensors
from app.segmentation import service
from sats_core.data.pictures import resize_picture, row_bands
from sats_core.data.transforms import Pixels

DECIMALS = 4
"""Of scores in JSON; they are no more exact."""

PIXEL_BYTES = {
    ("mask", True): 8,
    ("mask", False): 16,
    ("score", True): 10,
    ("score", False): 20,
}
"""What a pixel takes until it is answered, by output and whether as bytes. A mask's are taken of
every answer: the picture is decoded, and the mask is made."""

_TYPES = {tensor.name: tensor.datatype for tensor in OUTPUTS}


def room(wanted: Mapping[str, bool], pixels: int) -> int:
    """Return how many bytes pictures of so many pixels take until they are answered."""
    outputs = {"mask": True, **wanted}
    return pixels * sum(PIXEL_BYTES[name, binary] for name, binary in outputs.items())


async def infer(
    inference: Inference, choice: Choice, asked: Tensors, max_pixels: int
) -> tuple[Served, bytes, int | None]:
    """Return who answers, the body of the answer, and the length of its JSON where bytes follow.

    Raises:
        GraphError, ClosedError, TooLargeProblem: as `service.answer`.
        InvalidProblem: a picture cannot be read, or they are not of one size.
    """
    served = await inference.served(choice)
    how = Cut(mean_scores=False, keep_scores="score" in asked.wanted)
    found = await _segmented(inference, served, asked, how, max_pixels)
    shapes = {one.mask.shape for one in found}
    if len(shapes) > 1:
        sizes = ", ".join(f"{width} x {height}" for height, width in sorted(shapes))
        raise InvalidProblem(f"the pictures of one request are of one size, not of {sizes}")
    outputs, tail = [], []
    for name, binary in asked.wanted.items():
        text, data = await _output(inference, name, found, binary)
        outputs.append(text)
        tail += data
    head = json.dumps(
        {"model_name": served.exported.model, "model_version": str(served.exported.number)}
        | ({"id": asked.id} if asked.id is not None else {})
    )
    text = b"".join([head[:-1].encode(), b', "outputs": [', b", ".join(outputs), b"]}"])
    return served, b"".join([text, *tail]), len(text) if any(asked.wanted.values()) else None


async def _segmented(
    inference: Inference, served: Served, asked: Tensors, how: Cut, max_pixels: int
) -> list[Segmented]:
    if asked.files:
        answers = await service.segment(inference, served, asked.files, how, max_pixels)
        return [answer.found for answer in answers]
    view = served.graph.view_of(None)
    resizes = [partial(resize_picture, one, view.shown) for one in asked.raw]
    try:
        return await inference.segment(served, resizes, view, how, lambda _, found: found)
    except ExceptionGroup as group:
        raise group.exceptions[0] from group


async def _output(
    inference: Inference, name: str, found: Sequence[Segmented], binary: bool
) -> tuple[bytes, list[Any]]:
    """Return an output as JSON, and what follows it as bytes; picture by picture, so that between
    two others have their turn."""
    arrays = [one.mask if name == "mask" else one.every_score for one in found]
    shape = [len(arrays), *arrays[0].shape]
    said: dict[str, Any] = {"name": name, "datatype": _TYPES[name], "shape": shape}
    if binary:
        data = [await inference.in_thread(partial(_bytes, one)) for one in arrays]
        said["parameters"] = {"binary_data_size": sum(len(one) for one in data)}
        return json.dumps(said).encode(), data
    texts = [await inference.in_thread(partial(_text, one)) for one in arrays]
    start = json.dumps(said)[:-1].encode()
    return b"".join([start, b', "data": [', b",".join(texts), b"]}"]), []


def _bytes(values: Pixels | NDArray[np.float16]) -> memoryview:
    """Return a mask, or scores as FP32, row by row; of a mask no copy is made."""
    plain = values.astype("<f4") if values.dtype == np.float16 else values
    return np.ascontiguousarray(plain).data.cast("B")


def _text(values: Pixels | NDArray[np.float16]) -> bytes:
    return b",".join(_band_texts(values))


def _band_texts(values: Pixels | NDArray[np.float16]) -> Iterator[bytes]:
    """Yield numbers with commas between, band by band: as Python's own they take eight times as
    much."""
    for rows in row_bands(*values.shape):
        band = values[rows].ravel()
        numbers = band.astype(float).round(DECIMALS) if band.dtype == np.float16 else band
        yield json.dumps(numbers.tolist(), separators=(",", ":"))[1:-1].encode()
