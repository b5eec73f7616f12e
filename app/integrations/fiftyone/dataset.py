"""The zip: two image segmentation directories that share their pictures.

    data/2-00007.jpg  ground_truth/2-00007.png  predictions/2-00007.png  mask_targets.json

A name says which version's task the picture came with, and its place there. It is written as it is
sent: one picture is in memory at a time.
"""

import io
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from PIL import Image

from app.inference.cutting import Cut, Segmented
from app.inference.engine import Inference
from app.inference.loaded_graphs import Served
from app.segmentation import service
from app.segmentation.holding import PIXEL_BYTES, hold_room
from app.segmentation.upload import PostedPicture
from app.settings import Settings
from sats_core.classes import BACKGROUND, IGNORE
from sats_core.data.readers import EncodedPicture, Reader, open_reader
from sats_core.data.sources import ZipSource
from sats_core.data.transforms import Pixels

DATA, TRUTH, PREDICTIONS, TARGETS = "data", "ground_truth", "predictions", "mask_targets.json"


@dataclass(frozen=True)
class KeptPictures:
    """Held-out pictures of one task.

    Attributes:
        version: number of the version that the task made.
        path: the zip that they lie in.
    """

    version: int
    path: Path


class _Sink(io.RawIOBase):
    """Takes what a zip writes; it cannot go back."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def writable(self) -> bool:
        """Say that it is written to."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Keep some bytes until they are taken."""
        self._written.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """Return what came since the last time."""
        taken, self._written = b"".join(self._written), []
        return taken


@dataclass(frozen=True)
class Writing:
    """What makes the zip of a version.

    Attributes:
        inference: where pictures are segmented.
        served: the version, loaded.
        settings: how large pictures may be.
    """

    inference: Inference
    served: Served
    settings: Settings

    async def zipped(self, kept: Sequence[KeptPictures]) -> AsyncGenerator[bytes, None]:
        """Yield the zip, a picture at a time."""
        names = {c.name: c.index for c in self.served.graph.catalogue.classes}
        targets = {str(index): name for name, index in names.items()}
        sink = _Sink()
        with ZipFile(sink, "w", ZIP_STORED) as out:
            out.writestr(TARGETS, json.dumps(targets, ensure_ascii=False))
            for one in kept:
                with ZipSource(one.path, self.settings.limits.of_stored()) as source:
                    reader = await self.inference.in_thread(lambda: open_reader(source))
                    for position in range(len(reader.ids)):
                        stem = f"{one.version}-{position:05d}"
                        for name, data in (await self._entries(reader, position, names)).items():
                            folder, _, suffix = name.partition("*")
                            out.writestr(f"{folder}{stem}{suffix}", data)
                        yield sink.take()
        yield sink.take()

    async def _entries(
        self, reader: Reader, position: int, names: Mapping[str, int]
    ) -> dict[str, bytes]:
        """Return what is written of a picture; a * stands for its name."""
        with ExitStack() as held:
            await hold_room(self.inference, held, 1, 0)
            found: EncodedPicture = await self.inference.in_thread(
                lambda: reader.encoded(reader.ids[position])
            )
            needed = len(found.data) + PIXEL_BYTES * found.label.size
            await hold_room(self.inference, held, 0, needed)
            truth = await self.inference.in_thread(lambda: _truth(found, reader.classes, names))
            (mask,) = await service.delivered(
                self.inference,
                self.served,
                [PostedPicture(found.id, found.data)],
                Cut(mean_scores=False),
                self.settings.max_pixels,
                self._written,
                decoded_bytes=reader.source.limits.decoded_bytes,
            )
        return {
            f"{DATA}/*{found.suffix}": found.data,
            f"{TRUTH}/*.png": truth,
            f"{PREDICTIONS}/*.png": mask,
        }

    def _written(self, _posted: PostedPicture, found: Segmented) -> bytes:
        return _grey(found.mask)


def _truth(found: EncodedPicture, classes: Sequence[str], names: Mapping[str, int]) -> bytes:
    """Return a picture's labels as the version's indices; 255 stays 255."""
    table = np.full(256, IGNORE, dtype=np.uint8)
    table[BACKGROUND] = BACKGROUND
    for value, name in enumerate(classes, 1):
        table[value] = names.get(name, IGNORE)
    return _grey(table[found.label])


def _grey(mask: Pixels) -> bytes:
    # FiftyOne reads a palette's colours, not its indices.
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG", compress_level=3)
    return out.getvalue()
