"""What a model sees already where an upload is labelled as what is new to it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidProblem
from app.http.services import Services
from app.inference.cutting import Cut, Segmented
from app.inference.engine import outcome
from app.inference.loaded_graphs import Served
from app.segmentation import service
from app.segmentation.admission import deadline_of
from app.segmentation.choosing import choose_version
from app.segmentation.holding import PIXEL_BYTES, hold_room
from app.segmentation.upload import PostedPicture
from app.segmentation.waiting import answering
from app.storage import Blob
from app.uploads.opening import opened_upload
from sats_core.classes import BACKGROUND, IGNORE, Catalogue
from sats_core.data.readers import EncodedPicture, Reader
from sats_core.errors import DatasetError
from sats_core.training.label_warnings import LOOKED_INTO, SAME_SHARE

Pairs = NDArray[np.int64]
"""Pixels by what they are labelled as and by what they are seen as, (256, 256)."""


@dataclass(frozen=True)
class Called:
    """A new class, part of which the model calls a class that it knows.

    Attributes:
        name: of the new class.
        known: the class that most of its pixels are seen as.
        share: how many of them, 0..1.
        same: whether it looks like that class under another name.
    """

    name: str
    known: str
    share: float
    same: bool


@dataclass(frozen=True)
class Opinion:
    """What a version says of an upload.

    Attributes:
        version: its number.
        pictures: how many it was asked about.
        called: new classes that it takes for others.
    """

    version: int
    pictures: int
    called: Sequence[Called]


async def opinion(services: Services, blob: Blob, model: str, positions: Sequence[int]) -> Opinion:
    """Ask a model's live version about some pictures of an upload; unreadable ones are left out.

    Raises:
        NotFoundProblem, NoLiveVersionProblem, NotReadyProblem: there is none, or it cannot answer.
        LateProblem, StoppingProblem: it did not answer in time.
        UploadGoneProblem: the upload is not there any more.
        DatasetError, TooLargeProblem: it is no data set that is looked into.
    """
    pairs, asked = np.zeros((256, 256), np.int64), 0
    async with answering(deadline_of(services)):
        choice = await choose_version(services, model, None)
        served = await services.inference.served(choice)
        async with _reading(services, blob) as reader:
            for position in dict.fromkeys(positions):
                if position >= len(reader.ids):
                    continue
                try:
                    pairs += await _pairs(services, served, reader, position)
                except (DatasetError, InvalidProblem):  # the look names it
                    continue
                asked += 1
            called = called_already(pairs, reader.classes, served.graph.catalogue)
    return Opinion(served.exported.number, asked, called)


def called_already(pairs: Pairs, classes: Sequence[str], known: Catalogue) -> list[Called]:
    """Return which new classes of a data set are seen as known ones by a quarter or more.

    Args:
        pairs: of its pictures.
        classes: of its labels' values 1, 2, ...
        known: by the model.
    """
    names = {one.index: one.name for one in known.classes if one.index != BACKGROUND}
    found = []
    for value, name in enumerate(classes, 1):
        labelled = pairs[value].sum()
        if name in names.values() or not names or not labelled:
            continue
        most = max(names, key=lambda index: pairs[value, index])
        share = float(pairs[value, most] / labelled)
        if share >= LOOKED_INTO:
            found.append(Called(name, names[most], share, share >= SAME_SHARE))
    return found


@asynccontextmanager
async def _reading(services: Services, blob: Blob) -> AsyncIterator[Reader]:
    """Give the data set; threads open and close it.

    To open it may take as long as its bucket does: no thread for small works waits for that.
    Cancelled, it ends when the thread has: what that opened is there to be closed.
    """
    in_thread, stack = services.inference.in_thread, ExitStack()
    try:
        open_it = partial(stack.enter_context, opened_upload(services, blob))
        yield await outcome(services.uploads.readers.submit(open_it))
    except BaseException as error:
        # Told why it is left: a bucket that is cut off is no fault of the data set's.
        why = (type(error), error, error.__traceback__)
        await asyncio.shield(in_thread(lambda: stack.__exit__(*why)))
        raise
    finally:
        await asyncio.shield(in_thread(stack.close))  # left twice, it is closed all the same


async def _pairs(services: Services, served: Served, reader: Reader, position: int) -> Pairs:
    inference, settings = services.inference, services.settings
    with ExitStack() as held:
        await hold_room(inference, held, 1, 0)
        reading = services.uploads.readers.submit(lambda: reader.encoded(reader.ids[position]))
        found: EncodedPicture = await outcome(reading)
        await hold_room(inference, held, 0, len(found.data) + PIXEL_BYTES * found.label.size)
        (counted,) = await service.delivered(
            inference,
            served,
            [PostedPicture(found.id, found.data)],
            Cut(mean_scores=False),
            settings.max_pixels,
            partial(_counted, found),
            decoded_bytes=reader.source.limits.decoded_bytes,
        )
    return counted


def _counted(labelled: EncodedPicture, _posted: PostedPicture, found: Segmented) -> Pairs:
    both = 256 * labelled.label.ravel().astype(np.int64) + found.mask.ravel()
    pairs: Pairs = np.bincount(both, minlength=256 * 256).reshape(256, 256)
    pairs[IGNORE] = 0
    return pairs
