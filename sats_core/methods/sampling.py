"""A bounded sample of what the classifier sees, taken in one pass over the pictures."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.models import Segmenter

PER_PICTURE = 1024
"""Most pixels of one kind from one picture: neighbours on the head's grid say the same again."""
ENOUGH = 1000
"""Pictures to draw some thousand pixels from."""
SLACK = 1.25
"""A stratum is thinned out when it holds this times what it has room for."""


class PixelSample(NamedTuple):
    """Labelled pixels with the features that the classifier sees there.

    Attributes:
        features: (P, D) float32.
        kinds: (P,) int64: as in the labels that the sampler was given.
        weights: (P,) float32: how many pixels of the pictures each one stands for.
        shown: (K,) float32: share of the pictures that show each kind.
        stages: (P, S) float32: what all stages of the backbone give there, side by side; None
            where the sampler was not given it.
    """

    features: Tensor
    kinds: Tensor
    weights: Tensor
    shown: Tensor
    stages: Tensor | None = None


class Seen(NamedTuple):
    """The same pixels of the step's pictures in two models, channels as kinds.

    Attributes:
        before: in the model before the step.
        after: in the model after it; the very same sample where features stay.
    """

    before: PixelSample
    after: PixelSample


class PixelSampler:
    """Draws pixels evenly over kinds, and within a kind evenly over pictures.

    Every kind that a picture has shown has the same room. A picture's pixels of a kind are ranked
    at random and the lowest ranks over all pictures stay, so that each picture gives as many as any
    other, or all it has (a reservoir that fills like water). What is drawn depends on the seed and
    on the order of the pictures alone. Memory is bounded by `SLACK` times the pixels, however many
    pictures come.
    """

    def __init__(self, kinds: int, pixels: int, seed: int) -> None:
        """Stand ready for labels 0 <= kind < `kinds`, with `pixels` for all of them together."""
        self._strata = [_Stratum(pixels) for _ in range(kinds)]
        self._room_for_all = pixels
        self._chance = torch.Generator().manual_seed(seed)
        self._pictures = 0
        self._width = 0

    def add(self, features: Tensor, kinds: Tensor, stages: Sequence[Tensor] = ()) -> None:
        """Offer one picture.

        Args:
            features: (D, h, w) on the head's grid. They are read at the drawn pixels of the full
                grid by the interpolation that brings logits there, which commutes with the
                classifier: a pixel's logits are those of training and evaluation.
            kinds: (H, W) int64: of each pixel, 255 ignored.
            stages: of the backbone, (C_s, h_s, w_s) each, read at the same pixels; of every
                picture or of none.
        """
        self._pictures += 1
        self._width = len(features)
        pixels = torch.bincount(kinds.flatten()).tolist()  # a tenth of what `unique` takes
        shown = {kind for kind, count in enumerate(pixels) if count}
        none = kinds.new_empty(0, 2)
        found = [
            (kinds == kind).nonzero() if kind in shown else none
            for kind in range(len(self._strata))
        ]
        self._share_room(found)
        for places, stratum in zip(found, self._strata, strict=True):
            if len(places):
                drawn = torch.randperm(len(places), generator=self._chance)[: stratum.wanted]
                ranks = torch.arange(len(drawn)) + torch.rand(len(drawn), generator=self._chance)
                at = places[drawn.to(places.device)]
                read = [_read(grid, at, kinds.shape) for grid in (features, *stages)]
                stratum.offer(torch.cat(read, dim=1), ranks, len(places))

    def _share_room(self, found: Sequence[Tensor]) -> None:
        """Make room for kinds that were not shown before: what they take, the others give."""
        shown = [s for at, s in zip(found, self._strata, strict=True) if s.pixels or len(at)]
        for stratum in shown:
            stratum.shrink(max(1, self._room_for_all // len(shown)))

    def sample(self) -> PixelSample | None:
        """Return what was drawn, kind after kind; None where every pixel was ignored."""
        filled = [(kind, stratum) for kind, stratum in enumerate(self._strata) if stratum.pixels]
        if not filled:
            return None
        read = torch.cat([stratum.thinned() for _, stratum in filled])
        features, stages = read[:, : self._width].contiguous(), read[:, self._width :]
        weights = torch.cat([stratum.weights() for _, stratum in filled])
        kinds = torch.cat(
            [torch.full_like(stratum.weights(), kind, dtype=torch.long) for kind, stratum in filled]
        )
        shown = torch.tensor([len(stratum.pixels) / self._pictures for stratum in self._strata])
        kinds, weights, shown = (t.to(features.device) for t in (kinds, weights, shown))
        given = stages.contiguous() if stages.shape[1] else None
        return PixelSample(features, kinds, weights, shown, given)


@torch.no_grad()
def see(
    model: Segmenter,
    teacher: Segmenter | None,
    pictures: Iterable[tuple[Tensor, Tensor]],
    pixels: int,
    seed: int,
) -> Seen | None:
    """Draw pixels of labelled pictures as two classifiers see them; None where all are ignored.

    Args:
        model: after the step, C classes.
        teacher: before it; without one both are the model.
        pictures: normalised (B, 3, H, W) with labels (B, H, W).
        pixels: to draw, evenly over the classes.
        seed: of the draw.
    """
    model.eval()
    sampler = PixelSampler(model.classifier.channels, pixels, seed)
    models = (model,) if teacher is None else (teacher, model)
    for batch, labels in pictures:
        stages = [one.backbone(batch) for one in models]
        heads = [one.head(given) for one, given in zip(models, stages, strict=True)]
        features, every = torch.cat(heads, dim=1), [grid for given in stages for grid in given]
        for place, marked in enumerate(labels):
            sampler.add(features[place], marked, [grid[place] for grid in every])
    sample = sampler.sample()
    if sample is None or sample.stages is None:
        return None
    parts = zip(
        sample.features.chunk(len(models), dim=1),
        sample.stages.chunk(len(models), dim=1),
        strict=True,
    )
    both = [
        sample._replace(features=features.contiguous(), stages=given.contiguous())
        for features, given in parts
    ]
    return Seen(both[0], both[-1])


class _Stratum:
    """Drawn pixels of one kind; `pixels` says how many each picture has of it."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._features: list[Tensor] = []
        self._ranks = torch.empty(0)
        self._pictures = torch.empty(0, dtype=torch.long)
        self._highest = math.inf
        self.pixels: list[int] = []

    @property
    def wanted(self) -> int:
        """Pixels of one picture that may stay: ranks above the highest one kept never do."""
        return int(min(self._room, PER_PICTURE, self._highest + 1))

    def shrink(self, room: int) -> None:
        """Go on with less room; ranks that stay are among those that stayed before."""
        if room < self._room:
            self._room = room
            if self.pixels:
                self.thinned()

    def offer(self, features: Tensor, ranks: Tensor, pixels: int) -> None:
        """Add pixels (n, D) of one picture that has `pixels` of this kind."""
        self._features.append(features)
        self._ranks = torch.cat([self._ranks, ranks])
        picture = torch.full((len(ranks),), len(self.pixels))
        self._pictures = torch.cat([self._pictures, picture])
        self.pixels.append(pixels)
        if len(self._ranks) > SLACK * self._room:
            self.thinned()

    def thinned(self) -> Tensor:
        """Keep the lowest ranks, as many as there is room for, and return their features."""
        features = torch.cat(self._features)
        if len(self._ranks) > self._room:
            kept = self._ranks.argsort()[: self._room].sort().values
            features = features[kept.to(features.device)]
            self._ranks, self._pictures = self._ranks[kept], self._pictures[kept]
            self._highest = self._ranks.max().item()
        self._features = [features]
        return features

    def weights(self) -> Tensor:
        """Return how many pixels each kept one stands for; together, all that there were."""
        pixels = torch.tensor(self.pixels, dtype=torch.float32)
        kept = torch.bincount(self._pictures, minlength=len(pixels))
        shares = pixels / kept.clamp(min=1)
        return shares[self._pictures] * (pixels.sum() / pixels[kept > 0].sum())


def _read(features: Tensor, at: Tensor, shape: torch.Size) -> Tensor:
    """Return features (n, D) at pixels (n, 2), row and column, of the full grid (H, W)."""
    size = torch.tensor(shape, device=at.device)
    points = ((at + 0.5) / size * 2 - 1).flip(-1)  # grid_sample takes x before y
    read = F.grid_sample(
        features[None].float(),
        points[None, None].float(),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return read[0, :, 0].T.contiguous()
