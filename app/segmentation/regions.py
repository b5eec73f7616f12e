"""Where each class of a mask lies: area, box and run lengths, all classes in one pass."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sats_core.data.transforms import Pixels

Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Region:
    """The pixels of one class, numbered column by column as COCO does.

    Attributes:
        index: the class's value in the mask.
        starts: (n,) first pixel of each run, ascending.
        ends: (n,) the pixel after each run's last.
        size: (height, width) of the mask.
    """

    index: int
    starts: Places
    ends: Places
    size: tuple[int, int]

    @property
    def pixels(self) -> int:
        """How many there are."""
        return int((self.ends - self.starts).sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the smallest box around them, pixels."""
        height = self.size[0]
        left, right = int(self.starts[0]) // height, int(self.ends[-1] - 1) // height
        tops, bottoms = self.starts % height, (self.ends - 1) % height
        # A run that goes on in the next column passes the lower edge and the upper one.
        goes_on = self.starts // height != (self.ends - 1) // height
        top = 0 if goes_on.any() else int(tops.min())
        bottom = height - 1 if goes_on.any() else int(bottoms.max())
        return left, top, right - left + 1, bottom - top + 1

    @property
    def counts(self) -> str:
        """The `counts` of COCO's compressed run lengths."""
        height, width = self.size
        bounds = np.empty(2 * len(self.starts), dtype=np.int64)
        bounds[0::2], bounds[1::2] = self.starts, self.ends
        runs = np.diff(bounds, prepend=0, append=height * width)
        if runs[-1] == 0:  # the mask ends inside the class
            runs = runs[:-1]
        plain = {"counts": runs, "size": [height, width]}
        packed: bytes = coco.frPyObjects(plain, height, width)["counts"]
        return packed.decode("ascii")


def regions(mask: Pixels) -> Iterator[Region]:
    """Yield the region of every class that a mask (H, W) shows, by index."""
    by_column = mask.ravel(order="F")
    starts = np.flatnonzero(by_column[1:] != by_column[:-1]) + 1
    starts = np.concatenate(([0], starts))
    ends = np.append(starts[1:], by_column.size)
    values = by_column[starts]
    order = np.argsort(values, kind="stable")
    found, firsts = np.unique(values[order], return_index=True)
    for index, runs in zip(found, np.split(order, firsts[1:]), strict=True):
        yield Region(int(index), starts[runs], ends[runs], (mask.shape[0], mask.shape[1]))
