"""Plain fine-tuning, the base of every method."""

from collections.abc import Iterable, Mapping

from torch import Tensor
from torch.nn import functional as F

from sats_core.classes import IGNORE
from sats_core.losses import Total, alone
from sats_core.methods.method import Method, Trainer


class Finetune(Method):
    """Cross-entropy on the step's labels and nothing against forgetting.

    A method of this kind turns a batch into named loss terms; the training loop sums them. It
    changes neither the models nor the batch; only `prepare` may give the new classes' rows their
    start. A base step, which has nothing to forget, runs this one.
    """

    def learn(self, trainer: Trainer) -> None:
        """See `Method.learn`: gradient descent."""
        trainer.descend(self)

    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]], total: Total = alone) -> None:
        """Look at every training picture once before training; here there is no need.

        Args:
            batches: normalised pictures (B, 3, H, W) with labels (B, H, W), not augmented.
            total: where several look at a share of the pictures each, adds up what they have
                counted; everybody must ask for the same totals in the same order.
        """

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """Return the weighted loss terms of one batch, scalars by name.

        Each is a mean over the batch's pictures of something that a picture has by itself, so that
        the terms of a batch are the means of its parts', weighted by their pictures. What is
        trained in parts, one after another or on several devices, stands on that.

        Args:
            pictures: (B, 3, H, W), normalised.
            labels: (B, H, W) int64: the step's new classes, 0 elsewhere, 255 ignored.
        """
        logits = at_size(self.model(pictures), labels)
        return {"cross_entropy": cross_entropy(logits, labels)}


def at_size(logits: Tensor, labels: Tensor) -> Tensor:
    """Return logits (B, C, h, w) at the labels' size (B, C, H, W), in float32, bilinear."""
    # Losses go over channels at every pixel: faster with each channel in one piece.
    channels_first = logits.float().contiguous()
    return F.interpolate(
        channels_first, size=labels.shape[-2:], mode="bilinear", align_corners=False
    )


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy over all pixels; an ignored pixel counts 0.

    The published weights of the other terms stand on this mean, not on the mean over labelled
    pixels: with few labels left the cross-entropy steps back (MiB's and PLOP's released code).
    """
    return F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none").mean()
