"""Label Studio's run lengths of brushes: a stream of bits over a picture's RGBA bytes, row by row.

32 bits say how many bytes there are, 5 how many bits a value has less one, four times 4 how many
bits a length of each kind has less one. Then records: a bit for "repeated", two for the kind of
length, the length less one, and one value, or as many as the length says.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sats_core.data.readers.coco_shapes import ShapeError

MAX_BYTES = 4 * 2**20
"""Longest stream of one brush."""
MAX_RECORDS = 500_000
_HEAD = 32 + 5 + 16

Alpha = NDArray[np.uint8]


def decode_alpha(data: bytes, pixels: int) -> Alpha:
    """Return the alpha of each pixel (pixels,), from the bit stream of a brush.

    Only every fourth byte counts, so nothing larger than the picture is ever in memory.

    Raises:
        ShapeError: not such a stream, of another number of pixels, or too long.
    """
    if len(data) > MAX_BYTES:
        raise ShapeError(f"a brush has more than {MAX_BYTES} bytes")
    size, value_bits, length_bits = _head(data)
    if size != 4 * pixels:
        raise ShapeError(f"a brush of {size} bytes, where 4 x {pixels} pixels are needed")
    bits = _reader(data)
    end, place, at = 8 * len(data), _HEAD, 0
    alpha = np.zeros(pixels, dtype=np.uint8)
    for _ in range(MAX_RECORDS):
        if at == size:
            return alpha
        if place + 3 > end:
            break
        kind = length_bits[bits(place + 1, 2)]
        if place + 3 + kind > end:
            break
        repeated, length = bits(place, 1), 1 + bits(place + 3, kind)
        place += 3 + kind
        values = 1 if repeated else length
        if place + values * value_bits > end or at + length > size:
            break
        first, last = at // 4, (at + length) // 4  # pixels whose alpha is among these bytes
        if repeated:
            alpha[first:last] = bits(place, value_bits)
        elif last > first:
            literals = _literals(data, place, length, value_bits)
            alpha[first:last] = literals[3 - at % 4 :: 4]
        place += values * value_bits
        at += length
    else:
        raise ShapeError(f"a brush has more than {MAX_RECORDS} records")
    raise ShapeError("the bits of a brush do not add up to its picture")


def _head(data: bytes) -> tuple[int, int, list[int]]:
    if 8 * len(data) < _HEAD:
        raise ShapeError("a brush without its first 53 bits")
    bits = _reader(data)
    value_bits = bits(32, 5) + 1
    if value_bits > 8:
        raise ShapeError(f"values of {value_bits} bits; a brush has 8")
    return bits(0, 32), value_bits, [bits(37 + 4 * kind, 4) + 1 for kind in range(4)]


def _reader(data: bytes) -> Callable[[int, int], int]:
    """Return a function that reads so many bits, up to 32, from a place on."""

    def bits(place: int, count: int) -> int:
        last = place + count
        whole = int.from_bytes(data[place // 8 : (last + 7) // 8], "big")
        return whole >> (-last % 8) & ((1 << count) - 1)

    return bits


def _literals(data: bytes, place: int, count: int, bits: int) -> Alpha:
    """Return `count` values of so many bits each, from a place on."""
    last = place + count * bits
    part = np.frombuffer(data[place // 8 : (last + 7) // 8], dtype=np.uint8)
    unpacked = np.unpackbits(part)[place % 8 :][: count * bits].reshape(count, bits)
    return np.packbits(unpacked, axis=1)[:, 0] >> np.uint8(8 - bits)
