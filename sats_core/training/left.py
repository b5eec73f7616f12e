"""What a version keeps of its training pictures once classes are gone."""

from collections.abc import Sequence
from pathlib import Path

from sats_core.classes import Catalogue
from sats_core.kept import MemoryRecord
from sats_core.training.at_hand import Source
from sats_core.training.memory import MEMORY, Keepable, keep


def left_memory(
    folder: Path,
    sources: Sequence[Source],
    gone: Sequence[str],
    catalogue: Catalogue,
    seed: int,
) -> MemoryRecord | None:
    """Write the memory without the pictures that are labelled as showing what goes.

    Args:
        folder: where `memory.zip` goes; it is not written where nothing is left.
        sources: the memory among them, where the version keeps one.
        gone: names of the classes.
        catalogue: without them.
        seed: of the order.

    Raises:
        DatasetError: a label cannot be read.
    """
    sources = [source for source in sources if source.origin == "memory"]
    left = [_left(source, set(gone)) for source in sources]
    most = sum(len(each.ids) for each in left)
    if not most:
        return None
    return keep(folder / MEMORY, left, catalogue.foreground, most, seed)


def _left(source: Source, gone: set[str]) -> Keepable:
    reader = source.reader
    shown = {
        picture_id: frozenset(reader.shown(reader.label(picture_id))) for picture_id in reader.ids
    }
    ids = [picture_id for picture_id, names in shown.items() if names and not names & gone]
    stays = [name for name in source.classes if name not in gone]
    return Keepable(reader, ids, [shown[picture_id] for picture_id in ids], stays)
