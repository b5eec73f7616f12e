"""Measuring why a version forgot, by what old and new model see of held-out pictures."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sats_core.classes import BACKGROUND, IGNORE
from sats_core.data.labels import Lookup, labelled_lookup
from sats_core.evaluation.cka import LinearCka
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.forgetting import (
    ForgettingReport,
    Regained,
    StageAlignment,
    readings,
)
from sats_core.evaluation.held_out import Look
from sats_core.evaluation.predict import input_label
from sats_core.models import Segmenter

MOST_PICTURES = 200
"""Pictures of one held-out set that are looked at, drawn by chance."""
SURE = 0.7
"""Score from which the old model's opinion counts as background shift."""
KINDS = ("old", "background", "new")

Marks = NDArray[np.uint8]


@lru_cache
def drawn(count: int) -> Sequence[int]:
    """Return places of what is looked at of so many pictures, in order: of all of them, or of 200
    drawn by chance."""
    if count <= MOST_PICTURES:
        return range(count)
    picked = np.random.default_rng(0).permutation(count)[:MOST_PICTURES]
    return tuple(sorted(picked.tolist()))


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


class Causes:
    """What tells why a version forgot, counted picture by picture beside the version before.

    Figures are taken at the model's own resolution, so that they differ a little from scores.
    """

    def __init__(self, model: Segmenter, old: Segmenter) -> None:
        """Stand ready for what a version's model and the one before see; they are left in
        evaluation mode."""
        self._pictures = 0
        self._model, self._old = model.eval(), old.eval()
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
    def add(self, look: Look) -> None:
        """Count one held-out picture; of a large set some are left out.

        Args:
            look: with what both models see.
        """
        if look.position not in drawn(len(look.held_out.ids)):
            return
        self._pictures += 1
        new, old = look.answers
        labels = input_label(look.label, look.pixels, look.shown)
        logits, old_logits = _full(new.logits, labels), _full(old.logits, labels)
        now, was = logits.argmax(dim=1), old_logits.argmax(dim=1)
        is_old = (labels > BACKGROUND) & (labels < self._before)
        self._count_lost(labels, now, is_old & (was == labels))
        self._count_new("old", now, is_old)
        if any(channel >= self._before for channel in look.channels):
            self._count_new("background", now, labels == BACKGROUND)
        self._count_masked(labels, logits, old_logits, look.channels)
        self._align(labels, new.stages, old.stages)

    def report(
        self, forgetting: dict[str, float], trained: Iterable[tuple[Tensor, Tensor]]
    ) -> ForgettingReport:
        """Return what the pictures that were counted say, and what else tells why.

        Args:
            forgetting: `Scores.forgetting`.
            trained: the step's own pictures (B, 3, H, W) and labels (B, H, W), for background
                shift.
        """
        figures = self._figures() | {
            "forgetting": forgetting,
            "norm_ratio": norm_ratio(self._model, self._old),
            "background_shift": background_shift(self._old, trained),
        }
        return ForgettingReport.model_validate(
            {**figures, "pictures": self._pictures, "readings": readings(figures)}
        )

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
        self, labels: Tensor, logits: Tensor, old_logits: Tensor, labelled: Iterable[int]
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

    def _figures(self) -> dict[str, object]:
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
