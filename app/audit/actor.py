"""Who acts in a transaction: said once where it is opened, read by whatever is recorded in it."""

from sqlalchemy.orm import Session

from app.db import Actor, ActorType

_ACTOR = "actor"

COMMAND = Actor(ActorType.CLI)
"""Who acts where nobody said: HTTP and workers always say, so it is a command."""


def act_as(session: Session, actor: Actor) -> None:
    """Say who acts in a session."""
    session.info[_ACTOR] = actor


def actor_of(session: Session) -> Actor:
    """Return who acts in a session."""
    actor: Actor = session.info.get(_ACTOR, COMMAND)
    return actor
