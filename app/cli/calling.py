"""What commands that ask a running service share: who is asked, and how it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.common import REFUSED, refusal
from app.registry.schemas import MAX_NUMBER
from sats_core.data.names import printable

if TYPE_CHECKING:
    from sats_client import Client
    from sats_client.records import TaskRecord

Url = Annotated[
    str | None,
    typer.Option(
        help="Where the service is; default: http://127.0.0.1:8000. SATS_API_KEY is the key.",
        envvar="SATS_URL",
    ),
]


class Exit(IntEnum):
    """Exit statuses; 2 is a command that was not understood, as everywhere."""

    FAILURE = 1
    ACCESS = 3
    REFUSED = 4
    UNREACHABLE = 5
    HELD = 10
    FAILED = 11
    CANCELLED = 12


@contextmanager
def service(url: str | None) -> Iterator["Client"]:
    """Give a client of a service; what goes wrong inside ends the command, by its meaning."""
    try:
        import sats_client
    except ImportError as error:
        raise refusal("this needs sats-client: pip install ./clients/python", 1) from error
    try:
        client = sats_client.Client(url)
    except ValueError as error:
        raise refusal(printable(str(error)), REFUSED) from error
    with client:
        try:
            yield client
        except sats_client.SatsError as error:
            raise _said(error, _status(error)) from error
        except BrokenPipeError:
            raise  # whoever reads stdout has enough: click's matter
        except (ValueError, OSError) as error:  # a folder without files, or that cannot be read
            raise _said(error, REFUSED) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error


def _status(error: Exception) -> int:
    import sats_client as sats

    if isinstance(error, sats.AccessDenied):
        return Exit.ACCESS
    if isinstance(error, sats.Refused | sats.NotFound | sats.Conflict):
        return Exit.REFUSED
    if isinstance(error, sats.Unreachable | sats.BadAnswer | sats.Overloaded):
        return Exit.UNREACHABLE
    return Exit.FAILURE


def _said(error: Exception, status: int) -> typer.Exit:
    return refusal("\n".join(map(printable, str(error).splitlines())), status)


def end_of(task: "TaskRecord") -> int:
    """Return the exit status that says how a task has ended."""
    from sats_client import State

    ends = {State.FAILED: Exit.FAILED, State.CANCELLED: Exit.CANCELLED}
    return Exit.HELD if task.held else ends.get(State(task.state), 0)


def model_and_number(text: str) -> tuple[str, int | None]:
    """Return what `MODEL` or `MODEL@N` names; None: its live version."""
    name, at, number = text.partition("@")
    if not at:
        return name, None
    if not (number.isascii() and number.isdecimal() and 0 < int(number) <= MAX_NUMBER):
        raise refusal(f"{printable(text)}: behind the @ stands a version's number")
    return name, int(number)
