"""Decoded pictures on disk: each is decoded and resized once per step, however many epochs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from sats_core.data.labels import Lookup
from sats_core.data.transforms import Pixels, fit, resize_label

LARGEST = math.sqrt(2)
"""Times the crop's side that a picture is kept at: the largest crops are a little soft for it, and
the file half as large."""


def bytes_of(height: int, width: int, size: int) -> int:
    """Return the bytes that a picture takes in a cache for crops of `size` pixels, label and all.

    Args:
        height: the picture's, pixels.
        width: the picture's, pixels.
        size: side of the crops, pixels.
    """
    longest = math.ceil(size * LARGEST)
    if max(height, width) > longest:
        height, width = fit(height, width, longest)
    return 4 * height * width


_Shape = tuple[int, int, int]
"""Where a picture begins in the file, its height and width."""


@dataclass(frozen=True)
class CachedPictures:
    """Pictures (H, W, 3) and labels (H, W) of a cache, as long as its file is there."""

    path: Path
    shapes: Sequence[_Shape]

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> tuple[Pixels, Pixels]:
        offset, height, width = self.shapes[index]
        area = height * width
        data = np.memmap(self.path, np.uint8, "r", offset=offset, shape=(4 * area,))
        return data[: 3 * area].reshape(height, width, 3), data[3 * area :].reshape(height, width)


class PictureCache:
    """Pictures and labels in one raw file, read back through a memory map.

    Pictures are kept no larger than crops of an ordinary scale show them.
    """

    def __init__(self, path: Path, size: int) -> None:
        """Start an empty cache for crops of `size` pixels; an old file at `path` is replaced."""
        self._longest = math.ceil(size * LARGEST)
        self._path = path
        self._file = path.open("wb+")
        self._shapes: list[_Shape] = []

    def add(self, picture: Pixels, label: Pixels) -> None:
        """Append a picture (H, W, 3) with its label (H, W)."""
        height, width = label.shape
        if max(height, width) > self._longest:
            height, width = fit(height, width, self._longest)
            resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR)
            picture, label = np.asarray(resized), resize_label(label, height, width)
        self._shapes.append((self._file.seek(0, 2), height, width))
        self._file.write(np.ascontiguousarray(picture).tobytes())
        self._file.write(np.ascontiguousarray(label).tobytes())

    def relabel(self, lookup: Lookup) -> None:
        """Replace every label's values by those of a table (256,)."""
        for index, (offset, height, width) in enumerate(self._shapes):
            label = lookup[self[index][1]]
            self._file.seek(offset + 3 * height * width)
            self._file.write(label.tobytes())

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, index: int) -> tuple[Pixels, Pixels]:
        return self.filled()[index]

    def filled(self) -> "CachedPictures":
        """Return what is in the cache now, for whoever only reads it, in any process."""
        self._file.flush()
        return CachedPictures(self._path, self._shapes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
