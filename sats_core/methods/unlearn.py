"""Taking what stands for some classes out of the features, and holding all else."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from sats_core.classes import BACKGROUND, IGNORE
from sats_core.losses import (
    Total,
    alone,
    attention_transfer,
    distillation,
    gradient_collision,
)
from sats_core.method_settings import UnlearnSettings
from sats_core.methods.distilled import Distilled
from sats_core.methods.finetune import at_size
from sats_core.models import GrowingClassifier, Segmenter

HELD = 0
"""Label of background, and of what stays where no more is known. 1 to G are the classes that go,
G + 1, G + 2, ... those that stay, in channel order; 255 is looked at by nothing."""
FLATTEST = 0.1
"""Least deviation of a feature, times the mean one: what hardly moves is not blown up."""


class Unlearn(Distilled):
    """The classes' pixels come to look like background, and what could teach them again collides.

    For pixels of the classes that go:

    - erasure: the squared Mahalanobis distance of each one's features from the mean of
      background's, over the number of features, by the covariance of all other pixels. A linear
      row tells no pixel at that mean from background, and the metric makes a direction count by
      what a row can make of it: what hardly varies elsewhere gives a class away.
    - separation: the same distance of their mean, not divided: it is what a linear discriminant
      has to go on (Fisher).
    - collision: `sats_core.losses.gradient_collision` of two halves of the batch's pictures that
      show them, of the cross-entropy that the old rows have there, by backbone and head.

    For all others, against the version whose rows are gone already (the teacher): the squared
    distance of their features, distillation of the outputs, and self-attention transfer of SATS by
    the teacher's own regions. No row learns; `sats_core.training.settle` solves them afterwards.

    The published method (DTL, Koh et al., ICCV 2023) has the collision alone, and holds its target
    task by distillation. Here the task that goes is a class among others of the same network, so
    that the losses that hold look at the other pixels of the same pictures; erasure and separation
    are ours (docs/decisions/0027).
    """

    settings: UnlearnSettings

    def __init__(
        self,
        model: Segmenter,
        old: Segmenter,
        before: GrowingClassifier,
        gone: Sequence[int],
        settings: UnlearnSettings,
        updates_norms: bool = False,
    ) -> None:
        """See `Distilled`.

        Args:
            model: to train, its rows as the teacher's.
            old: the teacher: classes hidden, features as they were.
            before: the classifier with the rows that went.
            gone: their channels there, in the order of the labels 1, 2, ...
            settings: weights.
            updates_norms: see `Method`.
        """
        super().__init__(model, old, settings)
        self.updates_norms = updates_norms
        self._before = before.requires_grad_(False)
        model.classifier.requires_grad_(False)
        device = next(model.parameters()).device
        self._gone = torch.tensor([BACKGROUND, *gone], device=device)
        self._classes = len(gone)
        self._mean = torch.zeros(model.head.width, device=device)
        self._deviation = torch.ones_like(self._mean)
        self._whitening = torch.eye(model.head.width, device=device)

    @torch.no_grad()
    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]], total: Total = alone) -> None:
        """Find what background looks like to the teacher, and how far features spread."""
        width, device = self.model.head.width, self._mean.device
        sums = torch.zeros(2, width, dtype=torch.float64, device=device)
        products = torch.zeros(width, width, dtype=torch.float64, device=device)
        counts = torch.zeros(2, dtype=torch.float64, device=device)
        for pictures, labels in batches:
            features = self.teacher.head(self.teacher.backbone(pictures))
            called = self.teacher.classifier(features).argmax(dim=1)
            held = self._is_held(at_grid(labels, features))
            pixels = features.permute(0, 2, 3, 1).double()
            products += pixels[held].T @ pixels[held]
            for place, marks in enumerate((held & (called == BACKGROUND), held)):
                sums[place] += pixels[marks].sum(dim=0)
                counts[place] += marks.sum()
        sums, products, counts = total(sums), total(products), total(counts)
        if not counts[1]:
            return
        mean = sums[1] / counts[1]
        covariance = products / counts[1] - mean.outer(mean)
        variance = covariance.diagonal().clamp(min=0)
        least = max(FLATTEST**2 * variance.mean().item(), 1e-12)
        self._mean = (sums[0] / counts[0] if counts[0] else mean).float()
        self._deviation = variance.clamp(min=least).sqrt().float()
        self._whitening = _root_of_inverse(covariance, least).float()

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `Finetune.loss_terms`; labels say which pixels go.

        A batch's terms are not the means of its parts': it is never divided.
        """
        with torch.no_grad():
            old = self.teacher.observe(pictures)
            old_logits = at_size(old.logits, labels)
        new = self.model.observe(pictures)
        logits = at_size(new.logits, labels)
        held = self._is_held(labels)
        outputs = (distillation(logits, old_logits) * held).mean()
        regions = torch.where(held, old_logits.argmax(dim=1), IGNORE)
        transfer = attention_transfer(old.attention, new.attention, regions)
        marks = at_grid(labels, new.features)
        settings = self.settings
        erasure, separation = self._erased(new.features, marks)
        return {
            "erasure": settings.erasure_weight * erasure,
            "separation": settings.separation_weight * separation,
            "collision": settings.collision_weight * self._collision(pictures, labels),
            "features": settings.feature_weight * self._moved(new.features, old.features, marks),
            "distillation": settings.distillation_weight * outputs,
            "attention_transfer": settings.attention_weight * transfer,
            "cross_entropy": settings.supervision_weight * self._taught(logits, labels),
        }

    def _is_held(self, labels: Tensor) -> Tensor:
        return ~self._is_gone(labels) & (labels != IGNORE)

    def _is_gone(self, labels: Tensor) -> Tensor:
        return is_gone(labels, self._classes)

    def _taught(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy with the labels of what stays."""
        held = self._is_held(labels)
        truth = staying(labels, self._classes).masked_fill(~held, IGNORE)
        return _mean_over(
            F.cross_entropy(logits, truth, ignore_index=IGNORE, reduction="none"), held
        )

    def _erased(self, features: Tensor, marks: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far pixels that go are from background, one by one, and their mean's."""
        gone = features.float().permute(0, 2, 3, 1)[self._is_gone(marks)] - self._mean
        if not len(gone):
            return features.new_zeros(()), features.new_zeros(())
        away = gone @ self._whitening
        return away.square().mean(), away.mean(dim=0).square().sum()

    def _moved(self, features: Tensor, before: Tensor, marks: Tensor) -> Tensor:
        change = (features.float() - before.float()) / self._deviation[:, None, None]
        return _mean_over(change.square().mean(dim=1), self._is_held(marks))

    def _collision(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Return the collision of two halves of the pictures that show what goes, 0 below two."""
        shows = self._is_gone(labels).flatten(1).any(dim=1).nonzero()[:, 0]
        if len(shows) < 2 or not self.settings.collision_weight:
            return pictures.new_zeros(())
        parameters = [
            weight
            for part in (self.model.backbone, self.model.head)
            for weight in part.parameters()
            if weight.requires_grad
        ]
        # The fused kernel has no second derivative, and half precision is too coarse for one.
        with (
            sdpa_kernel(SDPBackend.MATH),
            torch.autocast(pictures.device.type, enabled=False),
        ):
            losses = [self._task(pictures[half], labels[half]) for half in shows.chunk(2)]
        return gradient_collision(losses, parameters)

    def _task(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the rows that went, over the pixels that they are for."""
        features = self.model.head(self.model.backbone(pictures))
        logits = at_size(self._before(features), labels)
        gone = self._is_gone(labels)
        channels = self._gone[labels.masked_fill(~gone, HELD)]
        return _mean_over(F.cross_entropy(logits, channels, reduction="none"), gone)


def is_gone(labels: Tensor, classes: int) -> Tensor:
    """Return which labels, of any shape, are of the classes that go, of which there are so many."""
    return (labels != HELD) & (labels <= classes)


def staying(labels: Tensor, classes: int) -> Tensor:
    """Return labels of what stays as channels; those of what goes are background's, 255 stays."""
    channels = (labels - classes).clamp(min=BACKGROUND)
    return channels.masked_fill(labels == IGNORE, IGNORE)


def at_grid(labels: Tensor, features: Tensor) -> Tensor:
    """Return labels (B, H, W) at the centres of the features' (B, D, h, w) cells."""
    small = F.interpolate(labels[:, None].float(), features.shape[-2:], mode="nearest-exact")
    return small[:, 0].long()


def _root_of_inverse(covariance: Tensor, least: float) -> Tensor:
    """Return the symmetric root (D, D) of a covariance's inverse, no direction flatter than some.

    Args:
        covariance: (D, D) float64.
        least: variance of a direction.
    """
    values, directions = torch.linalg.eigh(covariance)
    root: Tensor = (directions / values.clamp(min=least).sqrt()) @ directions.T
    return root


def _mean_over(values: Tensor, marks: Tensor) -> Tensor:
    """Return the mean of values where they are marked; 0 where none is."""
    return (values * marks).sum() / marks.sum().clamp(min=1)
