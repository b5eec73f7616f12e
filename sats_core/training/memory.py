"""Replay memory: training pictures that a version keeps for the steps after it (SATS-M)."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sats_core.classes import BACKGROUND, IGNORE, Catalogue
from sats_core.data.cache import PictureCache
from sats_core.data.labels import Lookup, step_lookup
from sats_core.data.readers import EncodedPicture, Reader, write_voc_zip
from sats_core.errors import DatasetError
from sats_core.job import MemoryRecord
from sats_core.training.loop import StoppedError

MEMORY = "memory.zip"


@dataclass(frozen=True)
class Keepable:
    """Pictures that a version may keep.

    Attributes:
        reader: of the pictures.
        ids: which of them.
        shown: of each, the classes that it shows and is labelled for.
        classes: what all of them are labelled for; other labels become background.
    """

    reader: Reader
    ids: Sequence[str]
    shown: Sequence[Collection[str]]
    classes: Sequence[str]


def recall(
    reader: Reader, catalogue: Catalogue, cache: PictureCache, should_stop: Callable[[], bool]
) -> Keepable:
    """Fill `cache` with the pictures of a memory, their labels as output channels.

    What they do not label is ignored: it may be a class that came after they were labelled, the
    step's new ones among them, and must not be taught as background.

    Raises:
        DatasetError: a picture cannot be read, or a class of the memory is not in the catalogue.
        StoppedError: `should_stop` said yes.
    """
    unknown = [name for name in reader.classes if name not in catalogue]
    if unknown:
        raise DatasetError(f"the memory has classes the model does not know: {', '.join(unknown)}")
    lookup = step_lookup(reader.classes, {name: catalogue.channel(name) for name in reader.classes})
    shown = []
    for picture_id in reader.ids:
        if should_stop():
            raise StoppedError
        picture = reader.read(picture_id)
        labels = lookup[picture.label]
        labels[labels == BACKGROUND] = IGNORE
        cache.add(picture.picture, labels)
        shown.append(frozenset(reader.shown(picture.label)))
    return Keepable(reader, reader.ids, shown, reader.classes)


def keep(
    path: Path, sources: Sequence[Keepable], classes: Sequence[str], most: int, seed: int
) -> MemoryRecord:
    """Write at most `most` pictures to a zip in VOC layout, balanced over `classes`.

    Args:
        path: of the zip.
        sources: the memory before the step, and the step's own pictures.
        classes: all foreground classes known after the step.
        most: pictures to keep.
        seed: of the choice.
    """
    everything = [
        (source, picture_id, shown)
        for source in sources
        for picture_id, shown in zip(source.ids, source.shown, strict=True)
    ]
    chosen = balanced([shown for _, _, shown in everything], classes, most, seed)
    values = {name: value for value, name in enumerate(classes, start=1)}
    lookups = [_lookup(source, values) for source in sources]

    def kept() -> Iterator[EncodedPicture]:
        for number, index in enumerate(chosen):
            source, picture_id, _ = everything[index]
            encoded = source.reader.encoded(picture_id)
            label = lookups[sources.index(source)][encoded.label]
            # Two tasks may both bring a picture called 0001.
            yield EncodedPicture(f"{number:06d}", encoded.suffix, encoded.data, label)

    write_voc_zip(path, kept(), classes)
    counts = {name: sum(name in everything[i][2] for i in chosen) for name in classes}
    return MemoryRecord(pictures=len(chosen), classes=counts)


def _lookup(source: Keepable, values: dict[str, int]) -> Lookup:
    return step_lookup(source.reader.classes, {name: values[name] for name in source.classes})


def balanced(
    shown: Sequence[Collection[str]], classes: Sequence[str], most: int, seed: int
) -> list[int]:
    """Choose pictures so that every class is shown by about as many of them.

    Turn by turn the class that the fewest chosen pictures show takes one more, drawn from those
    that show it; a class that has no more pictures stands aside.

    Args:
        shown: of each picture, the classes that it shows.
        classes: to balance over.
        most: pictures to choose.
        seed: of the draw.

    Returns:
        Positions in `shown`, in rising order, each once.
    """
    order = np.random.default_rng(seed).permutation(len(shown)).tolist()
    waiting = {name: [i for i in order if name in shown[i]] for name in classes}
    counts = dict.fromkeys(classes, 0)
    chosen: set[int] = set()
    while len(chosen) < most and waiting:
        name = min(waiting, key=lambda known: counts[known])
        index = next((i for i in waiting[name] if i not in chosen), None)
        if index is None:
            del waiting[name]
            continue
        chosen.add(index)
        for other in shown[index]:
            if other in counts:
                counts[other] += 1
    return sorted(chosen)
