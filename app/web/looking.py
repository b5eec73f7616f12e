"""A look at a data set before it is posted: what it labels, and some of its pictures."""

import base64
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.registry.schemas import hex_colour
from sats_core.classes import IGNORE, voc_colour
from sats_core.data.readers import Reader, open_reader
from sats_core.data.readers.base import Pixels
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits

SAMPLE = 48
"""So many pictures are looked at, from all over the data set."""
MOST_PIXELS = 40_000_000
"""Once their labels have more pixels together, no further one is looked at."""
SHOWN = 8
SIDE = 240
"""Longest side of a picture that is shown, pixels."""
OPACITY = 0.55
MOST_FAULTS = 5


@dataclass(frozen=True)
class FoundClass:
    """A class of the data set.

    Attributes:
        name: of the class.
        colour: in which it is shown.
        known: whether the model knows it already.
        pictures: of those looked at, how many show it.
        share: of the pixels of all pictures looked at, 0..1.
    """

    name: str
    colour: str
    known: bool
    pictures: int
    share: float


@dataclass(frozen=True)
class Sample:
    """A labelled picture, small; `url` has its bytes in it."""

    id: str
    url: str
    classes: Sequence[str]


@dataclass
class Found:
    """What a data set holds.

    Attributes:
        layout: of its files, a sentence.
        pictures: that have a label.
        splits: their names, and how many pictures each has.
        looked_at: pictures whose labels were read.
        classes: all of them, in the data set's order.
        samples: some of the pictures.
        warnings: what is not read, or seems wrong.
    """

    layout: str
    pictures: int
    splits: dict[str, int]
    looked_at: int = 0
    classes: list[FoundClass] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def look(path: Path, limits: Limits, known: Collection[str]) -> Found:
    """Look at a zip of labelled pictures.

    Args:
        path: of the zip.
        limits: of what is read.
        known: classes that the model knows.

    Raises:
        DatasetError: its structure is wrong.
    """
    with ZipSource(path, limits) as source:
        reader = open_reader(source)
        splits = {name: len(ids) for name, ids in reader.splits.items()}
        found = Found(reader.layout, len(reader.ids), splits, warnings=list(reader.warnings))
        if reader.unpaired:
            found.warnings.append(
                f"{len(reader.unpaired)} files have no partner and are not read, "
                f"{reader.unpaired[0]} among them"
            )
        labels = dict(_labels(reader, found.warnings))
        found.looked_at = len(labels)
        found.classes = _classes(reader, list(labels.values()), known)
        for picture_id in _telling(labels)[:SHOWN]:
            try:
                found.samples.append(_sample(reader, picture_id, labels[picture_id]))
            except DatasetError as error:
                found.warnings.append(str(error))
    return found


def _labels(reader: Reader, faults: list[str]) -> Iterator[tuple[str, Pixels]]:
    """Yield labels from all over the data set; what cannot be read is told."""
    step = max(1, -(-len(reader.ids) // SAMPLE))
    pixels = wrong = 0
    for picture_id in reader.ids[::step]:
        if pixels > MOST_PIXELS or wrong >= MOST_FAULTS:
            return
        try:
            label = reader.label(picture_id)
        except DatasetError as error:
            wrong += 1
            faults.append(str(error))
            continue
        pixels += label.size
        yield picture_id, label


def _classes(reader: Reader, labels: Sequence[Pixels], known: Collection[str]) -> list[FoundClass]:
    counts = np.zeros((max(1, len(labels)), IGNORE + 1), np.int64)
    for row, label in zip(counts, labels, strict=False):
        row += np.bincount(label.ravel(), minlength=IGNORE + 1)
    whole = max(1, int(counts.sum()))
    return [
        FoundClass(
            name,
            hex_colour(voc_colour(value)),
            name in known,
            int((counts[:, value] > 0).sum()),
            float(counts[:, value].sum()) / whole,
        )
        for value, name in enumerate(reader.classes, 1)
    ]


def _telling(labels: dict[str, Pixels]) -> list[str]:
    """Return pictures in the order of what they add: classes that were shown least come first."""
    shows = {
        picture_id: [value for value in np.unique(label) if 0 < value < IGNORE]
        for picture_id, label in labels.items()
    }
    seen: dict[int, int] = {}
    order: list[str] = []
    while len(order) < min(SHOWN, len(shows)):
        left = [one for one in shows if one not in order]
        best = max(left, key=lambda one: sum(0.5 ** seen.get(value, 0) for value in shows[one]))
        order.append(best)
        for value in shows[best]:
            seen[value] = seen.get(value, 0) + 1
    return order


def _sample(reader: Reader, picture_id: str, label: Pixels) -> Sample:
    image = Image.fromarray(reader.picture(picture_id))
    image.thumbnail((SIDE, SIDE))
    small = np.asarray(Image.fromarray(label).resize(image.size, Image.Resampling.NEAREST))
    colours = np.array([voc_colour(value) for value in range(IGNORE + 1)], np.float32)
    picture: NDArray[np.float32] = np.asarray(image, np.float32)
    labelled = ((small > 0) & (small < IGNORE))[..., None]
    mixed = np.where(labelled, OPACITY * colours[small] + (1 - OPACITY) * picture, picture)
    out = io.BytesIO()
    Image.fromarray(mixed.astype(np.uint8)).save(out, "JPEG", quality=80)
    url = f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
    return Sample(picture_id, url, reader.shown(label))
