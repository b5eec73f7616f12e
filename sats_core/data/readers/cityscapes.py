"""Cityscapes as it is handed out: leftImg8bit/ and gtFine/, masks of label ids."""

from collections.abc import Sequence
from typing import ClassVar

from sats_core.classes import IGNORE
from sats_core.data.readers.class_list import ClassList, indexed_classes
from sats_core.data.readers.paired import PairedReader
from sats_core.data.sources import Source

PICTURE = "_leftImg8bit"
MASK = "_gtFine_labelIds"
FIRST = 7
NAMES = (
    *("road", "sidewalk", "parking", "rail track"),
    *("building", "wall", "fence", "guard rail", "bridge", "tunnel"),
    *("pole", "polegroup", "traffic light", "traffic sign"),
    *("vegetation", "terrain", "sky", "person", "rider"),
    *("car", "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle"),
)
"""Of the label ids 7 to 33, by the official table; 0 to 6 are of its category void."""


class CityscapesReader(PairedReader):
    """leftImg8bit/SPLIT/CITY/..._leftImg8bit.png, gtFine/SPLIT/CITY/..._gtFine_labelIds.png.

    The ids of the category void (unlabeled, ego vehicle, ..., ground) count for nothing. The masks
    label everything, so there is no background.
    """

    layout: ClassVar[str] = (
        "Cityscapes (leftImg8bit/*/*/*_leftImg8bit.png, gtFine/*/*/*_gtFine_labelIds.png)"
    )
    pictures = "leftImg8bit/"
    masks = "gtFine/"

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """See `Reader.recognises`."""
        return any(f"{PICTURE}." in name or name.endswith(f"{MASK}.png") for name in source.names())

    def _class_list(self) -> ClassList:
        named = indexed_classes(list(enumerate(NAMES, start=FIRST)), "the table of Cityscapes")
        void = dict.fromkeys(range(FIRST), IGNORE)
        return ClassList(named.classes, named.by_index | void, {}, colours_first=False)

    def _by_id(
        self, names: Sequence[str], folder: str, suffixes: frozenset[str] | set[str]
    ) -> dict[str, str]:
        ending = PICTURE if folder == self.pictures else MASK
        return super()._by_id(
            [name for name in names if name.rpartition(".")[0].endswith(ending)], folder, suffixes
        )

    def _stem(self, stem: str) -> str:
        return super()._stem(stem).removesuffix(PICTURE).removesuffix(MASK)
