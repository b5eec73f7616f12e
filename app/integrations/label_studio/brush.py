"""Label Studio's run lengths of brushes, written as its SDK writes them.

`sats_core.data.readers.brush` says what the bits mean, and reads them.
"""

import numpy as np
from numpy.typing import NDArray

from sats_core.data.readers.brush import MAX_RECORDS

LENGTH_BITS = (3, 4, 8, 16)
"""Bits of a run's length less one, by kind."""
_LONGEST = 2 ** LENGTH_BITS[-1]
_WORD = 8
_CHANNELS = 4
_RECORDS = 2**16
"""Records that are turned into bits at a time."""

Longs = NDArray[np.int64]
Bits = NDArray[np.uint8]


class TooManyRunsError(Exception):
    """A mask is so ragged that no reader would take its brush."""


def encode_mask(inside: NDArray[np.bool_]) -> bytes:
    """Return the brush that covers the true pixels of a mask (H, W).

    All four channels of such a pixel are 255: with an alpha of 1 nobody would see it.

    Raises:
        TooManyRunsError: it has more runs than are read.
    """
    flat = inside.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate(([0], edges))
    lengths = _CHANNELS * np.diff(starts, append=flat.size)
    values = np.where(flat[starts], 255, 0)
    # A run that is longer than a record holds becomes several.
    pieces = -(-lengths // _LONGEST)
    if int(pieces.sum()) > MAX_RECORDS:
        raise TooManyRunsError(f"its brush would have more than {MAX_RECORDS} runs")
    whole = np.full(int(pieces.sum()), _LONGEST, dtype=np.int64)
    whole[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _LONGEST
    return _packed(flat.size * _CHANNELS, whole, np.repeat(values, pieces))


def _packed(size: int, lengths: Longs, values: Longs) -> bytes:
    head = f"{size:032b}{_WORD - 1:05b}" + "".join(f"{bits - 1:04b}" for bits in LENGTH_BITS)
    parts: list[Bits] = [np.frombuffer(head.encode(), dtype=np.uint8) - ord("0")]
    for at in range(0, lengths.size, _RECORDS):
        some = slice(at, at + _RECORDS)
        parts += [_bits(lengths[some], values[some])]
    bits = np.concatenate(parts)
    # As the SDK does: it adds eight where none are needed.
    fill = np.zeros(8 - bits.size % 8, dtype=np.uint8)
    return np.packbits(np.concatenate((bits, fill))).tobytes()


def _bits(lengths: Longs, values: Longs) -> Bits:
    """Return the bits of records "repeated": one bit, two of the kind, the length, the value."""
    kinds = np.searchsorted([2**bits for bits in LENGTH_BITS], lengths)
    length_bits = np.array(LENGTH_BITS)[kinds]
    codes = (4 + kinds) << length_bits | (lengths - 1)
    codes = codes << _WORD | values
    counts = 3 + length_bits + _WORD
    ends = np.cumsum(counts)
    record = np.repeat(np.arange(lengths.size), counts)
    place = ends[record] - 1 - np.arange(ends[-1])
    bits: Bits = (codes[record] >> place & 1).astype(np.uint8)
    return bits
