"""From posted bytes to an answer."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from app.errors import ErrorDetail, InvalidProblem, NotReadyProblem, TooLargeProblem
from app.inference.cutting import Cut, Segmented
from app.inference.engine import Inference
from app.inference.exported_graph import GraphError
from app.inference.loaded_graphs import Choice, Exported, Served
from app.registry.live import KnownVersion
from app.segmentation.arrays import npz
from app.segmentation.asking import Asked
from app.segmentation.describing import described
from app.segmentation.negotiation import Representation
from app.segmentation.polygons import Left
from app.segmentation.rendering import confidence_png, mask_png, overlay_png, overlay_webp
from app.segmentation.schemas import SegmentationJson
from app.segmentation.upload import PostedPicture
from sats_core.data.pictures import Resized, count_pixels, decode_image, decode_resized
from sats_core.errors import PictureError, PictureTooLargeError


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
) -> tuple[Served, bytes]:
    """Return who answers, and the body of the answer. Cancelled, it takes its work back.

    Raises:
        GraphError: the version cannot be loaded, and none was live before.
        ClosedError: the service is being stopped.
        TooLargeProblem, InvalidProblem: as `segment`.
        InvalidProblem: the version does not know a class that is asked for.
        TooLargeProblem: there are more polygons than one answer has.
        NotAcceptableProblem: the picture has no such representation.
    """
    served = await inference.served(choice)
    how = asked.cut(served.graph.catalogue, representation)
    answers = await segment(inference, served, posted, how, max_pixels)
    if representation is Representation.JSON:
        return served, await _described(inference, served, answers, asked)
    rendering = partial(render, answers[0], served, representation, asked, max_pixels)
    return served, await inference.in_thread(rendering)


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
    pictures = await _decoded(inference, served, posted, max_pixels)
    found = await inference.segment(served, pictures, how)
    return [Answer(one, segmented) for one, segmented in zip(posted, found, strict=True)]


def render(
    shown: Answer,
    served: Served,
    representation: Representation,
    asked: Asked,
    max_pixels: int,
) -> bytes:
    """Return the body of an answer that is a file, made of its only picture.

    Under an overlay the picture is decoded once more: nobody holds it meanwhile.

    Raises:
        NotAcceptableProblem: the picture has no such representation.
    """
    catalogue, found = served.graph.catalogue, shown.found
    decode = partial(decode_image, shown.posted.data, max_pixels)
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


async def _described(
    inference: Inference, served: Served, answers: Sequence[Answer], asked: Asked
) -> bytes:
    """Describe one picture after another: between two, others have their turn, and one who has
    left is worked for no longer."""
    catalogue, left = served.graph.catalogue, Left()
    pictures = []
    for one in answers:
        describing = partial(
            described, one.posted.name, one.found, catalogue, asked.tolerance, left
        )
        pictures.append(await inference.in_thread(describing))
    body = SegmentationJson(
        model=served.exported.model, version=served.exported.number, pictures=pictures
    )
    return await inference.in_thread(lambda: body.model_dump_json().encode())


async def _decoded(
    inference: Inference, served: Served, posted: Sequence[PostedPicture], max_pixels: int
) -> list[Resized]:
    """Decode one picture after another, to what the version sees: between two, others have their
    turn."""
    pictures = []
    faults = []
    for one in posted:
        try:
            decode = partial(decode_resized, one.data, max_pixels, served.graph.shown)
            pictures.append(await inference.in_thread(decode))
        except PictureTooLargeError as error:
            fault = ErrorDetail(str(error), file=one.name)
            raise TooLargeProblem(f"{one.name}: {error}", [fault]) from error
        except PictureError as error:
            faults.append(ErrorDetail(str(error), file=one.name))
    if faults:
        raise InvalidProblem(f"{faults[0].file}: {faults[0].message}", faults)
    return pictures
