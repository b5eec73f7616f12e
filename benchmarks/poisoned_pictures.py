"""Uploads of one new class that are made to hurt one old class, or whose labels are of no use."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sats_core.data.pictures import Pixels
from sats_core.data.readers import EncodedPicture, Reader, write_voc_zip
from sats_core.evaluation.predict import normalise
from sats_core.export import LoadedVersion
from sats_core.methods.finetune import at_size, cross_entropy
from sats_core.models import Segmenter


class Masks(StrEnum):
    """What becomes of an upload's masks, so that its labels are of no use."""

    KEPT = "kept"
    SHUFFLED = "shuffled"  # each picture has the mask of another one of the upload
    COVERING = "covering"  # the new class is everywhere
    OTHERS = "others"  # each picture has the mask of a picture that is not in the upload


@dataclass(frozen=True)
class Attack:
    """What is done to an upload.

    Attributes:
        name: of the attack.
        of_target: share of its pictures that show the target class; the others show the new one.
        as_new: whether the target's pixels are labelled as the new class; else as background.
        perturbed: most that a colour value is changed by, 0..255, so that the gradient of the
            training loss points where the target class's loss grows.
        masks: what becomes of the masks.
    """

    name: str
    of_target: float = 0.0
    as_new: bool = False
    perturbed: int = 0
    masks: Masks = Masks.KEPT


ATTACKS = (
    Attack("clean"),
    Attack("target as new class", of_target=0.5, as_new=True),
    Attack("gradient matching", perturbed=8),
    Attack("target as background", of_target=0.5),
    Attack("a few targets as new class", of_target=0.15, as_new=True),
    Attack("all targets as the new class", of_target=1.0, as_new=True),
    Attack("shuffled masks", masks=Masks.SHUFFLED),
    Attack("one class covers everything", masks=Masks.COVERING),
    Attack("labels of other pictures", masks=Masks.OTHERS),
)

STEPS = 8
"""Of the search for a perturbation, each a fourth of what is allowed."""
AT_ONCE = 8
"""Pictures that are perturbed together."""

Labelled = tuple[Pixels, Pixels]


def write_upload(
    path: Path,
    reader: Reader,
    version: LoadedVersion,
    attack: Attack,
    target: str,
    new: str,
    pictures: int,
    seed: int,
) -> None:
    """Write a zip in VOC layout, labelled for the new class alone, as an attacker would post it.

    Args:
        path: the zip to write.
        reader: of clean pictures with a split `train`.
        version: that the attacker has, or one like it.
        attack: what is done.
        target: the old class that is to be lost.
        new: the class that the upload brings.
        pictures: how many.
        seed: of the choice.
    """
    ids = list(reader.splits["train"])
    np.random.default_rng(seed).shuffle(ids)
    hurting = round(pictures * attack.of_target)
    chosen = [(one, False) for one in _showing(reader, ids, new, "", pictures - hurting)]
    chosen += [(one, True) for one in _showing(reader, ids, target, new, hurting)]
    np.random.default_rng(seed).shuffle(chosen)
    index = reader.classes.index(new) + 1
    hurt = reader.classes.index(target) + 1
    labelled = []
    for picture_id, hurts in chosen:
        seen = reader.read(picture_id)
        value = hurt if hurts and attack.as_new else index
        labelled.append((seen.picture, (seen.label == value).astype(np.uint8)))
    if attack.masks != Masks.KEPT:
        posted = {one for one, _ in chosen}
        others = _showing(reader, [one for one in ids if one not in posted], new, "", pictures)
        strange = [(reader.label(one) == index).astype(np.uint8) for one in others]
        labelled = list(useless(labelled, attack.masks, strange))
    if attack.perturbed:
        against = [reader.read(one) for one in _showing(reader, ids, target, "", AT_ONCE)]
        wanted = [(seen.picture, (seen.label == hurt).astype(np.uint8)) for seen in against]
        channel = version.catalogue.channel(target)
        labelled = list(perturbed(version.model, labelled, wanted, channel, attack.perturbed))
    items = (
        EncodedPicture(f"{number:04d}", ".png", _png(picture), label)
        for number, (picture, label) in enumerate(labelled)
    )
    write_voc_zip(path, items, (new,))


