"""Tensors of the Open Inference Protocol, from a request's bytes."""

import binascii
import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from pydantic import ValidationError
from pydantic_core import from_json

from app.errors import BadRequestProblem, InvalidProblem, TooLargeProblem
from app.errors.fields import invalid_fields
from app.integrations.protocols.schemas import InferRequestJson, InputJson
from app.segmentation.json_pictures import from_base64
from app.segmentation.upload import PostedPicture
from sats_core.data.transforms import Pixels

_PER_MARK = {b"{": 256, b"[": 64, b":": 256, b",": 48}
"""Bytes that an object, a list, an entry and a value take at most once they are read."""
_WORK_PER_MARK = {b"{": 6, b"[": 6, b'"': 3, b",": 1, b"\\": 1}
_BYTES_PER_WORK = 6
MOST_WORK = 3_200_000
"""As which reading one request's JSON counts at most, in short numbers: all else in the process
waits meanwhile, some 30 ns for each. A picture of 512 x 512 pixels as nested lists is not more."""
_FEW_VALUES = 1000
"""With so few, long JSON is long texts, which are read as fast as they are copied."""
_PIECE = 2**20
_LENGTH = 4
"""Bytes that say how long an element of a BYTES tensor is, the lowest first."""


@dataclass(frozen=True)
class Limits:
    """What the pictures of one request may have.

    Attributes:
        pictures: how many there are.
        bytes: together.
        pixels: each.
    """

    pictures: int
    bytes: int
    pixels: int


@dataclass(frozen=True, eq=False)
class Tensors:
    """What a request brings and asks for.

    Attributes:
        id: comes back as it is.
        wanted: outputs, and whether as bytes.
        raw: pictures, each (H, W, 3) uint8 RGB.
        files: pictures' files; there are none where there are raw ones.
    """

    id: str | None
    wanted: dict[str, bool]
    raw: Sequence[Pixels] = ()
    files: Sequence[PostedPicture] = ()

    @property
    def pictures(self) -> int:
        """How many there are."""
        return len(self.raw) + len(self.files)


def json_cost(text: bytes) -> int:
    """Return how many bytes JSON takes at most while it is read, beside itself: its texts, one
    character of which may make four bytes of each, and what is made of it.

    Raises:
        TooLargeProblem: it has more values, lists and texts than a request may have.
    """
    marks = _counted(text, {**_PER_MARK, **_WORK_PER_MARK})
    work = sum(each * marks[mark] for mark, each in _WORK_PER_MARK.items())
    if marks[b","] > _FEW_VALUES:
        work += len(text) // _BYTES_PER_WORK
    if work > MOST_WORK:
        raise TooLargeProblem(
            "the JSON has more values and lists than one request may have: send tensors as bytes"
        )
    return 4 * len(text) + sum(each * marks[mark] for mark, each in _PER_MARK.items())


def _counted(text: bytes, marks: Iterable[bytes]) -> Counter[bytes]:
    """Count marks, piece by piece: nothing else goes on while one is looked through."""
    found = Counter[bytes]()
    for at in range(0, len(text), _PIECE):
        piece = text[at : at + _PIECE]
        for mark in marks:
            found[mark] += piece.count(mark)
    return found


def split(body: bytes, header: str | None) -> tuple[bytes, memoryview]:
    """Return a body's JSON and the bytes behind it.

    Args:
        body: all of it.
        header: `Inference-Header-Content-Length`; None: there is nothing but JSON.

    Raises:
        BadRequestProblem: it is no length within the body.
    """
    if header is None:
        return body, memoryview(b"")
    if not (header.isascii() and header.isdecimal() and len(header) < 12):
        raise BadRequestProblem("`Inference-Header-Content-Length` is not a number")
    if int(header) > len(body):
        raise BadRequestProblem(
            f"`Inference-Header-Content-Length` is {int(header)}, the body has {len(body)} bytes"
        )
    return body[: int(header)], memoryview(body)[int(header) :]


def read(text: bytes, blob: memoryview, limits: Limits) -> Tensors:
    """Read a request.

    Args:
        text: its JSON.
        blob: what follows it.
        limits: of its pictures.

    Raises:
        BadRequestProblem: it is no JSON.
        InvalidProblem: it is no such request, or shape and bytes do not fit each other.
        TooLargeProblem: the pictures are beyond a limit.
    """
    try:
        asked = InferRequestJson.model_validate(_parsed(text))
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False, include_input=False)) from error
    except ValueError as error:
        raise BadRequestProblem(f"the body's JSON cannot be read: {error}") from error
    (tensor,) = asked.inputs
    size = tensor.parameters.binary_data_size
    if len(blob) != (size or 0):
        raise InvalidProblem(f"{len(blob)} bytes follow the JSON, `binary_data_size` is {size}")
    if tensor.name == "image":
        return Tensors(asked.id, asked.wanted, raw=_raw(tensor, blob, limits))
    return Tensors(asked.id, asked.wanted, files=_encoded(tensor, blob, limits))


