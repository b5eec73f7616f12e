"""Settings that are wrong: one line, whatever the command."""

import pytest

from app.settings import get_settings


@pytest.mark.parametrize(
    "command",
    [
        *("serve", "api", "worker", "migrate", "gc", "doctor", "demo"),
        *("audit verify", "keys list", "export default out", "import acme/pets"),
    ],
)
def test_a_wrong_setting_is_one_line_of_every_command(run, monkeypatch, command):
    monkeypatch.setenv("SATS_MAX_TRIES", "many")
    get_settings.cache_clear()
    answer = run(*command.split())
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert answer.stderr.startswith("sats: SATS_MAX_TRIES: ")
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["--help", "serve --help", "keys --help", "keys list --help"])
def test_help_needs_no_right_setting(run, monkeypatch, command):
    monkeypatch.setenv("SATS_MAX_TRIES", "many")
    get_settings.cache_clear()
    answer = run(*command.split())
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert "Usage: " in answer.stdout


def test_every_wrong_setting_is_named(run, monkeypatch, settings):
    monkeypatch.setenv("SATS_MAX_TRIES", "many")
    monkeypatch.setenv("SATS_DATABASE_URL", "no url")
    get_settings.cache_clear()
    for name in ("SATS_MAX_TRIES", "SATS_DATABASE_URL"):
        assert f"{name}: " in run("migrate").stderr


def test_settings_that_do_not_fit_each_other_are_named(run, monkeypatch, settings):
    monkeypatch.setenv("SATS_MEMORY_DIR", str(settings.blob_dir))
    get_settings.cache_clear()
    answer = run("migrate")
    assert answer.exit_code == 2
    assert answer.stderr.startswith("sats: SATS_MEMORY_DIR is the blob store's own folder")
