"""Masks as tensors of the Open Inference Protocol."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidProblem
from app.inference.cutting import Cut, Segmented
from app.inference.engine import Inference
from app.inference.loaded_graphs import Choice, Served
from app.integrations.protocols.schemas import OUTPUTS
from app.integrations.protocols.tensors import Tensors
from app.segmentation import service
from sats_core.data.bands import row_bands
from sats_core.data.pictures import resize_picture
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


@dataclass(frozen=True)
class Written:
    """What a picture adds to an answer.

    Attributes:
        shape: (H, W) of its mask.
        data: by output, its numbers as bytes, or as JSON without the brackets.
    """

    shape: tuple[int, ...]
    data: Mapping[str, bytes | memoryview]


async def infer(
    inference: Inference, choice: Choice, asked: Tensors, max_pixels: int
) -> tuple[Served, bytes, int | None]:
    """Return who answers, the body of the answer, and the length of its JSON where bytes follow.

    Raises:
        GraphError, ClosedError, TooLargeProblem: as `service.answer`.
        InvalidProblem: a picture cannot be read, or they are not of one size.
    """
    served = await inference.served(choice)
    pictures = await _written(inference, served, asked, max_pixels)
    shapes = {one.shape for one in pictures}
    if len(shapes) > 1:
        sizes = ", ".join(f"{width} x {height}" for height, width in sorted(shapes))
        raise InvalidProblem(f"the pictures of one request are of one size, not of {sizes}")
    outputs = [_output(name, pictures, binary) for name, binary in asked.wanted.items()]
    tail = [one.data[name] for name, binary in asked.wanted.items() if binary for one in pictures]
    head = json.dumps(
        {"model_name": served.exported.model, "model_version": str(served.exported.number)}
        | ({"id": asked.id} if asked.id is not None else {})
    )
    text = b"".join([head[:-1].encode(), b', "outputs": [', b", ".join(outputs), b"]}"])
    return served, b"".join([text, *tail]), len(text) if any(asked.wanted.values()) else None


async def _written(
    inference: Inference, served: Served, asked: Tensors, max_pixels: int
) -> list[Written]:
    """Segment pictures; their numbers are written on their lanes, since JSON takes seconds."""
    how = Cut(mean_scores=False, keep_scores="score" in asked.wanted)
    write = partial(_write, asked.wanted)
    if asked.files:
        return await service.delivered(
            inference, served, asked.files, how, max_pixels, lambda _, found: write(found)
        )
    view = served.graph.view_of(None)
    resizes = [partial(resize_picture, one, view.shown) for one in asked.raw]
    try:
        return await inference.segment(served, resizes, view, how, lambda _, found: write(found))
    except ExceptionGroup as group:
        raise group.exceptions[0] from group


def _write(wanted: Mapping[str, bool], found: Segmented) -> Written:
    arrays = {name: found.mask if name == "mask" else found.every_score for name in wanted}
    data = {name: (_bytes if wanted[name] else _text)(values) for name, values in arrays.items()}
    return Written(found.mask.shape, data)


def _output(name: str, pictures: Sequence[Written], binary: bool) -> bytes:
    """Return an output as JSON; of one as bytes, what is said of them."""
    shape = [len(pictures), *pictures[0].shape]
    said: dict[str, Any] = {"name": name, "datatype": _TYPES[name], "shape": shape}
    data = [one.data[name] for one in pictures]
    if binary:
        said["parameters"] = {"binary_data_size": sum(map(len, data))}
        return json.dumps(said).encode()
    start = json.dumps(said)[:-1].encode()
    return b"".join([start, b', "data": [', b",".join(data), b"]}"])


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
