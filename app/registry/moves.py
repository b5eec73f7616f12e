"""Moves of `live`: by the gate, on request, and back."""

from collections.abc import Container, Iterator
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.audit.actor import actor_of
from app.audit.service import Action, record
from app.db import Actor, AliasMove, Model, Version
from app.db.base import JsonObject
from app.registry.problems import (
    AlreadyLiveProblem,
    MovedMeanwhileProblem,
    NothingBeforeProblem,
    NotLiveProblem,
)
from app.registry.service import (
    LIVE,
    alias_history,
    get_version,
    live_version,
    lock_model,
    standing_version,
)
from app.webhooks.outbox import WebhookEvent, enqueue

GATE = "gate"
IMPORT = "import"
PROMOTE = "promote"
ROLLBACK = "rollback"


def go_live(
    session: Session, version: Version, kind: str = GATE, by: Actor | None = None
) -> AliasMove:
    """Point `live` at a version that passed the gate, or was imported to go live. Flushes.

    Args:
        session: whose transaction it is.
        version: goes live.
        kind: why.
        by: who asked for it, where that is not who acts in the session.
    """
    _tell_promoted(session, version, by or actor_of(session), version.task_id)
    return _move(session, version, kind, by or actor_of(session))


def promote(session: Session, model: Model, number: int) -> AliasMove:
    """Point `live` at a version because somebody asked for it. Flushes.

    Raises:
        NotFoundProblem: no such version, or it was deleted.
        AlreadyLiveProblem: it is live already.
    """
    lock_model(session, model.id)
    version = standing_version(session, model.id, number)
    live = live_version(session, model.id)
    if live is not None and live.id == version.id:
        raise AlreadyLiveProblem(f"version {number} is live already")
    _tell_promoted(session, version, actor_of(session))
    return _move(session, version, PROMOTE, actor_of(session))


def tag_of(sequence: int) -> str:
    """Return the entity tag of where `live` points after a move."""
    return f'"{sequence}"'


def point_live(
    session: Session, model: Model, number: int, known: Container[str] | None = None
) -> AliasMove:
    """Point `live` at a version, and return the move that brought it there. Flushes.

    Args:
        session: whose transaction it is.
        model: whose alias.
        number: of the version; nothing is moved where it is live already.
        known: tags of the last move as who asks may know it, or `*`; None: it does not matter.

    Raises:
        MovedMeanwhileProblem: the last move is none of these.
        NotFoundProblem: no such version, or it was deleted.
    """
    lock_model(session, model.id)
    last = next(iter(alias_history(session, model.id, limit=1)), None)
    if known is not None:
        told = {tag_of(last.sequence), "*"} if last else set()
        if not any(one in known for one in told):
            where = f"at version {last.version.number}, move {last.sequence}" if last else "nowhere"
            raise MovedMeanwhileProblem(f"`live` points {where}")
    version = standing_version(session, model.id, number)
    if last is not None and last.version_id == version.id:
        return last
    _tell_promoted(session, version, actor_of(session))
    return _move(session, version, PROMOTE, actor_of(session))


def _tell_promoted(
    session: Session, version: Version, by: Actor, task_id: str | None = None
) -> None:
    told: JsonObject = {"version": version.number, "by": _named(by)}
    enqueue(session, WebhookEvent.VERSION_PROMOTED, version.model.name, told, task_id)


def rollback(session: Session, model: Model, number: int) -> AliasMove:
    """Take the live version `number` back: `live` returns to what it was before. Flushes.

    Rolling back twice goes back two versions: a roll-back undoes a move, it is not one to undo.

    Raises:
        NotFoundProblem: no such version.
        NotLiveProblem: it is not the live one.
        NothingBeforeProblem: nothing was live before it, or what was is deleted.
    """
    lock_model(session, model.id)
    version = get_version(session, model.id, number)
    standing = list(islice(_standing(session, model), 2))
    if not standing or standing[0] != version.id:
        raise NotLiveProblem(f"version {number} is not live; only the live one can be rolled back")
    if len(standing) == 1:
        raise NothingBeforeProblem(f"nothing was live before version {number}")
    before = session.get_one(Version, standing[1])
    if before.deleted_at is not None:
        raise NothingBeforeProblem(
            f"version {before.number}, live before it, was deleted: promote one"
        )
    by = actor_of(session)
    told: JsonObject = {"version": number, "live": before.number, "by": _named(by)}
    enqueue(session, WebhookEvent.VERSION_ROLLED_BACK, model.name, told)
    return _move(session, before, ROLLBACK, by)


def version_before_live(session: Session, model: Model) -> int | None:
    """Return the number of the version that a roll-back would return to; None: it would not."""
    standing = list(islice(_standing(session, model), 2))
    if len(standing) < 2:
        return None
    before = session.get_one(Version, standing[1])
    return before.number if before.deleted_at is None else None


def _standing(session: Session, model: Model) -> Iterator[int]:
    """Yield ids of versions whose moves no roll-back has undone, the last one first."""
    moves = (
        select(AliasMove.version_id, AliasMove.kind)
        .where(AliasMove.model_id == model.id, AliasMove.alias == LIVE)
        .order_by(AliasMove.sequence.desc())
    )
    undone = 0
    for move in session.execute(moves):
        if move.kind == ROLLBACK:
            undone += 1
        elif undone:
            undone -= 1
        else:
            yield move.version_id


def _named(actor: Actor) -> JsonObject:
    return {"type": actor.type, "name": actor.name}


def _move(session: Session, version: Version, kind: str, by: Actor) -> AliasMove:
    last = alias_history(session, version.model_id, limit=1)
    before = last[0].version.number if last else None
    move = AliasMove(
        model_id=version.model_id,
        sequence=last[0].sequence + 1 if last else 1,
        version_id=version.id,
        version=version,
        kind=kind,
        actor=by,
    )
    session.add(move)
    session.flush()
    name = version.model.name
    # What is rolled back is the version that was live.
    of = before if kind == ROLLBACK else version.number
    record(
        session,
        Action.ROLLBACK if kind == ROLLBACK else Action.PROMOTE,
        f"/admin/models/{name}/versions/{of}",
        model=name,
        before={"live": before},
        after={"live": version.number, "kind": kind},
    )
    return move
