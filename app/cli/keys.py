"""`sats keys ...`."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.cli.common import database, refusal
from app.db import read_session, write_session
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
) -> None:
    """Make a key and print it: this is the only time it can be seen."""
    if not name.isprintable() or not 1 <= len(name) <= 100:
        raise refusal("a name has 1 to 100 printable characters")
    secret = read_secret(get_settings())
    with database() as engine, write_session(engine) as session:
        key = create_key(session, secret, name, scope)
    typer.echo(key)


@keys.command("list")
def show() -> None:
    """List all keys; their text is not stored."""
    table = Table("name", "scopes", "made", "revoked")
    with database() as engine, read_session(engine) as session:
        for key in list_keys(session):
            revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else ""
            made = f"{key.created_at:%Y-%m-%d %H:%M}"
            table.add_row(key.name, ", ".join(key.scopes), made, revoked)
    Console().print(table)


@keys.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="Name of the key.")]) -> None:
    """Stop a key from working, at once."""
    with database() as engine, write_session(engine) as session:
        revoke_key(session, name)
    typer.echo(f"revoked: {name}")
