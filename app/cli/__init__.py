"""`sats`: run the service and ask one, bring models in and out, make keys, clean up."""

from importlib import import_module
from importlib.metadata import version as installed
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from app.cli.common import check_settings

COMMANDS = {
    "serve": "running",
    "api": "running",
    "worker": "running",
    "migrate": "running",
    "import": "importing:import_model",
    "import-project": "projects:import_project",
    "export": "exporting",
    "segment": "segmenting",
    "submit": "submitting",
    "tasks": "submitting",
    "watch": "submitting",
    "cancel": "submitting",
    "retry": "submitting",
    "versions": "promoting",
    "show": "promoting",
    "promote": "promoting",
    "rollback": "promoting",
    "gc": "collecting",
    "doctor": "examining",
    "demo": "demo",
    "keys": "keys",
    "audit": "audit",
}
"""The module of each, and what it is called there where that is not its own name."""


class _Commands(TyperGroup):
    """Commands whose modules are imported when they are asked for: none pays for the others."""

    def __init__(self, **of_group: Any) -> None:
        super().__init__(**of_group)
        self.commands = dict.fromkeys(COMMANDS, self)  # the names alone are read

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as typer calls it
        """Name all of them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - as typer calls it
        """Return a command; None: there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        found = getattr(import_module(f"app.cli.{module}"), name or cmd_name)
        if isinstance(found, typer.Typer):
            command: Any = get_group(found)
        else:
            alone = typer.Typer(add_completion=False)
            alone.command(cmd_name)(found)
            command = get_command(alone)
        command.name = cmd_name
        return command

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
