"""ADE20K as the scene-parsing challenge hands it out (ADEChallengeData2016)."""

from collections import Counter
from typing import ClassVar

from sats_core.data.readers.base import at_fault, no_class_list
from sats_core.data.readers.class_list import MAX_LIST_BYTES, ClassList, indexed_classes
from sats_core.data.readers.paired import PairedReader
from sats_core.data.sources import Source

CLASS_LIST = "objectInfo150.txt"


class Ade20kReader(PairedReader):
    """images/ and annotations/ with training/ and validation/ inside; masks hold indices.

    Index 0, "other" in ADE20K, is background. A class is called by the first of its names, or by
    all of them where another class has that one too.
    """

    layout: ClassVar[str] = (
        "ADE20K (images/training/, images/validation/, annotations/ likewise, objectInfo150.txt)"
    )
    pictures = "images/"
    masks = "annotations/"

    @classmethod
    def recognises(cls, source: Source) -> bool:
        """See `Reader.recognises`."""
        return any(
            name == CLASS_LIST
            or name.startswith((f"{cls.masks}training/", f"{cls.masks}validation/"))
            for name in source.names()
        )

    def _class_list(self) -> ClassList:
        if CLASS_LIST not in self.source.names():
            raise no_class_list(CLASS_LIST)
        try:
            text = self.source.read(CLASS_LIST, MAX_LIST_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise at_fault("a class list is UTF-8 text", CLASS_LIST, code="unreadable") from error
        rows = [line.split("\t") for line in text.splitlines() if line.strip()]
        rows = [row for row in rows if row[0].strip() != "Idx"]
        entries = []
        for row in rows:
            if len(row) < 2 or not row[0].strip().isdecimal():
                line = "\t".join(row)
                raise at_fault(f"{line!r} is not `index ... names`, parted by tabs", CLASS_LIST)
            entries.append((int(row[0]), row[-1].strip()))
        firsts = [_first(names) for _, names in entries]
        times = Counter(firsts)
        named = [
            (index, first if times[first] == 1 else names)
            for (index, names), first in zip(entries, firsts, strict=True)
        ]
        return indexed_classes(named, CLASS_LIST)


def _first(names: str) -> str:
    return names.replace(";", ",").partition(",")[0].strip()
