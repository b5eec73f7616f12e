"""A zip of labelled pictures without those that show a class."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sats_core.data.readers import Reader, open_reader, write_voc_zip
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits


@dataclass(frozen=True)
class Purged:
    """What became of a zip.

    Attributes:
        gone: checksum of each picture file that is not in the new one, hex; None: all, unread.
        left: how many pictures are.
        shown: of these, how many show each class.
    """

    gone: tuple[str, ...] | None
    left: int
    shown: dict[str, int]


def purge(
    path: Path, target: Path, names: Collection[str], useless: bool, limits: Limits
) -> Purged | None:
    """Write the pictures of a zip that show none of some classes, by their labels, to another.

    Args:
        path: of the zip; one that cannot be read loses all of its pictures.
        target: of the new one; not written where no picture is left.
        names: of the classes.
        useless: whether the zip serves these classes alone, so that all of its pictures go.
        limits: of the zip.

    Returns:
        None where no picture shows them, or is labelled for them at all.
    """
    try:
        with ZipSource(path, limits.of_stored()) as source:
            return _purge(open_reader(source), target, set(names), useless)
    except DatasetError:
        return Purged(None, 0, {})


def _purge(reader: Reader, target: Path, names: set[str], useless: bool) -> Purged | None:
    if not names.intersection(reader.classes):
        return None
    shown = {one: frozenset(reader.shown(reader.label(one))) for one in reader.ids}
    going = [one for one in reader.ids if useless or names & shown[one]]
    if not going:
        return None
    gone = tuple(hashlib.sha256(reader.encoded(one).data).hexdigest() for one in going)
    staying = [one for one in reader.ids if one not in set(going)]
    if staying:
        write_voc_zip(target, (reader.encoded(one) for one in staying), reader.classes)
    counts = {
        name: sum(name in shown[one] for one in staying)
        for name in reader.classes
        if name not in names
    }
    return Purged(gone, len(staying), counts)
