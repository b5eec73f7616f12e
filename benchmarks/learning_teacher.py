"""How sure the old model is of the pictures of a step, before the step."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sats_core.data.batches import LabelledPictures
from sats_core.evaluation.predict import labelled_input
from sats_core.losses import entropy_pseudo_labels
from sats_core.method_settings import PseudoLabelSettings
from sats_core.methods.finetune import at_size
from sats_core.methods.pseudo_labelling import THRESHOLDS
from sats_core.models import Segmenter

MOST_PICTURES = 200


@torch.no_grad()
def sureness(
    old: Segmenter, classes: int, pictures: LabelledPictures, size: int, settings: Any
) -> dict[str, float]:
    """Return the old model's kept share and mean entropy on the step's background pixels.

    The kept share is that of the pixels whose pseudo-label a method keeps at its thresholds; for a
    method without pseudo-labels, at the published ones. The entropy is over log C_old, 0..1.

    Args:
        old: the model before the step.
        classes: channels after the step.
        pictures: the step's; at most 200 are looked at, spread evenly.
        size: longer side of what the model sees, pixels.
        settings: the method's own.
    """
    old.eval()
    rule = settings if isinstance(settings, PseudoLabelSettings) else PseudoLabelSettings()
    chosen = np.linspace(0, len(pictures) - 1, min(MOST_PICTURES, len(pictures))).astype(int)

    def seen() -> Iterator[tuple[Tensor, Tensor]]:
        for index in chosen.tolist():
            pixels, labels = labelled_input(*pictures[index], size, old)
            yield labels, at_size(old(pixels), labels)

    channels = old.classifier.channels
    find = THRESHOLDS[rule.thresholds]
    thresholds = find(seen(), channels, classes, rule.entropy_floor)
    kept, counted, entropy = 0, 0, 0.0
    for labels, logits in seen():
        background = labels < channels
        valid = entropy_pseudo_labels(labels, logits, thresholds, classes).valid
        kept += int((valid & background).sum())
        counted += int(background.sum())
        entropy += float(torch.special.entr(logits.softmax(dim=1)).sum(dim=1)[background].sum())
    counted = max(1, counted)
    return {"kept_share": kept / counted, "entropy": entropy / counted / float(np.log(channels))}
