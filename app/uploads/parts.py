"""What the calls for uploads in parts do."""

from datetime import timedelta

from sqlalchemy.orm import Session

from app.audit.actor import act_as
from app.db import Actor, LargeUploadState, present, read_session, utc_now, write_session
from app.errors import ErrorDetail, NotFoundProblem, TooLargeProblem
from app.errors.codes import Code
from app.http.services import Services
from app.keys.service import Caller
from app.storage import Blob
from app.storage.references import lock_blobs
from app.tasks.disk import check_room
from app.tasks.uploads import drop_uploads
from app.uploads import claims, large
from app.uploads.checks import Check
from app.uploads.cut import Parts
from app.uploads.large import parts_of
from app.uploads.large_schemas import (
    LargeUploadJson,
    LargeUploadLinks,
    LargeUploadWish,
    PartJson,
)
from app.uploads.problems import UploadClosedProblem, UploadUnfinishedProblem
from app.uploads.tokens import UploadGoneProblem, read_token

MOST_TOLD = 100
"""Parts that are missing, of which one answer says where to send them."""
URL_SECONDS = 3600.0
MOST_NAMED = 20
_COPIES = 2
"""Of an upload on this disk where there is no bucket: its parts, and what they become."""


def begin(services: Services, caller: Caller, wish: LargeUploadWish) -> LargeUploadJson:
    """Begin an upload, or go on with the one that was begun of the same bytes.

    Raises:
        TooLargeProblem, ByteLimitProblem, UploadLimitProblem: it is too much.
        DiskFullProblem: there would be no room for it.
    """
    most = services.settings.max_upload_bytes
    if wish.bytes > most:
        fault = ErrorDetail(f"more than {most}", field="bytes", code=Code.TOO_LARGE)
        raise TooLargeProblem(f"a data set may have {most} bytes", [fault])
    announced = Blob(wish.sha256 or "", wish.bytes)
    with write_session(services.engine) as session:
        row = large.begin(
            session,
            services.settings,
            caller.key_id,
            announced,
            wish.name,
            room=wish.bytes * (1 if services.blobs.elsewhere else _COPIES),
        )
    return look(services, caller, row.id)


def look(services: Services, caller: Caller, upload: str) -> LargeUploadJson:
    """Say where an upload stands.

    Raises:
        NotFoundProblem: the key has none of this id.
        BlobStoreDownError: nobody can tell which parts are there.
    """
    with read_session(services.engine) as session:
        row, state = large.get(session, caller.key_id, upload)
        left = (row.expires_at - present(session)).total_seconds()
    parts = parts_of(row)
    stored, missing, ends = list(range(1, parts.count + 1)), list[PartJson](), None
    if state in (LargeUploadState.OPEN, LargeUploadState.FAILED):
        stored = _stored(services, row.id, parts)
    if state == LargeUploadState.OPEN:
        lacking = _missing(parts, stored)[:MOST_TOLD]
        seconds = max(1.0, min(URL_SECONDS, left))
        missing, signed = _addressed(services, row.id, parts, lacking, seconds)
        ends = utc_now() + timedelta(seconds=seconds) if signed else None
    return LargeUploadJson(
        upload=row.id,
        state=state,
        name=row.name,
        bytes=row.bytes,
        sha256=row.sha256,
        part_bytes=row.part_bytes,
        parts=parts.count,
        stored=stored,
        missing=missing,
        urls_expire_at=ends,
        error=row.error,
        expires_at=row.expires_at,
        links=_links(row.id),
    )


def size_of_part(services: Services, caller: Caller, upload: str, number: int) -> int:
    """Return how many bytes a part has that may come now.

    Raises:
        NotFoundProblem: the key has no such upload, or that has no such part.
        UploadClosedProblem: no part is taken any more.
        DiskFullProblem: there would be no room for it.
    """
    with read_session(services.engine) as session:
        row, state = large.get(session, caller.key_id, upload)
    parts = parts_of(row)
    if not 1 <= number <= parts.count:
        raise NotFoundProblem(f"the upload has {parts.count} parts, from 1")
    if state != LargeUploadState.OPEN:
        raise UploadClosedProblem(f"the upload is {state}")
    check_room(services.settings, coming=parts.size(number))
    return parts.size(number)