def _parsed(text: bytes) -> Any:
    """Return what JSON says.

    Garbage is not collected meanwhile: after every few hundred lists it would look through all that
    there are, and again and again through everything else in the process.

    Raises:
        ValueError: it is no JSON.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return from_json(text, allow_inf_nan=False)
    finally:
        if collecting:
            gc.enable()


def _raw(tensor: InputJson, blob: memoryview, limits: Limits) -> list[Pixels]:
    """Return the pictures of `image`: views of its bytes, where these came as such."""
    shape = tensor.shape if len(tensor.shape) == 4 else [1, *tensor.shape]
    if len(shape) != 4 or shape[3] != 3:
        raise InvalidProblem(f"`image` has shape [N, H, W, 3] or [H, W, 3], not {tensor.shape}")
    values = blob if tensor.data is None else _numbers(tensor.data)
    if len(values) != prod(shape):
        raise InvalidProblem(
            f"`image` of shape {tensor.shape} has {prod(shape)} values; {len(values)} came"
        )
    _check(shape[0], len(values), limits)
    if shape[1] * shape[2] > limits.pixels:
        raise TooLargeProblem(f"{shape[2]} x {shape[1]} is more than {limits.pixels} pixels")
    return list(np.frombuffer(values, dtype=np.uint8).reshape(shape))


def _encoded(tensor: InputJson, blob: memoryview, limits: Limits) -> list[PostedPicture]:
    """Return the pictures of `encoded`."""
    if len(tensor.shape) > 2 or tensor.shape[1:] not in ([], [1]):
        raise InvalidProblem(f"`encoded` has shape [N] or [N, 1], not {tensor.shape}")
    pictures = tensor.shape[0]
    _check(pictures, 0, limits)
    if tensor.data is None:
        files = list(_parted(blob, pictures))
    else:
        texts = _flat(tensor.data, len(tensor.shape))
        _check(len(texts), 0, limits)
        files = [_from_base64(text) for text in texts]
    if len(files) != pictures:
        raise InvalidProblem(f"`encoded` of shape {tensor.shape}; {len(files)} elements came")
    _check(pictures, sum(map(len, files)), limits)
    return [PostedPicture(f"encoded.{i}", data) for i, data in enumerate(files)]


def _check(pictures: int, size: int, limits: Limits) -> None:
    if pictures > limits.pictures:
        raise TooLargeProblem(f"{pictures} pictures; one request takes at most {limits.pictures}")
    if size > limits.bytes:
        raise TooLargeProblem(f"the pictures have more than {limits.bytes} bytes together")


def _parted(blob: memoryview, most: int) -> Iterator[bytes]:
    """Yield the elements of a BYTES tensor, at most one more than there may be."""
    at = found = 0
    while at < len(blob) and found <= most:
        length = int.from_bytes(blob[at : at + _LENGTH], "little")
        at += _LENGTH
        if at + length > len(blob):
            raise InvalidProblem("an element of `encoded` is longer than the bytes that came")
        yield bytes(blob[at : at + length])
        at, found = at + length, found + 1


def _numbers(data: Any) -> bytes:
    values = _flat(data, 4)
    try:
        if set(map(type, values)) <= {int}:  # true is 1 to Python, to nobody else
            return bytes(values)
    except (ValueError, OverflowError):
        pass  # told below
    raise InvalidProblem("`image` holds whole numbers from 0 to 255")


def _flat(data: Any, depth: int) -> list[Any]:
    """Return the elements of a list, which may be nested `depth` deep.

    Raises:
        InvalidProblem: it is no list.
    """
    if not isinstance(data, list):
        raise InvalidProblem("`data` is a list")
    flat: list[Any] = data
    for _ in range(depth - 1):
        if not (flat and isinstance(flat[0], list)):
            break
        if not all(isinstance(inner, list) for inner in flat):
            raise InvalidProblem("`data` has lists beside elements")
        flat = list(chain.from_iterable(flat))
    return flat


def _from_base64(text: Any) -> bytes:
    try:
        return from_base64(text.encode("ascii"))
    except (AttributeError, UnicodeEncodeError, binascii.Error) as error:
        raise InvalidProblem("in JSON, an element of `encoded` is a file in base64") from error
