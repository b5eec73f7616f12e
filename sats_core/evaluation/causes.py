"""Measuring why a version forgot: one pass over held-out pictures with old and new model."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sats_core.classes import BACKGROUND, IGNORE, Catalogue
from sats_core.data.labels import Lookup, labelled_lookup, step_lookup
from sats_core.evaluation.cka import LinearCka
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.forgetting import (
    ForgettingReport,
    Regained,
    StageAlignment,
    readings,
)
from sats_core.evaluation.held_out import HeldOut
from sats_core.evaluation.predict import labelled_input
from sats_core.models import Segmenter

MOST_PICTURES = 200
"""Pictures of one held-out set that are looked at, drawn by chance."""
SURE = 0.7
"""Score from which the old model's opinion counts as background shift."""
KINDS = ("old", "background", "new")

Marks = NDArray[np.uint8]
Item = TypeVar("Item")


def why_forgotten(
    model: Segmenter,
    old: Segmenter,
    size: int,
    catalogue: Catalogue,
    forgetting: dict[str, float],
    sets: Sequence[HeldOut],
    trained: Iterable[tuple[Tensor, Tensor]],
    seen: Callable[[], None],
) -> ForgettingReport:
    """Compare a version with the one before it.

    Figures are taken at the model's own resolution, so that they differ a little from scores.

    Args:
        model: the new version; left in evaluation mode.
        old: the version before.
        size: longer side of what both see, pixels.
        catalogue: the new version's classes.
        forgetting: `Scores.forgetting`.
        sets: held-out pictures, each with the classes that it is labelled for.
        trained: the step's own pictures (1, 3, H, W) and labels (1, H, W), for background shift.
        seen: called after each picture.
    """
    model.eval()
    old.eval()
    causes = _Causes(model, old)
    for held_out in sets:
        channels = {name: catalogue.channel(name) for name in held_out.classes}
        truth = step_lookup(held_out.reader.classes, channels)
        for picture_id in examined(held_out.ids):
            picture = held_out.reader.read(picture_id)
            pixels, labels = labelled_input(picture.picture, truth[picture.label], size, model)
            causes.add(pixels, labels, set(channels.values()))
            seen()
    figures = causes.figures() | {
        "forgetting": forgetting,
        "norm_ratio": norm_ratio(model, old),
        "background_shift": background_shift(old, trained),
    }
    return ForgettingReport.model_validate(
        {**figures, "pictures": causes.pictures, "readings": readings(figures)}
    )


def examined(items: Sequence[Item]) -> Sequence[Item]:
    """Return what is looked at of many pictures: all of them, or 200 drawn by chance."""
    if len(items) <= MOST_PICTURES:
        return items
    picked = np.random.default_rng(0).permutation(len(items))[:MOST_PICTURES]
    return [items[index] for index in sorted(picked.tolist())]


def norm_ratio(model: Segmenter, old: Segmenter) -> float | None:
    """Return the mean length of the new classes' rows over that of the old ones' (background not
    counted); None where the model before knew background alone."""
    before = old.classifier.channels
    rows = torch.cat([step.weight for step in model.classifier.convolutions()]).flatten(1)
    lengths = rows.detach().norm(dim=1)
    if before < 2:
        return None
    return float(lengths[before:].mean() / lengths[1:before].mean())


@torch.no_grad()
def background_shift(old: Segmenter, trained: Iterable[tuple[Tensor, Tensor]]) -> float | None:
    """Return the share of background pixels that `old` calls an old class with p >= 0.7.

    Args:
        old: the version before the step.
        trained: the step's pictures (B, 3, H, W) and labels (B, H, W).
    """
    total = shifted = 0
    for pixels, labels in trained:
        scores = _full(old(pixels), labels).softmax(dim=1)[:, 1:]
        background = labels == BACKGROUND
        total += int(background.sum())
        if scores.shape[1]:
            shifted += int((background & (scores.amax(dim=1) >= SURE)).sum())
    return shifted / total if total else None


def _full(logits: Tensor, labels: Tensor) -> Tensor:
    return F.interpolate(
        logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False
    )