def complete(services: Services, caller: Caller, upload: str) -> LargeUploadJson:
    """Have the parts put together; whoever asks again is told how far that is.

    Raises:
        NotFoundProblem: the key has no such upload.
        UploadUnfinishedProblem: parts are missing; names them.
        BusyProblem: as many uploads are put together as may be.
    """
    found = look(services, caller, upload)
    if found.state != LargeUploadState.OPEN:
        return found
    if found.missing:
        raise _unfinished(found)

    def take() -> Check | None:
        with write_session(services.engine) as session:
            claimed = claims.claim(session, upload)
        if claimed is None:
            return None
        return Check(services.engine, services.blobs, services.settings, claimed)

    services.uploads.checks.start(take)
    return look(services, caller, upload)


def remove(services: Services, caller: Caller, actor: Actor, upload: str) -> None:
    """Forget an upload with all that came of it; a task that was made of it keeps its own.

    What was sent at once is named by its token, and is there until a task is made of it.

    Raises:
        NotFoundProblem: the key has no such upload.
    """
    with write_session(services.engine) as session:
        act_as(session, actor)
        if large.is_id(upload):
            blob = large.forget(session, caller.key_id, upload)
        else:
            blob = _by_token(services, session, caller, upload)
    if large.is_id(upload):
        services.blobs.parts.remove(upload)
    if blob is not None:
        drop_uploads(services.engine, services.blobs, [blob])


def _by_token(services: Services, session: Session, caller: Caller, token: str) -> str:
    """Give up what a token stands for, and return its blob; whoever makes a task of it waits."""
    try:
        blob = read_token(services.secret, token, caller.key_id, present(session)).blob.key
    except UploadGoneProblem as problem:
        raise NotFoundProblem(problem.detail) from problem
    lock_blobs(session, [blob])
    if not large.give_up(session, caller.key_id, blob):
        named = large.id_of(session, caller.key_id, blob)
        if named is not None:
            raise NotFoundProblem(f"it is kept as an upload with an id: DELETE /uploads/{named}")
        raise NotFoundProblem("the upload is kept no more: it was removed, or is a task's now")
    return blob


def _stored(services: Services, upload: str, parts: Parts) -> list[int]:
    """Return the parts that are there; one of another size is not."""
    sizes = services.blobs.parts.sizes(upload)
    return [n for n in range(1, parts.count + 1) if sizes.get(n) == parts.size(n)]


def _missing(parts: Parts, stored: list[int]) -> list[int]:
    there = set(stored)
    return [number for number in range(1, parts.count + 1) if number not in there]


def _addressed(
    services: Services, upload: str, parts: Parts, numbers: list[int], seconds: float
) -> tuple[list[PartJson], bool]:
    """Return where to send parts, and whether that is good for so long only."""
    signed = services.blobs.parts.addresses(upload, numbers, seconds) if numbers else None
    found = []
    for position, number in enumerate(numbers):
        own = f"/uploads/{upload}/parts/{number}"
        found.append(
            PartJson(
                number=number,
                offset=parts.offset(number),
                bytes=parts.size(number),
                url=signed[position].url if signed else own,
                headers=signed[position].headers if signed else {},
            )
        )
    return found, signed is not None


def _unfinished(found: LargeUploadJson) -> UploadUnfinishedProblem:
    why = "it did not come, or has another size"
    faults = [
        ErrorDetail(why, field=f"parts.{one.number}", code=Code.MISSING)
        for one in found.missing[:MOST_NAMED]
    ]
    lacking = found.parts - len(found.stored)
    return UploadUnfinishedProblem(f"{lacking} of {found.parts} parts are missing", faults)


def _links(upload: str) -> LargeUploadLinks:
    own = f"/uploads/{upload}"
    return LargeUploadLinks(
        self=own, parts=f"{own}/parts", complete=f"{own}:complete", tasks="/tasks"
    )
