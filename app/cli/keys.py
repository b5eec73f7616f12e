"""`sats keys ...`."""

from datetime import datetime
from operator import itemgetter
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from app.cli.common import database, signed
from app.cli.completing import Command
from app.cli.printing import AsJson, Form, Output, Row, print_all, print_json
from app.cli.refusing import refusal
from app.db import read_session, write_session
from app.errors.fields import invalid_fields
from app.keys.schemas import KeyWish, NewKeyJson, key_json
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key, find_key, list_keys, revoke_key
from app.settings import get_settings

LIMITS = {
    "requests_per_minute": "requests/min",
    "pictures_per_minute": "pictures/min",
    "concurrent_requests": "at once",
    "queued_tasks": "queued tasks",
    "stored_bytes": "bytes",
}
"""What a table calls them."""

keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@keys.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Who or what will use the key.")],
    scope: Annotated[
        list[Scope], typer.Option(help="What it may do; give it more than once for more.")
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(help="The only model that it may use; more than once for more."),
    ] = None,
    expires: Annotated[
        datetime | None, typer.Option(help="When it stops to work, in UTC; default: never.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(help="Most requests, to all processes of the API together.")
    ] = None,
    pictures_per_minute: Annotated[
        int | None, typer.Option(help="Most pictures to /segment, likewise.")
    ] = None,
    concurrent_requests: Annotated[
        int | None,
        typer.Option(help="Most requests with pictures at a time, for each process of the API."),
    ] = None,
    queued_tasks: Annotated[int | None, typer.Option(help="Most of its tasks that wait.")] = None,
    stored_bytes: Annotated[
        int | None, typer.Option(help="Most bytes that its tasks keep.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: this is the only time it can be seen."""
    wish = _wish(
        name=name,
        scopes=scope,
        models=model or [],
        expires_at=expires,
        requests_per_minute=requests_per_minute,
        pictures_per_minute=pictures_per_minute,
        concurrent_requests=concurrent_requests,
        queued_tasks=queued_tasks,
        stored_bytes=stored_bytes,
    )
    with database() as engine:
        secret = read_secret(get_settings(), engine)
        with write_session(engine) as session:
            signed(session)
            key = create_key(
                session,
                secret,
                wish.name,
                wish.scopes,
                models=wish.models,
                expires_at=wish.expires_at,
                limits=wish.limits,
            )
            made = NewKeyJson(**key_json(find_key(session, wish.name)).model_dump(), key=key)
    if as_json:
        print_json(made.model_dump())
    else:
        typer.echo(key)


def _wish(**wanted: Any) -> KeyWish:
    try:
        return KeyWish.model_validate(wanted)
    except ValidationError as error:
        fault = invalid_fields(error.errors()).errors[0]
        raise refusal(f"{fault.field}: {fault.message}") from error


@keys.command("list", cls=Command)
def show(output: Output = Form.TABLE) -> None:
    """List all keys, the oldest first; their text is not stored."""
    with database() as engine, read_session(engine) as session:
        found = [key_json(key).model_dump() for key in list_keys(session)]
    print_all(found, output, _row, itemgetter("name"))


def _row(key: Row) -> Row:
    return {
        "id": key["id"],
        "name": key["name"],
        "scopes": key["scopes"],
        "models": key["models"],
        "limits": [f"{key[name]} {what}" for name, what in LIMITS.items() if key[name] is not None],
        "made": key["created_at"],
        "used": key["last_used_at"],
        "expires": key["expires_at"],
        "revoked": key["revoked_at"],
    }


@keys.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="Name of the key.")], as_json: AsJson = False
) -> None:
    """Stop a key from working, at once."""
    with database() as engine, write_session(engine) as session:
        signed(session)
        ended = key_json(revoke_key(session, name))
    if as_json:
        print_json(ended.model_dump())
    else:
        typer.echo(f"revoked: {name}")
