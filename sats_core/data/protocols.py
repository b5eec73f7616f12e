"""Protocols of class-incremental segmentation: which classes come in which step, and which
pictures a step sees."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sats_core.errors import ClassError

Setting = Literal["overlapped", "disjoint"]

VOC = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
VOC8 = ("person", "dog", "cat", "horse", "sheep", "cow", "chair", "sofa")
CCP = (
    *("skin", "hair", "shoes", "bag", "pants", "dress", "purse", "coat", "blouse", "shirt"),
    *("skirt", "jeans", "sweater", "t-shirt", "blazer", "stockings", "suit", "scarf"),
    *("jacket", "shorts", "vest", "boots"),
)
DRAWN = (
    *("mushroom", "fish", "leaf", "star", "house", "bottle"),
    *("cup", "doughnut", "flower", "butterfly"),
)
"""Classes of the pictures that the learning benchmark draws for itself."""
ADE20K_CLASSES = 150


@dataclass(frozen=True)
class Protocol:
    """A sequence of steps over a data set.

    Attributes:
        name: as in the field, with the data set before it: `voc-15-1`.
        sizes: classes of each step, the base step first.
        order: classes in the order of learning; None for the order of the data set's class list.
    """

    name: str
    sizes: tuple[int, ...]
    order: tuple[str, ...] | None

    def steps(self, classes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return the classes of each step.

        Args:
            classes: of the data set.

        Raises:
            ClassError: the data set lacks a class, or has another number of them.
        """
        order = self.order or tuple(classes)
        for name in order:
            if name not in classes:
                raise ClassError(f"protocol {self.name}: the data set has no class {name!r}")
        if len(order) != sum(self.sizes):
            raise ClassError(
                f"protocol {self.name} needs {sum(self.sizes)} classes, "
                f"the data set has {len(order)}"
            )
        ends = [sum(self.sizes[: number + 1]) for number in range(len(self.sizes))]
        return tuple(order[end - size : end] for end, size in zip(ends, self.sizes, strict=True))


def step_pictures(
    shown: Mapping[str, Collection[str]],
    steps: Sequence[Collection[str]],
    number: int,
    setting: Setting,
) -> tuple[str, ...]:
    """Return the pictures of a step, in the order of `shown` (MiB, CVPR 2020, section 4.1).

    Args:
        shown: classes that each picture shows, by its id.
        steps: classes of each step.
        number: of the step, 0 for the base step.
        setting: overlapped: every picture that shows a class of the step; disjoint: only those
            that show no class of a later step, so that no picture comes twice.
    """
    now = set(steps[number])
    later = {name for step in steps[number + 1 :] for name in step}
    banned = later if setting == "disjoint" else set()
    return tuple(
        picture for picture, names in shown.items() if now & set(names) and not banned & set(names)
    )


def _preset(
    dataset: str, order: tuple[str, ...] | None, total: int, base: int, new: int
) -> Protocol:
    sizes = (base, *[new] * ((total - base) // new))
    return Protocol(f"{dataset}-{base}-{new}", sizes, order)


def _once(dataset: str, order: tuple[str, ...], base: int, new: int) -> Protocol:
    """Return a base step and one more; what is left of the data set's classes never comes."""
    return Protocol(f"{dataset}-{base}-{new}", (base, new), order[: base + new])


PROTOCOLS: dict[str, Protocol] = {
    preset.name: preset
    for preset in (
        *(
            _preset("voc", VOC, len(VOC), *sizes)
            for sizes in ((19, 1), (15, 5), (15, 1), (10, 1), (5, 3))
        ),
        *(
            _preset("ade20k", None, ADE20K_CLASSES, *sizes)
            for sizes in ((100, 50), (100, 10), (100, 5), (50, 50), (25, 25))
        ),
        *(_preset("voc8", VOC8, len(VOC8), *sizes) for sizes in ((4, 1), (4, 4))),
        _once("voc8", VOC8, 4, 3),
        *(_preset("ccp", CCP, len(CCP), *sizes) for sizes in ((15, 1), (10, 1), (15, 7))),
        *(_once("ccp", CCP, 15, new) for new in (3, 5)),
        _preset("drawn", DRAWN, len(DRAWN), 6, 1),
    )
}
"""Every protocol by name."""
