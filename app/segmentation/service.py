"""From posted bytes to an answer."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from app.errors import ErrorDetail, InvalidProblem, NotReadyProblem, TooLargeProblem
from app.inference.engine import Inference
from app.inference.exported_graph import GraphError, Pixels, Segmented
from app.inference.loaded_graphs import Choice, Exported, Served
from app.registry.live import KnownVersion
from app.registry.schemas import hex_colour
from app.segmentation.negotiation import Representation
from app.segmentation.rendering import mask_png, overlay_png, run_lengths
from app.segmentation.schemas import (
    RunLengthsJson,
    SegmentationJson,
    SegmentedPictureJson,
    ShownClassJson,
)
from app.segmentation.upload import PostedPicture
from sats_core.classes import BACKGROUND, Catalogue, ClassInfo
from sats_core.data.pictures import count_pixels, decode_picture
from sats_core.errors import PictureError, PictureTooLargeError


@dataclass(frozen=True)
class Answer:
    """A picture, by name, and what it shows."""

    name: str
    picture: Pixels
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
    max_pixels: int,
) -> tuple[Served, bytes]:
    """Return who answers, and the body of the answer. Cancelled, it takes its work back.

    Raises:
        GraphError: the version cannot be loaded, and none was live before.
        ClosedError: the service is being stopped.
        TooLargeProblem, InvalidProblem: as `segment`.
    """
    served = await inference.served(choice)
    answers = await segment(inference, served, posted, max_pixels)
    return served, await inference.in_thread(lambda: render(answers, served, representation))


async def segment(
    inference: Inference, served: Served, posted: Sequence[PostedPicture], max_pixels: int
) -> list[Answer]:
    """Decode and segment pictures, all or none.

    Raises:
        TooLargeProblem: a picture has more than `max_pixels` pixels.
        InvalidProblem: a picture cannot be read; every such picture is named.
    """
    pictures = await _decoded(inference, posted, max_pixels)
    found = await inference.segment(served, pictures)
    return [
        Answer(one.name, picture, segmented)
        for one, picture, segmented in zip(posted, pictures, found, strict=True)
    ]


def render(answers: Sequence[Answer], served: Served, representation: Representation) -> bytes:
    """Return the body of the answer; a PNG is made of the first picture."""
    catalogue, first = served.graph.catalogue, answers[0]
    match representation:
        case Representation.MASK:
            return mask_png(first.found.mask, catalogue)
        case Representation.OVERLAY:
            return overlay_png(first.picture, first.found.mask, catalogue)
        case Representation.JSON:
            body = SegmentationJson(
                model=served.exported.model,
                version=served.exported.number,
                pictures=[_described(answer, catalogue) for answer in answers],
            )
            return body.model_dump_json().encode()


async def _decoded(
    inference: Inference, posted: Sequence[PostedPicture], max_pixels: int
) -> list[Pixels]:
    """Decode one picture after another: between two, others have their turn."""
    pictures = []
    faults = []
    for one in posted:
        try:
            decode = partial(decode_picture, one.data, max_pixels)
            pictures.append(await inference.in_thread(decode))
        except PictureTooLargeError as error:
            fault = ErrorDetail(str(error), file=one.name)
            raise TooLargeProblem(f"{one.name}: {error}", [fault]) from error
        except PictureError as error:
            faults.append(ErrorDetail(str(error), file=one.name))
    if faults:
        raise InvalidProblem(f"{faults[0].file}: {faults[0].message}", faults)
    return pictures


def _described(answer: Answer, catalogue: Catalogue) -> SegmentedPictureJson:
    mask = answer.found.mask
    height, width = mask.shape
    shown = [c for c in catalogue.classes if c.index in answer.found.scores]
    return SegmentedPictureJson(
        name=answer.name,
        width=width,
        height=height,
        classes=[_shown(c, answer.found) for c in sorted(shown, key=lambda c: c.index)],
    )


def _shown(info: ClassInfo, found: Segmented) -> ShownClassJson:
    mask = found.mask
    pixels = int((mask == info.index).sum())
    rle = None
    if info.index != BACKGROUND:
        rle = RunLengthsJson(size=mask.shape, counts=run_lengths(mask, info.index))
    return ShownClassJson(
        index=info.index,
        name=info.name,
        colour=hex_colour(info.colour),
        pixels=pixels,
        share=pixels / mask.size,
        score=found.scores[info.index],
        rle=rle,
    )
