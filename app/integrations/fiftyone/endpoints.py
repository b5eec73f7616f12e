"""`GET /admin/models/{model}/versions/{number}/fiftyone`."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.types import Send

from app.db import Version, read_session
from app.errors import BusyProblem, InvalidProblem, NotFoundProblem, UnavailableProblem
from app.http.dependencies import AppServices, require
from app.http.problems import Responses, responses
from app.http.services import Services
from app.integrations.fiftyone.dataset import KeptPictures, Writing
from app.integrations.fiftyone.downloads import Downloads
from app.keys.problems import KEY_PROBLEMS
from app.keys.service import Scope
from app.registry.files import DamagedVersionProblem
from app.registry.held_out import held_out_sets
from app.registry.paths import ModelName, Number
from app.registry.service import served_version
from app.segmentation.admission import deadline_of
from app.segmentation.choosing import choose_version
from app.segmentation.waiting import answering

ZIP = "application/zip"
_DOWNLOADS = Downloads()
"""Of this process."""

router = APIRouter(
    prefix="/admin",
    tags=["admin"],
    # Pictures that somebody's task brought: not for keys that may only look.
    dependencies=[Depends(require(Scope.ADMIN))],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, UnavailableProblem),
)

_ANSWER: Responses = {
    200: {
        "description": "The zip, sent as it is made: its length is not known before.",
        "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}},
    }
}


class _Zip(StreamingResponse):
    """A zip whose making ends when its client leaves, be it before the first piece was sent."""

    def __init__(self, name: str, first: bytes, rest: AsyncGenerator[bytes, None]) -> None:
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        super().__init__(_all(first, rest), media_type=ZIP, headers=headers)
        self._rest = rest

    async def stream_response(self, send: Send) -> None:
        """Send it."""
        async with aclosing(self._rest):
            await super().stream_response(send)


@router.get(
    "/models/{model}/versions/{number}/fiftyone",
    summary="Download held-out pictures for FiftyOne",
    operation_id="versions_fiftyone",
    response_class=StreamingResponse,
    responses=_ANSWER | responses(NotFoundProblem, DamagedVersionProblem, BusyProblem),
)
async def fiftyone(services: AppServices, model: ModelName, number: Number) -> StreamingResponse:
    """Segment the pictures that a version is scored on, and send them with truth and predictions.

    The zip has `data/`, `ground_truth/` and `predictions/`, two image segmentation directories that
    share their pictures, and `mask_targets.json`. Masks are grey PNGs of class indices, 255 is
    ignored. Where pictures cannot be read, `skipped.json` lists objects with `version`, `position`
    (null: all pictures of that version's task) and `reason`. A connection that ends before the zip
    does has failed. One zip is made at a time; for another the answer is 503 with `Retry-After`.
    """
    kept = await run_in_threadpool(_kept, services, model, number)
    pieces = _pieces(services, model, number, kept)
    first = await anext(pieces)  # what goes wrong before it is a problem, and no zip
    return _Zip(f"{model}-{number}-fiftyone.zip", first, pieces)


async def _pieces(
    services: Services, model: str, number: int, kept: Sequence[KeptPictures]
) -> AsyncGenerator[bytes, None]:
    """Yield the zip; raises what the answer is, where there is none, before its first piece."""
    with _DOWNLOADS.alone():
        async with answering(deadline_of(services)):
            choice = await choose_version(services, model, number)
            served = await services.inference.served(choice)
        writing = Writing(services.inference, services.blobs, served, services.settings)
        async with aclosing(writing.zipped(kept)) as made:
            async for piece in made:
                yield piece


async def _all(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for piece in rest:
        yield piece


def _kept(services: Services, model: str, number: int) -> list[KeptPictures]:
    """Return where the held-out pictures of a version's lineage lie.

    Raises:
        NotFoundProblem: there is no such version, or nothing is kept.
    """
    with read_session(services.engine) as session:
        version = served_version(session, model, number)
        sets = [one for one in held_out_sets(session, version) if one.pictures]
        ids = [one.version_id for one in sets]
        rows = session.execute(select(Version.id, Version.number).where(Version.id.in_(ids)))
        numbers = {row.id: row.number for row in rows}
    if not sets:
        raise NotFoundProblem(
            f"no held-out pictures are kept of version {number} and those that it was learned "
            "through: their tasks forbade it, or they were deleted"
        )
    return [KeptPictures(numbers[one.version_id], one.blob) for one in sets]
