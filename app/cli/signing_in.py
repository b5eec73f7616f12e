"""`sats login`, `logout`: where a service is and by which key it is asked, kept for later."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.calling import Exit, endings, service, warn
from app.cli.logins import (
    LoginsError,
    change_logins,
    read_logins,
    same,
    seen_by_others,
    sent_openly,
)
from app.cli.printing import AsJson, print_json
from app.cli.refusing import MISSING, refusal
from sats_core.data.names import printable

if TYPE_CHECKING:
    from sats_client import Problem

LONGEST_KEY = 1000


def login(
    url: Annotated[
        str | None,
        typer.Argument(metavar="[URL]", help="Where the service is; without one: list them."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="-", help="`-`: the key is read from standard input.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Keep a service's address and API key for the commands that ask one.

    Asks for the key, or takes the one that is kept where that still works, and has the service
    check it. The service is the default from then on. SATS_URL, --url and SATS_API_KEY go before
    what is kept. Exits with 3 where the key is wrong, 5 where nobody answers.
    """
    if key not in (None, "-"):
        raise refusal("a key among a command's words is seen by others: --key - reads it")
    if url is None and key is not None:
        raise refusal("whose key is it? name the service's URL")
    with _refusals():
        if url is None:
            _list(as_json)
            return
        _log_in(same(url), read=key is not None, as_json=as_json)


def logout(
    url: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="The service; default: the default one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Forget a service and its key. The key goes on working: `sats keys revoke` ends it."""
    with _refusals():
        logins = read_logins()
        place = logins.default if url is None else same(url)
        if place is None or place not in logins.keys:
            where = "anywhere by default" if place is None else f"at {printable(place)}"
            raise refusal(f"nobody is logged in {where}", MISSING)
        change_logins(lambda now: now.without(place))
    if as_json:
        print_json({"url": place})
    else:
        typer.echo(f"logged out of {place}")


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except LoginsError as error:
        raise refusal(printable(str(error))) from error


def _list(as_json: bool) -> None:
    logins = read_logins()
    if as_json:
        print_json([{"url": url, "default": url == logins.default} for url in logins.keys])
        return
    for url in logins.keys:
        typer.echo(f"{url}{' (default)' if url == logins.default else ''}")


def _log_in(url: str, *, read: bool, as_json: bool) -> None:
    with endings():  # before anybody types a key for it
        from sats_client import Client

        Client(url, "").close()
    warn(seen_by_others(), sent_openly(url))
    key = _working_key(url, read=read)
    path = change_logins(lambda now: now.added(url, key))
    if as_json:
        print_json({"url": url, "default": True, "kept_in": str(path)})
    else:
        typer.echo(f"logged in at {url}, the default from now on; kept in {path}")
    said = [name for name in ("SATS_URL", "SATS_API_KEY") if os.environ.get(name, "").strip()]
    if said:
        typer.echo(f"sats: {' and '.join(said)} in the environment still go before it", err=True)


def _working_key(url: str, *, read: bool) -> str:
    kept = read_logins().keys.get(url)
    if not read and kept is not None and not _wrong(url, kept):
        return kept
    key = _read() if read else _asked()
    if fault := _wrong(url, key):
        raise refusal(printable(str(fault)), Exit.ACCESS)
    return key


def _read() -> str:
    if sys.stdin is None:
        raise refusal("standard input is closed: there is no key to read", Exit.FAILURE)
    return sys.stdin.buffer.readline(LONGEST_KEY).decode(errors="replace").strip()


def _asked() -> str:
    try:
        said: str = typer.prompt(
            "API key, or Enter for none", "", hide_input=True, show_default=False, err=True
        )
    except typer.Abort as error:  # ^C, or there is nobody to be asked
        typer.echo(err=True)  # ends the line that asks
        why = "no key was given; --key - reads it from standard input"
        raise refusal(why, Exit.FAILURE) from error
    return said.strip()


def _wrong(url: str, key: str) -> "Problem | None":
    """Return why the service does not know a key; None: it does, whatever the key may do there."""
    with service(url, key) as client:
        from sats_client import Problem

        try:
            client.overview()  # it is there, whatever models are
        except Problem as problem:
            elsewhere = not problem.slug or problem.status == HTTPStatus.NOT_FOUND
            if elsewhere or problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise  # no SATS service said so, none is at this path, or it could not look
            return problem if problem.status == HTTPStatus.UNAUTHORIZED else None
    return None
