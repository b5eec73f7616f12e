"""Brushes as Label Studio's SDK writes them: `encode_rle` of a mask that all four channels hold."""

import numpy as np

SIZES = (3, 4, 8, 16)


def encode(mask: np.ndarray) -> list[int]:
    """Return the bytes of a mask (H, W) uint8."""
    values = np.repeat(mask.ravel(), 4)
    bits = f"{values.size:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in SIZES)
    edges = np.flatnonzero(np.diff(values)) + 1
    for part in np.split(values, edges):
        left = part.size
        while left:
            most = min(left, 2 ** SIZES[-1])
            kind = next(kind for kind, size in enumerate(SIZES) if most <= 2**size)
            repeated = 1 if part.size > 1 else 0
            bits += f"{repeated}{kind:02b}{most - 1:0{SIZES[kind]}b}{part[0]:08b}"
            left -= most
    bits += "0" * (8 - len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
