"""Who does something, as records of it hold it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import Dialect, String, TypeDecorator
from sqlalchemy.engine.default import DefaultExecutionContext


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
        request_id: id of the request that it is done for, if there is one; tables that are not the
            audit log do not hold it.
    """

    type: ActorType
    name: str = ""
    request_id: str | None = field(default=None, compare=False)


def name_of(column: str) -> Callable[[DefaultExecutionContext], str]:
    """Return the default of a column from before there were actors: a key's name, or "".

    Args:
        column: name of the one that holds the actor.
    """

    def name(context: DefaultExecutionContext) -> str:
        actor = context.get_current_parameters().get(column)  # type: ignore[no-untyped-call]
        return actor.name if actor is not None and actor.type == ActorType.KEY else ""

    return name


def of_name(name: str) -> Actor:
    """Return whom a name in one of those columns means, of who calls over HTTP."""
    return Actor(ActorType.KEYLESS) if name in _NO_KEY else Actor(ActorType.KEY, name)


_NO_KEY = ("", "a caller without a key")


class ActorColumn(TypeDecorator[Actor]):
    """An actor as text: the type, and behind a space the name if there is one."""

    impl = String(220)
    cache_ok = True

    def process_bind_param(self, value: Actor | None, _dialect: Dialect) -> str | None:
        """Write type and name."""
        if value is None:
            return None
        return f"{value.type} {value.name}" if value.name else str(value.type)

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Actor | None:
        """Read type and name."""
        if value is None:
            return None
        kind, _, name = value.partition(" ")
        return Actor(ActorType(kind), name)
