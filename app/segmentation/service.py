"""From posted bytes to an answer."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from app.errors import ErrorDetail, InvalidProblem, NotReadyProblem, TooLargeProblem
from app.errors.codes import Code
from app.inference.cutting import Cut, Segmented
from app.inference.engine import Inference
from app.inference.exported_graph import GraphError
from app.inference.loaded_graphs import Choice, Exported, Served
from app.inference.windows import EnlargedTooFarError
from app.registry.live import KnownVersion
from app.segmentation.arrays import npz
from app.segmentation.asking import Asked
from app.segmentation.describing import described, joined
from app.segmentation.negotiation import Representation
from app.segmentation.polygons import Left
from app.segmentation.rendering import confidence_png, mask_png, overlay_png, overlay_webp
from app.segmentation.upload import PostedPicture
from sats_core.data.pictures import Resized, Size, count_pixels, decode_image, decode_resized
from sats_core.errors import PictureError, PictureTooLargeError
from sats_core.limits import DECODED_BYTES

T = TypeVar("T")
Admit = Callable[[int], None]
"""Hears how many pixels a picture has before they are decoded, on the thread that decodes it."""


@dataclass(frozen=True)
class Answer:
    """A posted picture and what it shows."""

    posted: PostedPicture
    found: Segmented


def choose(inference: Inference, version: KnownVersion, *, live: bool) -> Choice:
    """Choose this version to answer; while a live one is loaded, the one before it may.

    Raises:
        NotReadyProblem: it has no graph.
    """
    try:
        exported = Exported.of(version)
    except GraphError as error:
        raise NotReadyProblem(f"version {version.number} cannot be served: {error}") from error
    return inference.graphs.live(exported) if live else inference.graphs.pinned(exported)


def pixels(posted: Sequence[PostedPicture], max_pixels: int) -> int:
    """Return how many pixels pictures will have once decoded.

    Those that cannot be decoded, or will be refused for their size, have none.
    """
    found = 0
    for one in posted:
        with suppress(PictureError):
            count = count_pixels(one.data)
            found += count if count <= max_pixels else 0
    return found


async def answer(
    inference: Inference,
    choice: Choice,
    posted: Sequence[PostedPicture],
    representation: Representation,
    asked: Asked,
    max_pixels: int,
    admit: Admit,
) -> tuple[Served, bytes]:
    """Return who answers, and the body of the answer. Cancelled, it takes its work back.

    Args:
        inference: where pictures are segmented.
        choice: who answers.
        posted: the pictures.
        representation: the answer's form.
        asked: what it shows.
        max_pixels: most that a picture may have.
        admit: hears how many pixels each has before they are decoded; what it raises is raised.

    Raises:
        GraphError: the version cannot be loaded, and none was live before.
        ClosedError: the service is being stopped.
        TooLargeProblem, InvalidProblem: as `segment`.
        InvalidProblem: the version does not know a class that is asked for.
        TooLargeProblem: there are more polygons than one answer has.
        NotAcceptableProblem: the picture has no such representation.
    """
    served = await inference.served(choice)
    catalogue = served.graph.catalogue
    how = asked.cut(catalogue, representation)
    if representation is not Representation.JSON:
        deliver = partial(_rendered, served, representation, asked, max_pixels)
        (body,) = await delivered(
            inference, served, posted, how, max_pixels, deliver, size=asked.size, admit=admit
        )
        return served, body
    left = Left()

    def described_one(one: PostedPicture, found: Segmented) -> bytes:
        shown = described(one.name, found, catalogue, asked.tolerance, left)
        return shown.model_dump_json().encode()

    pictures = await delivered(
        inference, served, posted, how, max_pixels, described_one, size=asked.size, admit=admit
    )
    return served, joined(served.exported.model, served.exported.number, pictures)


async def segment(
    inference: Inference,
    served: Served,
    posted: Sequence[PostedPicture],
    how: Cut,
    max_pixels: int,
) -> list[Answer]:
    """Decode and segment pictures, all or none; answers are in their order.

    Raises:
        TooLargeProblem: a picture has more than `max_pixels` pixels.
        InvalidProblem: a picture cannot be read; every such picture is named.
    """
    return await delivered(inference, served, posted, how, max_pixels, Answer)


async def delivered(
    inference: Inference,
    served: Served,
    posted: Sequence[PostedPicture],
    how: Cut,
    max_pixels: int,
    deliver: Callable[[PostedPicture, Segmented], T],
    *,
    size: int | None = None,
    admit: Admit = lambda _: None,
    decoded_bytes: float | None = DECODED_BYTES,
) -> list[T]:
    """Segment pictures, and make on the same lane what is wanted of each; raises as `segment`.

    Args:
        inference: where.
        served: who answers.
        posted: the pictures.
        how: how masks are cut.
        max_pixels: most that a picture may have.
        deliver: makes of a picture and its mask what is returned.
        size: at how many pixels of the longer side they are seen; None: as was scored.
        admit: as `answer`.
        decoded_bytes: as `Limits`; None for pictures that were stored.
    """
    view = served.graph.view_of(size)
    bounds = (max_pixels, view.shown, admit, decoded_bytes)
    decodes = [partial(_decoded, one, *bounds) for one in posted]
    try:
        return await inference.segment(
            served, decodes, view, how, lambda number, found: deliver(posted[number], found)
        )
    except ExceptionGroup as group:
        raise _problem(group) from group


def _rendered(
    served: Served,
    representation: Representation,
    asked: Asked,
    max_pixels: int,
    posted: PostedPicture,
    found: Segmented,
) -> bytes:
    """Return the body of an answer that is a file, made of its only picture.

    Under an overlay the picture is decoded once more: nobody holds it meanwhile.

    Raises:
        NotAcceptableProblem: the picture has no such representation.
    """
    catalogue = served.graph.catalogue
    decode = partial(decode_image, posted.data, max_pixels)
    match representation:
        case Representation.MASK:
            return mask_png(found.mask, catalogue)
        case Representation.OVERLAY:
            return overlay_png(decode, found.mask, catalogue, legend=asked.legend)
        case Representation.OVERLAY_WEBP:
            return overlay_webp(decode, found.mask, catalogue, legend=asked.legend)
        case Representation.CONFIDENCE:
            return confidence_png(found.every_score)
        case Representation.ARRAYS:
            return npz(found.mask, found.every_score, catalogue)
        case Representation.JSON:
            raise AssertionError("JSON is made picture by picture")


class _UnusableError(Exception):
    """A posted picture is not segmented."""

    def __init__(self, posted: PostedPicture, why: PictureError) -> None:
        super().__init__(f"{posted.name}: {why}")
        self.too_large = isinstance(why, PictureTooLargeError)
        field = "query.size" if isinstance(why, EnlargedTooFarError) else None
        code = Code.TOO_LARGE if self.too_large or field else Code.UNREADABLE
        self.detail = ErrorDetail(str(why), field=field, file=posted.name, code=code)


def _decoded(
    posted: PostedPicture, max_pixels: int, shown: Size, admit: Admit, decoded_bytes: float | None
) -> Resized:
    try:
        return decode_resized(posted.data, max_pixels, shown, admit, decoded_bytes)
    except PictureError as error:
        raise _UnusableError(posted, error) from error


def _problem(group: ExceptionGroup[Exception]) -> Exception:
    """Return what is said of pictures that went wrong."""
    unusable = [error for error in group.exceptions if isinstance(error, _UnusableError)]
    for error in unusable:
        if error.too_large:
            return TooLargeProblem(str(error), [error.detail])
    if unusable:
        return InvalidProblem(str(unusable[0]), [error.detail for error in unusable])
    return group.exceptions[0]
