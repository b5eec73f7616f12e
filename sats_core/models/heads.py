"""The heads that a model may have, by name; all are the all-MLP head, some with a block behind it.

The service trains the first one. The others are there to be measured (docs/decisions/0030).
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from sats_core.losses import complementary_attention
from sats_core.models.focal import FocalAttention
from sats_core.models.head import AllMlpHead, Seen
from sats_core.models.nonlocal_block import NonLocal, ScaledNonLocal, SoftmaxNonLocal
from sats_core.version_config import HeadName

FOCAL_WEIGHT = 0.5
"""Factor of the complementary attention's loss beside the cross-entropy; ours."""


class NonLocalHead(AllMlpHead):
    """The all-MLP head with a non-local block behind it."""

    kind: ClassVar[type[NonLocal]]

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__(channels, width)
        self.block = self.kind(width)

    def refined(self, pixels: Tensor) -> Tensor:
        """See `AllMlpHead.refined`."""
        found: Tensor = self.block(pixels)
        return found


class SoftmaxHead(NonLocalHead):
    """With softmax attention, which losses see as they see a stage's."""

    name = "softmax"
    kind = SoftmaxNonLocal

    def observe(self, stages: Sequence[Tensor]) -> Seen:
        """See `AllMlpHead.observe`."""
        pixels, attention = self.block.observe(self.merged(stages).permute(0, 2, 3, 1))
        return Seen(pixels.permute(0, 3, 1, 2), softmax=(attention,))


class ScaledHead(NonLocalHead):
    """With attention that is scaled only."""

    name = "scaled"
    kind = ScaledNonLocal

    def observe(self, stages: Sequence[Tensor]) -> Seen:
        """See `AllMlpHead.observe`."""
        pixels, attention = self.block.observe(self.merged(stages).permute(0, 2, 3, 1))
        return Seen(pixels.permute(0, 3, 1, 2), scaled=(attention,))


class FocalHead(AllMlpHead):
    """The all-MLP head with complementary, multi-focal spatial attention behind it.

    Its own loss is a base step's, where every pixel of a class is labelled as one: in later steps
    what is labelled background may show old classes.
    """

    name = "focal"

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__(channels, width)
        self.focal = FocalAttention(width)

    def observe(self, stages: Sequence[Tensor]) -> Seen:
        """See `AllMlpHead.observe`."""
        features, foci = self.focal(self.merged(stages))
        return Seen(features, foci=foci)

    def refined(self, pixels: Tensor) -> Tensor:
        """See `AllMlpHead.refined`."""
        features, _ = self.focal(pixels.permute(0, 3, 1, 2))
        found: Tensor = features.permute(0, 2, 3, 1)
        return found

    def terms(self, seen: Seen, labels: Tensor) -> Mapping[str, Tensor]:
        """See `AllMlpHead.terms`: the complementary attention's loss."""
        if seen.foci is None:
            raise ValueError("nothing was observed")
        foci = seen.foci.float().contiguous()
        logits = F.interpolate(foci, labels.shape[-2:], mode="bilinear", align_corners=False)
        return {"complementary_attention": FOCAL_WEIGHT * complementary_attention(logits, labels)}


HEADS: Mapping[HeadName, type[AllMlpHead]] = {
    "all_mlp": AllMlpHead,
    "softmax": SoftmaxHead,
    "scaled": ScaledHead,
    "focal": FocalHead,
}
