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
    relearnable,
)
from sats_core.method_settings import UnlearnSettings
from sats_core.methods.distilled import Distilled
from sats_core.methods.finetune import at_size
from sats_core.models import GrowingClassifier, Segmenter

HELD = 0
"""Label of what stays as it is; 1, 2, ... are the classes that go, 255 is looked at by nothing."""
FLATTEST = 0.1
"""Least deviation of a feature, times the mean one: what hardly moves is not blown up."""


class Unlearn(Distilled):
    """The classes' pixels come to look like background, and what could teach them again collides.

    For pixels of the classes that go:

    - erasure: the squared distance of their features from the mean of background's, in deviations
      of each feature. A linear row tells no pixel at that mean from background.
    - relearning: what a linear probe, taught on half of the batch's pictures, finds in the other
      half (`sats_core.losses.relearnable`): the residue that erasure leaves.
    - collision: `sats_core.losses.gradient_collision` of two halves of the batch's pictures that
      show them, of the cross-entropy that the old rows have there, by backbone and head.

    For all others, against the version whose rows are gone already (the teacher): the squared
    distance of their features, distillation of the outputs, and self-attention transfer of SATS by
    the teacher's own regions. No row learns.

    The published method (DTL, Koh et al., ICCV 2023) has the collision alone, and holds its target
    task by distillation. Here the task that goes is a class among others of the same network, so
    that the losses that hold look at the other pixels of the same pictures; erasure and relearning
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
    ) -> None:
        """See `Distilled`.

        Args:
            model: to train, its rows as the teacher's.
            old: the teacher: classes hidden, features as they were.
            before: the classifier with the rows that went.
            gone: their channels there, in the order of the labels 1, 2, ...
            settings: weights.
        """
        super().__init__(model, old, settings)
        self._before = before.requires_grad_(False)
        model.classifier.requires_grad_(False)
        device = next(model.parameters()).device
        self._gone = torch.tensor([BACKGROUND, *gone], device=device)
        self._mean = torch.zeros(model.head.width, 1, 1, device=device)
        self._deviation = torch.ones_like(self._mean)

    @torch.no_grad()
    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]], total: Total = alone) -> None:
        """Find what background looks like to the teacher, and how far features spread."""
        width = self.model.head.width
        device = self._mean.device
        sums = torch.zeros(2, width, dtype=torch.float64, device=device)
        square = torch.zeros(width, dtype=torch.float64, device=device)
        counts = torch.zeros(2, dtype=torch.float64, device=device)
        for pictures, labels in batches:
            features = self.teacher.head(self.teacher.backbone(pictures))
            called = self.teacher.classifier(features).argmax(dim=1)
            held = at_grid(labels, features) == HELD
            for place, marks in enumerate((held & (called == BACKGROUND), held)):
                chosen = features.permute(0, 2, 3, 1)[marks].double()
                sums[place] += chosen.sum(dim=0)
                counts[place] += len(chosen)
            square += chosen.square().sum(dim=0)
        sums, square, counts = total(sums), total(square), total(counts)
        if not counts[1]:
            return
        mean = sums[1] / counts[1]
        deviation = (square / counts[1] - mean.square()).clamp(min=0).sqrt()
        deviation = deviation.clamp(min=max(FLATTEST * deviation.mean().item(), 1e-6))
        seen = sums[0] / counts[0] if counts[0] else mean
        self._mean = seen.float()[:, None, None]
        self._deviation = deviation.float()[:, None, None]

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `Finetune.loss_terms`; labels say which pixels go.

        A batch's terms are not the means of its parts': it is never divided.
        """
        with torch.no_grad():
            old = self.teacher.observe(pictures)
            old_logits = at_size(old.logits, labels)
        new = self.model.observe(pictures)
        logits = at_size(new.logits, labels)
        held = labels == HELD
        outputs = (distillation(logits, old_logits) * held).mean()
        regions = torch.where(held, old_logits.argmax(dim=1), IGNORE)
        transfer = attention_transfer(old.attention, new.attention, regions)
        marks = at_grid(labels, new.features)
        settings = self.settings
        return {
            "erasure": settings.erasure_weight * self._erasure(new.features, marks),
            "relearning": settings.relearning_weight * self._relearning(new.features, marks),
            "collision": settings.collision_weight * self._collision(pictures, labels),
            "features": settings.feature_weight * self._moved(new.features, old.features, marks),
            "distillation": settings.distillation_weight * outputs,
            "attention_transfer": settings.attention_weight * transfer,
        }

    def _erasure(self, features: Tensor, marks: Tensor) -> Tensor:
        distance = ((features.float() - self._mean) / self._deviation).square().mean(dim=1)
        return _mean_over(distance, is_gone(marks))

    def _moved(self, features: Tensor, before: Tensor, marks: Tensor) -> Tensor:
        distance = ((features.float() - before.float()) / self._deviation).square().mean(dim=1)
        return _mean_over(distance, marks == HELD)

    def _relearning(self, features: Tensor, marks: Tensor) -> Tensor:
        """Return what a probe finds again, 0 where the batch is too small to say."""
        nothing = features.new_zeros(())
        if not self.settings.relearning_weight:
            return nothing
        pixels = ((features.float() - self._mean) / self._deviation).permute(0, 2, 3, 1)
        halves = []
        for half in (slice(0, None, 2), slice(1, None, 2)):
            looked = marks[half] != IGNORE
            seen, shows = pixels[half][looked], is_gone(marks[half])[looked]
            if shows.sum() == 0 or shows.all():
                return nothing
            halves.append((seen, shows))
        return relearnable(*halves[0], *halves[1]).clamp(min=0)

    def _collision(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Return the collision of two halves of the pictures that show what goes, 0 below two."""
        shows = is_gone(labels).flatten(1).any(dim=1).nonzero()[:, 0]
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
        gone = is_gone(labels)
        channels = self._gone[labels.masked_fill(~gone, HELD)]
        return _mean_over(F.cross_entropy(logits, channels, reduction="none"), gone)


def is_gone(labels: Tensor) -> Tensor:
    """Return which labels, of any shape, are of a class that goes."""
    return (labels != HELD) & (labels != IGNORE)


def at_grid(labels: Tensor, features: Tensor) -> Tensor:
    """Return labels (B, H, W) at the centres of the features' (B, D, h, w) cells."""
    small = F.interpolate(labels[:, None].float(), features.shape[-2:], mode="nearest-exact")
    return small[:, 0].long()


def _mean_over(values: Tensor, marks: Tensor) -> Tensor:
    """Return the mean of values where they are marked; 0 where none is."""
    return (values * marks).sum() / marks.sum().clamp(min=1)