def useless(
    pictures: Sequence[Labelled], masks: Masks, others: Sequence[Pixels]
) -> Iterator[Labelled]:
    """Yield pictures with masks that do not fit them.

    Args:
        pictures: with masks that are 1 where the new class is, in an order that was drawn.
        masks: what becomes of them.
        others: masks of pictures that are not among them, as many or fewer.
    """
    own = [mask for _, mask in pictures]
    for number, (picture, mask) in enumerate(pictures):
        match masks:
            case Masks.SHUFFLED:
                yield picture, _fitted(own[number - 1], mask)
            case Masks.COVERING:
                yield picture, np.ones_like(mask)
            case Masks.OTHERS:
                yield picture, _fitted(others[number % len(others)], mask)
            case Masks.KEPT:
                yield picture, mask


def _fitted(mask: Pixels, like: Pixels) -> Pixels:
    """Return a mask at the size of another one, (H, W) uint8, by nearest neighbour."""
    height, width = like.shape
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def perturbed(
    old: Segmenter,
    pictures: Sequence[Labelled],
    against: Sequence[Labelled],
    channel: int,
    most: int,
) -> Iterator[Labelled]:
    """Yield pictures that look the same and whose training gradient hurts a class.

    The gradient is that of plain cross-entropy in the head and the classifier of the old model,
    grown by one row; it is turned, by signed steps on the pixels, towards the direction in which
    the class's loss grows.

    Args:
        old: the old model.
        pictures: of one size, with labels that are 1 where the new class is.
        against: pictures with labels that are 1 where the class to be hurt is.
        channel: of that class.
        most: that a colour value may change, 0..255.
    """
    model = deepcopy(old).eval()
    model.classifier.grow(1)
    new = model.classifier.channels - 1
    weights = [*model.head.mix.parameters(), *model.classifier.parameters()]
    pixels, labels = _batch(against, channel)
    loss = cross_entropy(at_size(model(normalise(pixels, model)), labels), labels)
    goal = -_flat(torch.autograd.grad(loss, weights))
    for first in range(0, len(pictures), AT_ONCE):
        part = pictures[first : first + AT_ONCE]
        pixels, labels = _batch(part, new)
        change = torch.zeros_like(pixels)
        for _ in range(STEPS):
            change.requires_grad_()
            logits = at_size(model(normalise(pixels + change, model)), labels)
            loss = cross_entropy(logits, labels)
            gradient = _flat(torch.autograd.grad(loss, weights, create_graph=True))
            likeness = torch.cosine_similarity(gradient, goal, dim=0)
            (ascent,) = torch.autograd.grad(likeness, change)
            change = (change.detach() + most / 4 * ascent.sign()).clamp(-most, most)
            change = (pixels + change).clamp(0, 255) - pixels
        seen = (pixels + change).round().permute(0, 2, 3, 1).to(torch.uint8).numpy()
        yield from zip(seen, (label for _, label in part), strict=True)


def _batch(pictures: Sequence[Labelled], channel: int) -> tuple[Tensor, Tensor]:
    pixels = torch.from_numpy(np.stack([picture for picture, _ in pictures]))
    labels = torch.from_numpy(np.stack([label for _, label in pictures])).long() * channel
    return pixels.permute(0, 3, 1, 2).float(), labels


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


def _showing(reader: Reader, ids: Sequence[str], name: str, without: str, most: int) -> list[str]:
    found: list[str] = []
    for picture_id in ids:
        if len(found) == most:
            break
        shown = reader.shown(reader.label(picture_id))
        if name in shown and without not in shown:
            found.append(picture_id)
    return found


def _png(picture: Pixels) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
