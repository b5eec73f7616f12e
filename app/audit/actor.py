"""Who acts in a transaction: said once where it is opened, read by whatever is recorded in it."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

_ACTOR = "actor"


class ActorType(StrEnum):
    """What kind of somebody acts."""

    KEY = "key"  # a call with an API key
    KEYLESS = "keyless"  # a call without one
    WORKER = "worker"  # a worker by itself
    CLI = "cli"  # a command on the service's own machine


@dataclass(frozen=True)
class Actor:
    """Who acts.

    Attributes:
        type: what kind.
        name: of the key, of the worker, of the machine's user; "" where there is none.
        request_id: id of the request that it is done for, if there is one.
    """

    type: ActorType
    name: str = ""
    request_id: str | None = None


COMMAND = Actor(ActorType.CLI)
"""Who acts where nobody said: HTTP and workers always say, so it is a command."""


def act_as(session: Session, actor: Actor) -> None:
    """Say who acts in a session."""
    session.info[_ACTOR] = actor


def actor_of(session: Session) -> Actor:
    """Return who acts in a session."""
    actor: Actor = session.info.get(_ACTOR, COMMAND)
    return actor
