"""How many pieces a picture's file is cut into; decoders walk through each of them in Python."""

import re
import struct

from sats_core.errors import PictureError

MOST_PIECES = 20_000
"""Chunks of a PNG, segments of a JPEG: files from cameras and programs have a few thousand."""
MOST_SCANS = 64
"""Scans of a JPEG: each goes over all pixels again, and takes a few bytes of the file. Encoders
make some ten of them."""
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_SCAN = 0xDA
_END = 0xD9
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""JPEG's markers that no length follows."""
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)
"""One that ends what is coded: that has no such bytes."""


def check_pieces(data: bytes) -> None:
    """Check that a file is not cut into so many pieces that opening it takes seconds.

    What is no PNG and no JPEG, or a damaged one, passes: its decoder says so.

    Raises:
        PictureError: it is.
    """
    if data.startswith(_PNG):
        _check_chunks(data)
    elif data.startswith(_JPEG):
        _check_scans(data, _check_segments(data))


def _check_chunks(data: bytes) -> None:
    place = len(_PNG)
    for _ in range(MOST_PIECES):
        if place + 8 > len(data):
            return
        (length,) = struct.unpack_from(">I", data, place)
        place += 12 + length  # length, name and checksum take 12
    raise PictureError(f"the PNG has more than {MOST_PIECES} chunks")


def _check_scans(data: bytes, place: int) -> None:
    """Count the scans, from the first one to the picture's end; telephones append films to it."""
    scans = 0
    for _ in range(MOST_PIECES):
        found = _MARKER.search(data, place)
        if found is None or found[0][1] == _END or found.end() + 2 > len(data):
            return
        scans += found[0][1] == _SCAN
        if scans > MOST_SCANS:
            raise PictureError(f"the JPEG has more than {MOST_SCANS} scans")
        (length,) = struct.unpack_from(">H", data, found.end())
        place = found.end() + max(2, length)
    raise PictureError(f"the JPEG has more than {MOST_PIECES} segments between its scans")


def first_scan(data: bytes) -> int:
    """Return how many components a JPEG's first scan brings; 0 where the file has none.

    Raises:
        PictureError: too many pieces come before it.
    """
    place = _check_segments(data)
    return (
        data[place + 4] if data[place : place + 2] == b"\xff\xda" and place + 4 < len(data) else 0
    )


def _check_segments(data: bytes) -> int:
    """Walk up to the first scan, return its place: what follows is searched by the decoder's C."""
    place = len(_JPEG)
    for _ in range(MOST_PIECES):
        if place + 4 > len(data) or data[place] != 0xFF or data[place + 1] == _SCAN:
            return place
        if data[place + 1] in _BARE or data[place + 1] == 0xFF:
            place += 2 if data[place + 1] in _BARE else 1
        else:
            (length,) = struct.unpack_from(">H", data, place + 2)
            place += 2 + max(2, length)
    raise PictureError(f"the JPEG has more than {MOST_PIECES} segments before its pixels")
