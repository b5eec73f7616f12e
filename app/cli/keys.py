"""`sats keys ...`."""

from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from app.cli.common import database, signed
from app.cli.refusing import refusal
from app.db import ApiKey, read_session, write_session
from app.errors.fields import invalid_fields
from app.keys.schemas import KeyWish
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key, list_keys, revoke_key
from app.settings import get_settings

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
        int | None, typer.Option(help="Most requests, for each process of the API.")
    ] = None,
    pictures_per_minute: Annotated[
        int | None, typer.Option(help="Most pictures to /segment, likewise.")
    ] = None,
    queued_tasks: Annotated[int | None, typer.Option(help="Most of its tasks that wait.")] = None,
    stored_bytes: Annotated[
        int | None, typer.Option(help="Most bytes that its tasks keep.")
    ] = None,
) -> None:
    """Make a key and print it: this is the only time it can be seen."""
    wish = _wish(
        name=name,
        scopes=scope,
        models=model or [],
        expires_at=expires,
        requests_per_minute=requests_per_minute,
        pictures_per_minute=pictures_per_minute,
        queued_tasks=queued_tasks,
        stored_bytes=stored_bytes,
    )
    secret = read_secret(get_settings())
    with database() as engine, write_session(engine) as session:
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
    typer.echo(key)


def _wish(**wanted: Any) -> KeyWish:
    try:
        return KeyWish.model_validate(wanted)
    except ValidationError as error:
        fault = invalid_fields(error.errors()).errors[0]
        raise refusal(f"{fault.field}: {fault.message}") from error


@keys.command("list")
def show() -> None:
    """List all keys; their text is not stored."""
    columns = ("id", "name", "scopes", "models", "limits", "made", "used", "expires", "revoked")
    table = Table(*columns)
    with database() as engine, read_session(engine) as session:
        for key in list_keys(session):
            times = (key.created_at, key.last_used_at, key.expires_at, key.revoked_at)
            bound = ", ".join(key.models or [])
            scopes = ", ".join(key.scopes)
            table.add_row(str(key.id), key.name, scopes, bound, _limits(key), *map(_time, times))
    Console().print(table)


def _limits(key: ApiKey) -> str:
    limits = {
        "requests/min": key.requests_per_minute,
        "pictures/min": key.pictures_per_minute,
        "queued tasks": key.queued_tasks,
        "bytes": key.stored_bytes,
    }
    return ", ".join(f"{most} {what}" for what, most in limits.items() if most is not None)


def _time(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if time else ""


@keys.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="Name of the key.")]) -> None:
    """Stop a key from working, at once."""
    with database() as engine, write_session(engine) as session:
        signed(session)
        revoke_key(session, name)
    typer.echo(f"revoked: {name}")
