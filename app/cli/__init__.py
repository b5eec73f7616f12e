"""`sats`: run the service and ask one, bring models in and out, make keys, clean up."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version as installed
from types import MappingProxyType
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "serve": "running:serve",
        "api": "running:api",
        "worker": "running:worker",
        "migrate": "running:migrate",
        "import": "importing:import_model",
        "import-project": "projects:import_project",
        "export": "exporting:export",
        "push": "pushing:push",
        "segment": "segmenting:segment",
        "login": "signing_in:login",
        "logout": "signing_in:logout",
        "submit": "submitting:submit",
        "tasks": "submitting:tasks",
        "watch": "submitting:watch",
        "events": "submitting:events",
        "cancel": "submitting:cancel",
        "retry": "submitting:retry",
        "workers": "workers:workers",
        "versions": "promoting:versions",
        "show": "promoting:show",
        "curve": "promoting:curve",
        "promote": "promoting:promote",
        "rollback": "promoting:rollback",
        "retire": "retiring:retire",
        "gc": "collecting:gc",
        "doctor": "examining:doctor",
        "demo": "demo:demo",
        "keys": "keys:keys",
        "audit": "audit:audit",
    }
)
"""The commands, and where each is: its module is loaded when it is needed. A shell that completes
a word, or a command that asks a service elsewhere, need not wait for the service's own parts."""


class _Commands(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = cast(Any, dict.fromkeys(COMMANDS))  # where typer looks for names alike

    def list_commands(self, _ctx: Any) -> list[str]:
        """Return the commands in the order of the help."""
        return list(COMMANDS)

    def get_command(self, _ctx: Any, name: str) -> Any:
        """Load a command; None: there is none of this name."""
        return _loaded(name) if name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command, and let none but its help begin with wrong settings."""
        found = super().resolve_command(ctx, args)
        if not ctx.resilient_parsing and "--help" not in args:
            from app.cli.common import check_settings

            check_settings()
        return found

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command; where stdout or a disk takes nothing, say so and nothing else."""
        try:
            return super().main(*args, **extra)
        except OSError as error:
            from app.cli.refusing import FAILURE, FORBIDDEN, FULL, refusal

            if error.errno not in (*FULL, *FORBIDDEN):
                raise
            raise SystemExit(refusal(str(error), FAILURE).exit_code) from error

    def shell_complete(self, _ctx: Any, incomplete: str) -> Any:
        """Complete a command's name without loading any."""
        names = TyperGroup(
            name=self.name, commands=[TyperCommand(one) for one in COMMANDS], params=self.params
        )
        return names.shell_complete(typer.Context(names), incomplete)


def _loaded(name: str) -> Any:
    module, _, inside = COMMANDS[name].partition(":")
    found = getattr(import_module(f"app.cli.{module}"), inside)
    if isinstance(found, typer.Typer):
        group = get_group(found)
        group.name = name
        return group
    from app.cli.completing import Command

    alone = typer.Typer(add_completion=False)
    alone.command(name, cls=Command)(found)
    return get_command(alone)


cli = typer.Typer(cls=_Commands, help=__doc__, no_args_is_help=True)


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
