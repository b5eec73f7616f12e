"""What a model answers for one picture, exactly as the service answers it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.classes import IGNORE
from sats_core.data.prediction import Prediction, best_channels
from sats_core.data.transforms import Pixels, evaluation_view, resize_label
from sats_core.errors import ModelError
from sats_core.models import Segmenter


def normalise(pictures: Tensor, model: Segmenter) -> Tensor:
    """Return pictures (B, 3, H, W) uint8 as float32, normalised for the model's backbone."""
    backbone = model.backbone
    return (pictures.float() / 255 - backbone.pixel_mean) / backbone.pixel_std


def model_input(picture: Pixels, size: int, model: Segmenter) -> tuple[Tensor, tuple[int, int]]:
    """Bring a picture to what the model sees in evaluation and serving.

    Args:
        picture: (H, W, 3) uint8.
        size: longer side, pixels, for a model without a `view` of its own.
        model: whose mean and deviation are used.

    Returns:
        (1, 3, h', w') on the model's device: at the size of its view, normalised, padded with
        zeros at bottom and right; and the (h, w) inside that is picture.
    """
    view = model.view_at(size)
    seen = torch.from_numpy(evaluation_view(picture, view).copy()).permute(2, 0, 1)[None]
    height, width = seen.shape[-2:]
    pixels = normalise(seen.to(next(model.parameters()).device), model)
    whole_height, whole_width = view.room(height, width)
    return F.pad(pixels, (0, whole_width - width, 0, whole_height - height)), (height, width)


def labelled_input(
    picture: Pixels, label: Pixels, size: int, model: Segmenter
) -> tuple[Tensor, Tensor]:
    """Bring a labelled picture to what the model sees in evaluation.

    Returns:
        `model_input` (1, 3, h', w') and the label (1, h', w') int64, 255 in the padding.
    """
    pixels, shown = model_input(picture, size, model)
    return pixels, input_label(label, pixels, shown)


def input_label(label: Pixels, pixels: Tensor, shown: tuple[int, int]) -> Tensor:
    """Bring a label to what `model_input` made of its picture.

    Args:
        label: (H, W).
        pixels: (1, 3, h', w').
        shown: the (h, w) of them that are picture.

    Returns:
        (1, h', w') int64, 255 in the padding.
    """
    height, width = shown
    marks = torch.from_numpy(resize_label(label, height, width).copy())
    labels = torch.full((1, *pixels.shape[-2:]), IGNORE, device=pixels.device)
    labels[0, :height, :width] = marks.to(pixels.device)
    return labels


def predict(model: Segmenter, picture: Pixels, size: int) -> Pixels:
    """Return the channel of every pixel, (H, W) uint8, at the picture's own size.

    The model must be in evaluation mode. Logits are brought to the picture's size, then labelled.

    Raises:
        ModelError: a logit is not finite.
    """
    return best_channels(predicted(model, picture, size), picture.shape[0], picture.shape[1])


@torch.no_grad()
def predicted(model: Segmenter, picture: Pixels, size: int) -> Prediction:
    """Return a model's logits for a picture, of which `predict` takes the best.

    Raises:
        ModelError: a logit is not finite.
    """
    pixels, shown = model_input(picture, size, model)
    return prediction_of(model(pixels), pixels, shown)


def prediction_of(logits: Tensor, pixels: Tensor, shown: tuple[int, int]) -> Prediction:
    """Return what a model says of what `model_input` made of a picture.

    Args:
        logits: (1, C, h'', w'') of the model.
        pixels: (1, 3, h', w') that it saw.
        shown: the (h, w) of them that are picture.

    Raises:
        ModelError: a logit is not finite.
    """
    (found,) = logits.float()
    if not found.isfinite().all():
        raise ModelError("the model's answers to pictures are not finite numbers")
    (height, width), (rows, columns) = shown, found.shape[-2:]
    return Prediction(
        found.cpu().numpy(),
        rows * height / pixels.shape[-2],
        columns * width / pixels.shape[-1],
    )
