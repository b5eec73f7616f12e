"""What the gradients of one training step give away of its picture.

Whoever sees them, and knows the model, looks for a picture with the same gradients. Whether dropout
stands in the way is disputed: "Dropout against Deep Leakage from Gradients" (arXiv 2108.11106) says
that it does, "Dropout is NOT All You Need to Prevent Gradient Leakage" (arXiv 2208.06163) that it
does not, where the attacker looks for the mask too. In these models the mask need not be looked
for: a channel that was dropped has no gradient in the classifier.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from sats_core.errors import NothingLearnedError
from sats_core.evaluation.gradient_matching import Effort, Gradients, search
from sats_core.leakage_report import Attack
from sats_core.methods.finetune import at_size, cross_entropy
from sats_core.models import Segmenter


class Reconstruction(NamedTuple):
    """What an attack came to.

    Attributes:
        pixels: (1, 3, S, S), 0..1.
        distances: one less the cosine of the gradients, before each iteration.
        mask_agrees: share of the channels whose mask the attacker has right; None where nothing
            was dropped or the attacker did not ask.
    """

    pixels: Tensor
    distances: list[float]
    mask_agrees: float | None


def step_gradients(model: Segmenter, pixels: Tensor, labels: Tensor, mask: Tensor) -> Gradients:
    """Return the gradients of the cross-entropy of one step on one picture, by every weight.

    A step after a model's first one: batch norm keeps its statistics. Of each weight, in the order
    of `model.parameters()`; they can be differentiated by pixels and mask.

    Args:
        model: in evaluation mode; its own dropout is not asked.
        pixels: (1, 3, S, S), 0..1.
        labels: (1, S, S) int64 channels, 255 ignored.
        mask: (1, D, 1, 1), what dropout multiplies each of the classifier's inputs with.
    """
    backbone = model.backbone
    normalised = (pixels - backbone.pixel_mean) / backbone.pixel_std
    # The fused kernels cannot be differentiated twice.
    with sdpa_kernel(SDPBackend.MATH), _DepthWiseBySums():
        features = model.head(backbone(normalised))
        loss = cross_entropy(at_size(model.classifier(features * mask), labels), labels)
        return torch.autograd.grad(
            loss, _weights(model), create_graph=True, allow_unused=True, materialize_grads=True
        )


def drawn_mask(model: Segmenter, chance: torch.Generator) -> Tensor:
    """Return a mask (1, D, 1, 1) as the model's dropout draws it: 0, or 1 / (1 - share)."""
    kept = torch.rand(1, model.dropout.channels, 1, 1, generator=chance) >= model.dropout.share
    return kept / (1 - model.dropout.share)


def read_mask(model: Segmenter, seen: Gradients) -> Tensor:
    """Return the mask (1, D, 1, 1) that gradients give away.

    A channel that was dropped has a gradient of exactly 0 in every row of the classifier. So has
    one that is 0 all over the picture: it is taken for dropped, and nothing depends on it.

    Args:
        model: the gradients' own.
        seen: as `step_gradients` gives them.
    """
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    rows = [
        gradient
        for name, gradient in zip(names, seen, strict=True)
        if name.startswith("classifier.") and gradient.ndim == 4
    ]
    kept = (torch.cat(rows) != 0).any(dim=0, keepdim=True)
    return kept / (1 - model.dropout.share)


def reconstruct(
    model: Segmenter, pixels: Tensor, labels: Tensor, attack: Attack, effort: Effort, seed: int
) -> Reconstruction:
    """Run one step on a picture, and look for the picture in its gradients.

    The attacker knows the weights, the labels, the share that dropout takes, and the gradients.

    Args:
        model: in evaluation mode; its weights stay as they are.
        pixels: (1, 3, S, S), 0..1.
        labels: (1, S, S) int64 channels, 255 ignored.
        attack: whether the step drops channels, and what the attacker makes of it.
        effort: how hard to try.
        seed: of the mask and of the noise that the attack starts from.

    Raises:
        NothingLearnedError: the step's gradients are all zero, and point nowhere.
    """
    chance = torch.Generator().manual_seed(seed)
    drawn = drawn_mask(model, chance)
    start = torch.rand(pixels.shape, generator=chance)
    nothing = torch.ones_like(drawn)
    mask = nothing if attack is Attack.BARE else drawn
    seen = [one.detach() for one in step_gradients(model, pixels, labels, mask)]
    if not any(one.any() for one in seen):
        raise NothingLearnedError("the step's gradients are all zero: nothing is learned")
    believed = read_mask(model, seen) if attack is Attack.READ else nothing

    def known(guess: Tensor) -> Gradients:
        return step_gradients(model, guess, labels, believed)

    def guessed(guess: Tensor, kept: Tensor) -> Gradients:
        return step_gradients(model, guess, labels, kept / (1 - model.dropout.share))

    if attack is Attack.GUESSED:
        expected = torch.full_like(drawn, 1 - model.dropout.share)
        found = search(guessed, seen, [start, expected], effort)
        believed = found.unknowns[1]
    else:
        found = search(known, seen, [start], effort)
    asked = attack in (Attack.GUESSED, Attack.READ)
    agrees = ((believed > 0.5) == (mask > 0.5)).float().mean().item() if asked else None
    return Reconstruction(found.unknowns[0], found.distances, agrees)


def painted(pixels: Tensor, labels: Tensor) -> Tensor:
    """Return a picture (1, 3, S, S) with each labelled region (1, S, S) in its mean colour.

    More than this the labels alone, and somebody who guesses colours well, do not give away.
    """
    made = pixels.clone()
    for value in labels.unique():
        where = (labels == value)[:, None].expand_as(pixels)
        region = pixels[where].view(pixels.shape[1], -1)
        made[where] = region.mean(dim=1, keepdim=True).expand_as(region).reshape(-1)
    return made


class _DepthWiseBySums(TorchFunctionMode):
    """Computes depth-wise convolutions as sums of shifted pictures.

    The second derivative of torch's own takes the channels one by one, most of the time there is.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        _types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """See `TorchFunctionMode`."""
        if func is F.conv2d and not kwargs and len(args) == 7:
            pixels, weight, bias, stride, padding, dilation, groups = args
            if weight.shape[:2] == (groups, 1) and (stride, dilation) == ((1, 1), (1, 1)):
                return _depth_wise(pixels, weight, bias, padding)
        return func(*args, **(kwargs or {}))


def _depth_wise(
    pixels: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
) -> Tensor:
    rows, columns = padding
    wide = F.pad(pixels, (columns, columns, rows, rows))
    height = wide.shape[2] - weight.shape[2] + 1
    width = wide.shape[3] - weight.shape[3] + 1
    total = torch.zeros((), dtype=pixels.dtype) if bias is None else bias[None, :, None, None]
    for row in range(weight.shape[2]):
        for column in range(weight.shape[3]):
            shifted = wide[:, :, row : row + height, column : column + width]
            total = total + weight[None, :, 0, row, column, None, None] * shifted
    return total


def _weights(model: Segmenter) -> Sequence[Tensor]:
    return [weight for weight in model.parameters() if weight.requires_grad]