class _Causes:
    """What is counted, picture by picture."""

    def __init__(self, model: Segmenter, old: Segmenter) -> None:
        self.pictures = 0
        self._model = model
        self._old = old
        self._before = old.classifier.channels
        self._right = 0
        self._went = dict.fromkeys(("background", "new", "old"), 0)
        # Pixels, and those of them that are called a new class.
        self._called_new = {"old": [0, 0], "background": [0, 0]}
        self._matrices = {name: ConfusionMatrix(self._before) for name in Regained.model_fields}
        self._cka = [
            {kind: LinearCka(channels) for kind in KINDS} for channels in model.backbone.channels
        ]

    @torch.no_grad()
    def add(self, pixels: Tensor, labels: Tensor, labelled: set[int]) -> None:
        """Count one picture.

        Args:
            pixels: (1, 3, H, W), normalised.
            labels: (1, H, W) channels, 0 where nothing labelled is, 255 ignored.
            labelled: the channels that the picture is labelled for.
        """
        self.pictures += 1
        new, old = self._model.observe(pixels), self._old.observe(pixels)
        logits, old_logits = _full(new.logits, labels), _full(old.logits, labels)
        now, was = logits.argmax(dim=1), old_logits.argmax(dim=1)
        is_old = (labels > BACKGROUND) & (labels < self._before)
        self._count_lost(labels, now, is_old & (was == labels))
        self._count_new("old", now, is_old)
        if any(channel >= self._before for channel in labelled):
            self._count_new("background", now, labels == BACKGROUND)
        self._count_masked(labels, logits, old_logits, labelled)
        self._align(labels, new.stages, old.stages)

    def _count_lost(self, labels: Tensor, now: Tensor, right: Tensor) -> None:
        lost = right & (now != labels)
        self._right += int(right.sum())
        self._went["background"] += int((lost & (now == BACKGROUND)).sum())
        self._went["new"] += int((lost & (now >= self._before)).sum())
        self._went["old"] += int((lost & (now > BACKGROUND) & (now < self._before)).sum())

    def _count_new(self, kind: str, now: Tensor, where: Tensor) -> None:
        self._called_new[kind][0] += int(where.sum())
        self._called_new[kind][1] += int((where & (now >= self._before)).sum())

    def _count_masked(
        self, labels: Tensor, logits: Tensor, old_logits: Tensor, labelled: set[int]
    ) -> None:
        known = [channel for channel in labelled if channel < self._before]
        if not known:
            return
        answer = labelled_lookup(known)
        marks = _array(labels)
        # Only pixels of old classes count: masking a class turns its right pixels wrong too, and
        # what masking costs elsewhere must not hide what it brings back here.
        truth = np.where(marks == IGNORE, IGNORE, answer[marks]).astype(np.uint8)
        truth[truth == BACKGROUND] = IGNORE
        before = self._before
        self._score("as_is", truth, logits.argmax(dim=1), answer)
        self._score("new_masked", truth, logits[:, :before].argmax(dim=1), answer)
        self._score("background_masked", truth, logits[:, 1:before].argmax(dim=1) + 1, answer)
        self._score("parent_background_masked", truth, old_logits[:, 1:].argmax(dim=1) + 1, answer)

    def _score(self, name: str, truth: Marks, predicted: Tensor, answer: Lookup) -> None:
        self._matrices[name].add(truth, answer[_array(predicted)])

    def _align(self, labels: Tensor, new: list[Tensor], old: list[Tensor]) -> None:
        for cka, now, was in zip(self._cka, new, old, strict=True):
            grid = F.interpolate(labels[:, None].double(), now.shape[-2:], mode="nearest-exact")
            marks = grid.long().flatten()
            kinds = {
                "old": (marks > BACKGROUND) & (marks < self._before),
                "background": marks == BACKGROUND,
                "new": (marks >= self._before) & (marks != IGNORE),
            }
            flat_now, flat_was = (stage[0].flatten(1).mT for stage in (now, was))
            for kind, where in kinds.items():
                cka[kind].add(flat_was[where], flat_now[where])

    def figures(self) -> dict[str, object]:
        """Return what was counted, as the report names it."""
        lost = sum(self._went.values())
        shares = {f"to_{kind}": _ratio(count, lost) for kind, count in self._went.items()}
        return {
            "lost": {"share": _ratio(lost, self._right), **shares},
            "false_positives": {
                f"on_{kind}": _ratio(called, pixels)
                for kind, (pixels, called) in self._called_new.items()
            },
            "regained": {name: _mean(found.iou()) for name, found in self._matrices.items()},
            "alignment": [
                StageAlignment(**{kind: stage[kind].value() for kind in KINDS})
                for stage in self._cka
            ],
        }


def _array(labels: Tensor) -> Marks:
    return labels[0].to("cpu", torch.uint8).numpy()


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
