"""Feature replay: what the classifier saw of the classes known before, instead of their pictures.

A version keeps a few thousand vectors of its classifier's input, with their labels. A later step
has no pictures of the old classes; these vectors tell its new rows what they are not. Replaying
features in place of pictures is REMIND's idea (Hayes et al., ECCV 2020).
"""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from sats_core.classes import BACKGROUND
from sats_core.errors import ModelError
from sats_core.methods.sampling import PixelSample

RIDGE = 1e-3
"""Of the regression that follows features, times the pixels."""


class FeatureMemory(NamedTuple):
    """Labelled pixels of all steps so far, as the classifier sees them.

    Attributes:
        features: (P, D) float32; they are kept in half precision.
        labels: (P,) int64 channels, 0 for background.
        hides: (P,) int64: a pixel labelled 0 may be of any channel below this one. From a base
            step 1: background is background; from a later one what was known before it.
        weights: (P,) float32 of sum 1: each pixel's share of all that it stands for.
    """

    features: Tensor
    labels: Tensor
    hides: Tensor
    weights: Tensor

    @classmethod
    def of(cls, sample: PixelSample, hides: int) -> "FeatureMemory":
        """Return a sample whose kinds are channels as a memory of one step."""
        weights = sample.weights / sample.weights.sum()
        return cls(sample.features, sample.kinds, torch.full_like(sample.kinds, hides), weights)

    def joined(self, later: "FeatureMemory") -> "FeatureMemory":
        """Return this memory with what a later step adds; every class has had its share.

        Args:
            later: of the step; classes known before, replayed from pictures, bring no share.
        """
        known, shown = (set(memory.labels.tolist()) - {BACKGROUND} for memory in (self, later))
        return self.among(later, len(shown - known) / max(1, len(shown | known)))

    def among(self, later: "FeatureMemory", share: float) -> "FeatureMemory":
        """Return this memory and another, which has `share` of the weight, 0..1."""
        both = (
            self._replace(weights=self.weights * (1 - share)),
            later._replace(weights=later.weights * share),
        )
        return FeatureMemory(*(torch.cat(pair) for pair in zip(*both, strict=True)))

    def followed(self, before: Tensor, after: Tensor) -> "FeatureMemory":
        """Return the memory as a model sees it whose features have moved.

        What cannot be seen again is moved as what can: a ridge regression from the features of the
        step's own pixels before the step to what became of them, applied to all that is kept
        (drift compensation after Yu et al., CVPR 2020, linear instead of by nearest neighbours).

        Args:
            before, after: (P, D) of the same pixels, in the old and in the new model.
        """
        inputs, moves = _with_one(before), (after - before).double()
        ridge = RIDGE * len(inputs) * torch.eye(inputs.shape[1]).to(inputs)
        change = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ moves)
        moved = self.features + (_with_one(self.features.to(before)) @ change).to(self.features)
        return self._replace(features=moved)

    def thinned(self, most: int, seed: int) -> "FeatureMemory":
        """Return half of `most` pixels of the background, and as many of every class as of others.

        They are drawn at random; what a label's pixels stand for together stays.
        """
        chance = torch.Generator().manual_seed(seed)
        labels = self.labels.unique().tolist()
        room = max(1, most // 2 // max(1, len(labels) - 1))
        drawn, weights = [], []
        for label in labels:
            of_label = ((self.labels == label) & (self.weights > 0)).nonzero()[:, 0]
            wanted = room if label else most // 2
            kept = of_label[torch.randperm(len(of_label), generator=chance)[:wanted]]
            drawn.append(kept)
            whole, left = self.weights[of_label].sum(), self.weights[kept].sum()
            weights.append(self.weights[kept] * whole / left)
        if not drawn:
            return self
        at = torch.cat(drawn)
        return FeatureMemory(self.features[at], self.labels[at], self.hides[at], torch.cat(weights))

    def without(self, channels: Collection[int], shows: Tensor) -> "FeatureMemory":
        """Return the memory of a model whose classifier lacks some rows.

        Args:
            channels: that are gone; what is labelled for them goes too, and all others move up.
            shows: (P,) bool: where the model took background for one of them; it goes where the
                label leaves it open what the pixel shows.
        """
        gone = torch.tensor(sorted(channels), device=self.labels.device)
        labelled = torch.isin(self.labels, gone)
        open_to = (self.hides[:, None] > gone).any(dim=1) & (self.labels == BACKGROUND)
        kept = ~(labelled | (open_to & shows))
        features, labels, hides, weights = (tensor[kept] for tensor in self)
        labels = labels - (labels[:, None] > gone).sum(dim=1)
        hides = hides - (hides[:, None] > gone).sum(dim=1)
        return FeatureMemory(features, labels, hides, weights / weights.sum().clamp(min=1e-12))

    def on(self, device: torch.device) -> "FeatureMemory":
        """Return the memory on a device."""
        return FeatureMemory(*(tensor.to(device) for tensor in self))

    def save(self, path: Path) -> None:
        """Write it to a safetensors file; what half precision cannot hold becomes its largest."""
        largest = torch.finfo(torch.half).max
        tensors = {
            "features": self.features.clamp(-largest, largest).half(),
            "labels": self.labels.int(),
            "hides": self.hides.int(),
            "weights": self.weights.float(),
        }
        save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, path)

    @classmethod
    def load(cls, path: Path, width: int, classes: int) -> "FeatureMemory":
        """Read what `save` wrote.

        Args:
            path: of the file.
            width: of the classifier's input.
            classes: channels of the model.

        Raises:
            ModelError: it is not of a model like this.
            OSError, SafetensorError: it cannot be read.
        """
        with safe_open(path, framework="pt") as file:
            features, labels, hides, weights = (file.get_tensor(name) for name in cls._fields)
        count = len(labels)
        fits = features.shape == (count, width)
        fits &= all(tensor.shape == (count,) for tensor in (labels, hides, weights))
        if not fits or (count and not 0 <= int(labels.min()) <= int(labels.max()) < classes):
            raise ModelError(f"{path.name} is not of a model with {classes} classes")
        return cls(features.float(), labels.long(), hides.long(), weights.float())


def _with_one(features: Tensor) -> Tensor:
    """Return features (P, D) in double precision with a last column of ones."""
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1).double()


def usual_share(old_classes: int, classes: int) -> float:
    """Return N / (N + old classes): the new classes' share of all but the background.

    Args:
        old_classes: channels before the step, background included.
        classes: channels after it.
    """
    return (classes - old_classes) / (classes - 1)
