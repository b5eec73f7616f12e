"""The zip: two image segmentation directories that share their pictures.

    data/2-00007.jpg  ground_truth/2-00007.png  predictions/2-00007.png  mask_targets.json

A name says which version's task the picture came with, and its place there. It is written as it is
sent: one picture is in memory at a time. What cannot be read is left out, `skipped.json` lists it.
"""

import asyncio
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import structlog
from PIL import Image

from app.errors import InvalidProblem, TooLargeProblem
from app.inference.cutting import Cut, Segmented
from app.inference.engine import Inference
from app.inference.loaded_graphs import Served
from app.registry.files import DamagedVersionProblem, verified
from app.segmentation import service
from app.segmentation.holding import PIXEL_BYTES, hold_room
from app.segmentation.upload import PostedPicture
from app.settings import Settings
from app.storage import BlobStore
from sats_core.classes import BACKGROUND, IGNORE
from sats_core.data.readers import EncodedPicture, Reader, open_reader
from sats_core.data.sources import ZipSource
from sats_core.data.transforms import Pixels
from sats_core.errors import DatasetError

DATA, TRUTH, PREDICTIONS = "data", "ground_truth", "predictions"
TARGETS, SKIPPED = "mask_targets.json", "skipped.json"
T = TypeVar("T")
Entries = dict[str, bytes]
"""Files of the zip by name."""
_UNREADABLE = (DatasetError, InvalidProblem, TooLargeProblem, DamagedVersionProblem)
"""What says of pictures that they cannot be sent, now or later."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class KeptPictures:
    """Held-out pictures of one task.

    Attributes:
        version: number of the version that the task made.
        blob: key of the zip that they lie in.
    """

    version: int
    blob: str


@dataclass(frozen=True)
class Skipped:
    """What is not in the zip.

    Attributes:
        version: number of the version whose task brought it.
        position: the picture's place there; None: all of that task.
        reason: why, in words.
    """

    version: int
    position: int | None
    reason: str


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
        blobs: where their zips are.
        served: the version, loaded.
        settings: how large pictures may be.
    """

    inference: Inference
    blobs: BlobStore
    served: Served
    settings: Settings

    async def zipped(self, kept: Sequence[KeptPictures]) -> AsyncGenerator[bytes, None]:
        """Yield the zip, a picture at a time; a first piece before any is segmented.

        Raises:
            DamagedVersionProblem: the pictures of no task can be read. Nothing was yielded.
        """
        names = {c.name: c.index for c in self.served.graph.catalogue.classes}
        targets = {str(index): name for name, index in names.items()}
        sink, skipped, begun = _Sink(), list[Skipped](), False
        async with self._opened() as opened:
            out = await self._does(lambda: opened.enter_context(ZipFile(sink, "w", ZIP_STORED)))
            await self._does(partial(_listed, out, TARGETS, targets))
            for one in kept:
                async with aclosing(self._pictures(one, names, skipped)) as made:
                    async for entries in made:
                        begun = True
                        if piece := await self._does(partial(_written, out, sink, entries)):
                            yield piece
            if not begun:
                raise DamagedVersionProblem("; ".join(one.reason for one in skipped))
            if skipped:
                listed = [asdict(one) for one in skipped]
                await self._does(partial(_listed, out, SKIPPED, listed))
        yield sink.take()

    async def _pictures(
        self, kept: KeptPictures, names: Mapping[str, int], skipped: list[Skipped]
    ) -> AsyncGenerator[Entries, None]:
        """Yield what is written of each picture of a task, first nothing; add what is left out."""
        async with self._opened() as opened:
            try:
                reader = await self._does(partial(self._reader, kept, opened))
            except _UNREADABLE as error:
                skipped.append(_skipped(kept, None, error))
                return
            yield {}
            for position in range(len(reader.ids)):
                stem = f"{kept.version}-{position:05d}"
                try:
                    entries = await self._entries(reader, position, stem, names)
                except _UNREADABLE as error:
                    skipped.append(_skipped(kept, position, error))
                else:
                    yield entries

    def _reader(self, kept: KeptPictures, opened: ExitStack) -> Reader:
        """Open the pictures of a task, every byte checked.

        Raises:
            DamagedVersionProblem: they are missing, or not what was stored.
        """
        what = f"the zip of version {kept.version}'s held-out pictures"
        path = verified(self.blobs, kept.blob, what)
        try:
            source = opened.enter_context(ZipSource(path, self.settings.limits.of_stored()))
        except FileNotFoundError as error:  # removed since
            raise DamagedVersionProblem(f"{what} is missing in the blob store") from error
        return open_reader(source)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[ExitStack]:
        """Give what threads put on it that they open; it is closed in one of them.

        The directory of a zip of many pictures takes seconds to read, and to write.
        """
        opened = ExitStack()
        try:
            yield opened
        finally:
            # Shielded: of one who leaves, work that has not begun yet is dropped.
            await asyncio.shield(self._does(opened.close))

    async def _does(self, work: Callable[[], T]) -> T:
        return await self.inference.in_thread(work)

    async def _entries(
        self, reader: Reader, position: int, stem: str, names: Mapping[str, int]
    ) -> Entries:
        """Return what is written of a picture."""
        with ExitStack() as held:
            await hold_room(self.inference, held, 1, 0)
            found: EncodedPicture = await self._does(lambda: reader.encoded(reader.ids[position]))
            needed = len(found.data) + PIXEL_BYTES * found.label.size
            await hold_room(self.inference, held, 0, needed)
            truth = await self._does(lambda: _truth(found, reader.classes, names))
            (mask,) = await service.delivered(
                self.inference,
                self.served,
                [PostedPicture(found.id, found.data)],
                Cut(mean_scores=False),
                self.settings.max_pixels,
                _prediction,
                decoded_bytes=reader.source.limits.decoded_bytes,
            )
        return {
            f"{DATA}/{stem}{found.suffix}": found.data,
            f"{TRUTH}/{stem}.png": truth,
            f"{PREDICTIONS}/{stem}.png": mask,
        }


def _skipped(kept: KeptPictures, position: int | None, error: Exception) -> Skipped:
    found = Skipped(kept.version, position, str(error))
    log.warning("fiftyone_skipped", **asdict(found))
    return found


def _listed(out: ZipFile, name: str, value: Any) -> None:
    out.writestr(name, json.dumps(value, ensure_ascii=False))


def _written(out: ZipFile, sink: _Sink, entries: Entries) -> bytes:
    """Write a picture, and return the zip's bytes since the last one."""
    for name, data in entries.items():
        out.writestr(name, data)
    return sink.take()


def _prediction(_posted: PostedPicture, found: Segmented) -> bytes:
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
