"""Which commands there are, and that none pays for the others."""

import subprocess
import sys
from typing import Any

import pytest
from typer.main import get_command

from app.cli import COMMANDS, cli


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


def test_where_nothing_is_printed_in_forms_json_is_none() -> None:
    group: Any = get_command(cli)
    with pytest.raises(Exception, match="No such option"):
        group.get_command(None, "export").make_context("export", ["default@1", "--json", "x"])


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
