"""Settings that are wrong: one line, whatever the command."""

import pytest

from app.settings import Settings, get_settings


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


def test_an_empty_setting_is_told_in_words(run, monkeypatch):
    patterned = [
        name
        for name, field in Settings.model_fields.items()
        if any(getattr(rule, "pattern", None) for rule in field.metadata)
    ]
    assert "store_url" in patterned
    for name in ["max_tries", *patterned]:
        variable = f"SATS_{name.upper()}"
        with monkeypatch.context() as patch:
            patch.setenv(variable, "")
            get_settings.cache_clear()
            said = run("migrate").stderr
        if name == "mlflow_prefix":  # none is a prefix too
            assert "MLFLOW_PREFIX" not in said
        else:
            assert f"{variable}: it is empty: leave it out for its default" in said


def test_a_setting_of_the_wrong_form_is_told_in_words_and_not_shown(run, monkeypatch):
    monkeypatch.setenv("SATS_STORE_KEY_ID", "my secret ^words$")
    monkeypatch.setenv("SATS_STORE_URL", "http://bucket")
    get_settings.cache_clear()
    said = run("migrate").stderr
    assert (
        "SATS_STORE_URL: it does not look as it should. Bucket that blobs are kept in, as " in said
    )
    assert "SATS_STORE_KEY_ID: it does not look as it should. " in said
    assert "secret ^words$" not in said
    assert "pattern" not in said
    assert said.count("\n") == 1


def test_settings_that_do_not_fit_each_other_are_named(run, monkeypatch, settings):
    monkeypatch.setenv("SATS_MEMORY_DIR", str(settings.blob_dir))
    get_settings.cache_clear()
    answer = run("migrate")
    assert answer.exit_code == 2
    assert answer.stderr.startswith("sats: SATS_MEMORY_DIR is the blob store's own folder")
