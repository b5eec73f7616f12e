"""Pictures in base64, in JSON."""

import binascii
import re

from pydantic import ValidationError

from app.errors import ErrorDetail, InvalidProblem, TooLargeProblem
from app.errors.codes import Code
from app.errors.fields import invalid_fields
from app.segmentation.schemas import PicturesJson

BODY_COPIES = 4
"""As what a body of JSON is in memory at most: itself, its text, and that on the way to bytes."""

_MARKS = (b",", b":")
"""Bytes that base64 has none of: a body with few of them makes few values, whatever it is."""

_PIECE = 2**20
"""Letters that are read at once; four make three bytes."""

_URL = re.compile(r"\s*([a-z][a-z0-9+.-]{0,30}):", re.IGNORECASE)
_PREFIX = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)


def most_json_bytes(most_bytes: int) -> int:
    """Return how long JSON is that brings so many bytes of pictures."""
    return 4 * (most_bytes // 3 + 1)


def read_json(body: bytes, most: int) -> dict[str, bytes]:
    """Return the pictures of a body of JSON, by the name of their field, in their order.

    Raises:
        InvalidProblem: it is no such JSON, has no picture, or a text is not base64.
        TooLargeProblem: more than `most` pictures, or than their values; nothing was built.
    """
    # A picture brings one of each in front of its letters, and one between it and the next.
    if max(body.count(mark) for mark in _MARKS) > 2 * most + len(PicturesJson.model_fields):
        raise TooLargeProblem(
            f"the body has more values than {most} pictures do; one request takes at most {most}"
        )
    try:
        posted = PicturesJson.model_validate_json(body)
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False, include_input=False)) from error
    if posted.image is not None:
        return {"image": decoded(posted.image, "image")}
    texts = posted.images or []
    if not texts:
        raise InvalidProblem(
            "no picture came", [ErrorDetail("empty", field="images", code=Code.MISSING)]
        )
    if len(texts) > most:
        raise TooLargeProblem(f"{len(texts)} pictures; one request takes at most {most}")
    return {f"images.{i}": decoded(text, f"images.{i}") for i, text in enumerate(texts)}


def decoded(text: str, field: str) -> bytes:
    """Return what a text in base64 holds; the prefix of a `data:` URL may stand before it.

    Raises:
        InvalidProblem: it is no base64.
    """
    prefix = _PREFIX.match(text)
    start = prefix.end() if prefix else 0
    if prefix is None and (scheme := _URL.match(text)):
        raise _refused(
            "a `data:` URL must be base64"
            if scheme[1].lower() == "data"
            else "a URL, and the service fetches nothing: post the picture itself in base64",
            field,
        )
    try:
        # Lines are broken by many encoders; nothing else may stand between the letters.
        letters = text[start:].encode("ascii").translate(None, b" \t\r\n")
        return from_base64(letters)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise _refused("not base64 (RFC 4648, section 4, with padding)", field) from error


def from_base64(letters: bytes) -> bytes:
    """Return what letters hold, piece by piece: nothing else goes on while one is read.

    Raises:
        binascii.Error: they are no base64 with padding.
    """
    pieces = []
    for at in range(0, len(letters), _PIECE):
        piece = letters[at : at + _PIECE]
        pieces.append(binascii.a2b_base64(piece, strict_mode=True))
        if at + _PIECE < len(letters) and piece.endswith(b"="):
            raise binascii.Error("letters after the padding")
    return b"".join(pieces)


def _refused(message: str, field: str) -> InvalidProblem:
    return InvalidProblem(
        f"`{field}`: {message}", [ErrorDetail(message, field=field, code=Code.UNREADABLE)]
    )
