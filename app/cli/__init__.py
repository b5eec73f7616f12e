"""`sats`: run the service and ask one, bring models in and out, make keys, clean up."""

from importlib.metadata import version as installed
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from app.cli.audit import audit
from app.cli.collecting import gc
from app.cli.common import check_settings
from app.cli.demo import demo
from app.cli.examining import doctor
from app.cli.exporting import export
from app.cli.importing import import_model
from app.cli.keys import keys
from app.cli.projects import import_project
from app.cli.promoting import promote, rollback, show, versions
from app.cli.running import api, migrate, serve, worker
from app.cli.segmenting import segment
from app.cli.signing_in import login, logout
from app.cli.submitting import cancel, retry, submit, tasks, watch


class _Commands(TyperGroup):
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command, and let none but its help begin with wrong settings."""
        found = super().resolve_command(ctx, args)
        if "--help" not in args:
            check_settings()
        return found


cli = typer.Typer(cls=_Commands, help=__doc__, no_args_is_help=True, add_completion=False)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"sats {installed('sats')}")
        raise typer.Exit


@cli.callback()
def main(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say which it is."),
    ] = False,
) -> None:
    """Do nothing: what there is to do is a command's."""


cli.command()(serve)
cli.command()(api)
cli.command()(worker)
cli.command()(migrate)
cli.command("import")(import_model)
cli.command("import-project")(import_project)
cli.command()(export)
cli.command()(segment)
for command in (login, logout):
    cli.command()(command)
for command in (submit, tasks, watch, cancel, retry, versions, show, promote, rollback):
    cli.command()(command)
cli.command()(gc)
cli.command()(doctor)
cli.command()(demo)
cli.add_typer(keys, name="keys")
cli.add_typer(audit, name="audit")
