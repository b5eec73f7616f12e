"""What commands that ask a running service share: who is asked, and how it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.logins import LoginsError, seen_by_others, sent_openly, who_is_asked
from app.cli.refusing import FULL, REFUSED, refusal
from sats_core.data.names import printable
from sats_core.limits import MAX_INT32

if TYPE_CHECKING:
    from sats_client import Client
    from sats_client.records import TaskRecord

Url = Annotated[
    str | None,
    typer.Option(
        help="Where the service is; default: where `sats login` was, else http://127.0.0.1:8000. "
        "SATS_API_KEY is the key, else the one that `sats login` keeps for it.",
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


INTERRUPTED = 130
"""Exit status after ^C, as of a shell."""


@contextmanager
def service(url: str | None, key: str | None = None) -> Iterator["Client"]:
    """Give a client of a service; what goes wrong inside ends the command, by its meaning.

    Args:
        url: that the call names; None: where somebody has logged in, else this machine's.
        key: that is sent; None: the environment's, or the one that was kept for the address.
    """
    with endings():
        from sats_client import Client

        asked = asked_service(url) if key is None else (url, key)
        with Client(*asked) as client:
            yield client


def asked_service(url: str | None) -> tuple[str, str | None]:
    """Return the address that is asked, and its key; None: the environment's.

    Raises:
        LoginsError: where somebody has logged in cannot be read.
    """
    from sats_client import DEFAULT_URL

    if url is not None and not url.strip():
        raise refusal("--url is empty: leave it out, or say where the service is")
    asked, key = who_is_asked(url, DEFAULT_URL)
    kept = key is not None
    sent = key if kept else os.environ.get("SATS_API_KEY", "").strip()
    warn(seen_by_others() if kept else None, sent_openly(asked) if sent else None)
    return asked, key


def warn(*warnings: str | None) -> None:
    """Say on stderr what there is to say; None: nothing."""
    for said in filter(None, warnings):
        typer.echo(f"sats: {printable(said)}", err=True)


@contextmanager
def endings() -> Iterator[None]:
    """Whatever goes wrong inside, where a service is asked, ends the command by its meaning."""
    need_client()
    from sats_client import SatsError

    try:
        yield
    except SatsError as error:
        raise _said(error, _status(error)) from error
    except BrokenPipeError:
        raise  # whoever reads stdout has enough: click's matter
    except (ValueError, OSError, LoginsError) as error:  # no address, a folder without files, ...
        full = isinstance(error, OSError) and error.errno in FULL
        raise _said(error, Exit.FAILURE if full else REFUSED) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(INTERRUPTED) from error


def need_client() -> None:
    """Refuse where `sats-client`, a distribution of its own, is not installed."""
    if find_spec("sats_client") is None:
        raise refusal("this needs sats-client: pip install ./clients/python", Exit.FAILURE)


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
    if not (number.isascii() and number.isdecimal() and 0 < int(number) <= MAX_INT32):
        raise refusal(f"{printable(text)}: behind the @ stands a version's number")
    return name, int(number)
