"""Which commands there are, and that none pays for the others."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app.cli import COMMANDS, cli
from app.cli.completing import Command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_found(name: str) -> None:
    group: Any = get_command(cli)
    found = group.get_command(None, name)
    assert found.name == name
    assert found.help


@pytest.mark.parametrize("name", ["tasks", "watch", "versions", "workers"])
def test_json_is_short_for_a_form(name: str) -> None:
    group: Any = get_command(cli)
    command = group.get_command(None, name)
    words = ["id"] if name == "watch" else []
    assert command.make_context(name, [*words, "--json"]).params["output"] == "json"
    assert command.make_context(name, words).params["output"] == "table"


@pytest.mark.parametrize("name", ["keys", "audit"])
def test_json_is_short_for_a_form_in_groups_too(name: str) -> None:
    group: Any = get_command(cli)
    command = group.get_command(None, name).commands["list"]
    assert command.make_context("list", ["--json"]).params["output"] == "json"


def test_json_is_a_value_where_an_option_wants_one() -> None:
    group: Any = get_command(cli)
    command = group.get_command(None, "tasks")
    words = ["--outcome", "--json"]
    assert command.make_context("tasks", words).params["outcome"] == "--json"
    assert command.make_context("tasks", words).params["output"] == "table"
    assert words == ["--outcome", "--json"], "the caller's list stays as it is"


def test_where_nothing_is_printed_json_is_none() -> None:
    group: Any = get_command(cli)
    with pytest.raises(Exception, match="No such option"):
        group.get_command(None, "worker").make_context("worker", ["--json"])


def test_groups_have_their_commands() -> None:
    group: Any = get_command(cli)
    assert "create" in group.get_command(None, "keys").commands
    assert "verify" in group.get_command(None, "audit").commands


def test_help_names_all_and_a_misspelt_one_is_guessed(run) -> None:
    told = run("--help").stdout
    assert all(name in told for name in COMMANDS)
    misspelt = run("sbumit")
    assert misspelt.exit_code == 2
    assert "submit" in misspelt.stderr


def test_the_modules_of_commands_are_imported_when_they_are_asked_for() -> None:
    code = "import sys, app.cli; print(*[name for name in sys.modules if 'app.cli.' in name])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []


def _leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word, one in inner.items():
        yield from _leaves(f"{name} {word}", one)


def _takes_json(command: Any) -> bool:
    """Whether `--json` is an option of its own, or short for a form of what is printed."""
    if any("--json" in one.opts for one in command.params):
        return True
    forms = any(one.name == "output" and one.default == "table" for one in command.params)
    return forms and isinstance(command, Command)


NO_ANSWER = {
    "serve": "runs until it is stopped, and logs",
    "api": "likewise",
    "worker": "likewise",
    "demo": "shows somebody what the service does: a page and pictures",
}
"""Commands that answer with no data, and why."""


def test_whatever_answers_takes_json() -> None:
    group: Any = get_command(cli)
    found = [one for name in COMMANDS for one in _leaves(name, group.get_command(None, name))]
    without = {name for name, command in found if not _takes_json(command)}
    assert without == set(NO_ANSWER)


def test_stdout_is_left_to_what_is_asked_for(tmp_path: Path) -> None:
    code = (
        "import structlog\n"
        "from app.cli.common import database\n"
        "with database():\n"
        "    structlog.get_logger('x').warning('names_not_filled')\n"
    )
    place = {"SATS_DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **place}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "names_not_filled" in done.stderr
