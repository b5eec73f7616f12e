"""Confusion matrix and what is read from it."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sats_core.classes import BACKGROUND, IGNORE
from sats_core.data.labels import Lookup
from sats_core.evaluation.scores import Counts


class ConfusionMatrix:
    """Counts of pixels by true class (rows) and predicted class (columns), (C, C)."""

    def __init__(self, classes: int) -> None:
        """Start at zero for `classes` channels, background included."""
        self.counts = np.zeros((classes, classes), dtype=np.int64)

    def __add__(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        """Return the counts of both; they are of the same channels."""
        both = ConfusionMatrix(len(self.counts))
        both.counts = self.counts + other.counts
        return both

    def add(self, label: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
        """Count one picture.

        Args:
            label: (H, W) channels, 255 ignored.
            prediction: (H, W) channels.
        """
        classes = len(self.counts)
        counted = label != IGNORE
        pairs = label[counted].astype(np.int64) * classes + prediction[counted]
        self.counts += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def add_as_is(
        self, label: NDArray[np.uint8], prediction: NDArray[np.uint8], answer: Lookup
    ) -> None:
        """Count one picture that is labelled for some classes only.

        A pixel that is labelled as a class is that class, whatever else it is taken for. Of what is
        not labelled nothing but the labelled classes is known: any other stands as background.

        Args:
            label: (H, W) channels, 255 ignored.
            prediction: (H, W) channels.
            answer: `labelled_lookup` of the classes that the picture is labelled for.
        """
        self.add(label, np.where(label == BACKGROUND, answer[prediction], prediction))

    def rows(self) -> Counts:
        """Return the counts, row after row."""
        return tuple(map(tuple, self.counts.tolist()))

    def iou(self) -> list[float | None]:
        """Return intersection over union per class; None for a class that no label shows."""
        hits = np.diag(self.counts)
        shown = self.counts.sum(axis=1)
        union = shown + self.counts.sum(axis=0) - hits
        return [
            float(hit / joint) if seen else None
            for hit, joint, seen in zip(hits, union, shown, strict=True)
        ]

    def overlaps(self, channels: Iterable[int]) -> tuple[float | None, ...]:
        """Return intersection over union of some channels; None for one that is nowhere at all."""
        hits = np.diag(self.counts)
        union = self.counts.sum(axis=1) + self.counts.sum(axis=0) - hits
        return tuple(
            round(float(hits[each] / union[each]), 4) if union[each] else None for each in channels
        )

    def accuracy(self) -> float | None:
        """Return the share of counted pixels that are right; None without any."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else None
