"""Feature replay: what the classifier saw of the classes known before, instead of their pictures.

A version keeps a few thousand vectors of its classifier's input, with their labels. A later step
has no pictures of the old classes; these vectors tell its new rows what they are not. Replaying
features in place of pictures is REMIND's idea (Hayes et al., ECCV 2020).
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
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
        stages: (P, S) float32: what all stages of the backbone give there, side by side; they are
            kept in half precision. None where an earlier version kept none.
    """

    features: Tensor
    labels: Tensor
    hides: Tensor
    weights: Tensor
    stages: Tensor | None = None

    @classmethod
    def of(cls, sample: PixelSample, hides: int) -> "FeatureMemory":
        """Return a sample whose kinds are channels as a memory of one step."""
        weights = sample.weights / sample.weights.sum()
        hidden = torch.full_like(sample.kinds, hides)
        return cls(sample.features, sample.kinds, hidden, weights, sample.stages)

    def joined(self, later: "FeatureMemory") -> "FeatureMemory":
        """Return this memory with what a later step adds; every class has had its share.

        Args:
            later: of the step; classes known before, replayed from pictures, bring no share.
        """
        known, shown = (set(memory.labels.tolist()) - {BACKGROUND} for memory in (self, later))
        return self.among(later, len(shown - known) / max(1, len(shown | known)))

    def among(self, later: "FeatureMemory", share: float) -> "FeatureMemory":
        """Return this memory and another, which has `share` of the weight, 0..1."""
        stages = None
        if self.stages is not None and later.stages is not None:
            stages = torch.cat([self.stages, later.stages])
        return FeatureMemory(
            torch.cat([self.features, later.features]),
            torch.cat([self.labels, later.labels]),
            torch.cat([self.hides, later.hides]),
            torch.cat([self.weights * (1 - share), later.weights * share]),
            stages,
        )

    def followed(self, before: PixelSample, after: PixelSample) -> "FeatureMemory":
        """Return the memory as a model sees it whose features have moved.

        What cannot be seen again is moved as what can: a ridge regression from the features of the
        step's own pixels before the step to what became of them, applied to all that is kept
        (drift compensation after Yu et al., CVPR 2020, linear instead of by nearest neighbours).
        What the backbone's stages give is moved likewise, by itself.

        Args:
            before, after: the same pixels in the old and in the new model.
        """
        stages = None
        if self.stages is not None and before.stages is not None and after.stages is not None:
            stages = _followed(self.stages, before.stages, after.stages)
        features = _followed(self.features, before.features, after.features)
        return self._replace(features=features, stages=stages)

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
        return self.at(at)._replace(weights=torch.cat(weights))

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
        left = self.at(kept)
        return left._replace(
            labels=left.labels - (left.labels[:, None] > gone).sum(dim=1),
            hides=left.hides - (left.hides[:, None] > gone).sum(dim=1),
            weights=left.weights / left.weights.sum().clamp(min=1e-12),
        )

    def at(self, pixels: Tensor) -> "FeatureMemory":
        """Return some of the pixels, given by number or by a mask (P,) of yes and no."""
        return self._each(lambda tensor: tensor[pixels])

    def on(self, device: torch.device) -> "FeatureMemory":
        """Return the memory on a device."""
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "FeatureMemory":
        stages = None if self.stages is None else change(self.stages)
        features, labels, hides, weights = map(change, self[:4])
        return FeatureMemory(features, labels, hides, weights, stages)

    def save(self, path: Path) -> None:
        """Write it to a safetensors file; what half precision cannot hold becomes its largest."""
        tensors = {
            "features": _halved(self.features),
            "labels": self.labels.int(),
            "hides": self.hides.int(),
            "weights": self.weights.float(),
        }
        if self.stages is not None:
            tensors["stages"] = _halved(self.stages)
        save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, path)

    @classmethod
    def load(cls, path: Path, width: int, stages: int, classes: int) -> "FeatureMemory":
        """Read what `save` wrote.

        Args:
            path: of the file.
            width: of the classifier's input.
            stages: channels of all stages of the backbone together.
            classes: channels of the model.

        Raises:
            ModelError: it is not of a model like this, or holds what `save` never wrote.
            OSError: it cannot be read.
        """
        try:
            with safe_open(path, framework="pt") as file:
                names = set(cls._fields) & set(file.keys())
                found = {name: file.get_tensor(name) for name in names}
        except SafetensorError as error:
            raise ModelError(f"{path.name} cannot be read: {error}") from error
        given = found.pop("stages", None)
        if lacks := [name for name in cls._fields[:4] if name not in found]:
            raise ModelError(f"{path.name} lacks {', '.join(lacks)}")
        features, labels, hides, weights = (found[name] for name in cls._fields[:4])
        count = len(labels)
        fits = features.shape == (count, width)
        fits &= given is None or given.shape == (count, stages)
        fits &= all(tensor.shape == (count,) for tensor in (labels, hides, weights))
        fits &= not (labels.is_floating_point() or hides.is_floating_point())
        if not fits or (count and not 0 <= int(labels.min()) <= int(labels.max()) < classes):
            raise ModelError(f"{path.name} is not of a model with {classes} classes")
        given = None if given is None else given.float()
        memory = cls(features.float(), labels.long(), hides.long(), weights.float(), given)
        if wrong := memory._impossible(classes):
            raise ModelError(
                f"{path.name} is damaged: its {wrong} are no values that they can have"
            )
        return memory

    def _impossible(self, classes: int) -> str | None:
        """Return the name of what cannot be so of a model with so many channels, if anything."""
        fine = {
            "features": self.features.isfinite(),
            "hides": (self.hides >= 0) & (self.hides <= classes),
            "weights": self.weights.isfinite() & (self.weights >= 0),
            "stages": None if self.stages is None else self.stages.isfinite(),
        }
        return next((name for name, yes in fine.items() if yes is not None and not yes.all()), None)


def described(memory: FeatureMemory | None) -> dict[str, int | bool]:
    """Return what a version's config says of what it keeps."""
    stages = memory is not None and memory.stages is not None
    return {"kept_features": len(memory.labels) if memory else 0, "kept_stages": stages}


def _halved(values: Tensor) -> Tensor:
    """Return the values in half precision, what it cannot hold as its largest."""
    largest = torch.finfo(torch.half).max
    return values.clamp(-largest, largest).half()


def _followed(kept: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Return kept values (K, D) moved as those of P pixels were, (P, D) before and after."""
    inputs, moves = _with_one(before), (after - before).double()
    ridge = RIDGE * len(inputs) * torch.eye(inputs.shape[1]).to(inputs)
    change = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ moves)
    moved: Tensor = kept + (_with_one(kept.to(before)) @ change).to(kept)
    return moved


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
