"""Services that somebody has logged in to, and what that changes for commands."""

import json
import os
import stat
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from click.testing import Result
from sqlalchemy import Engine

from app.cli import signing_in
from app.cli.calling import asked_service
from app.cli.logins import Logins, LoginsError, change_logins, place, read_logins, who_is_asked
from app.db import write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from tests.app.cli.conftest import printed

HERE = "http://127.0.0.1:8000"
FARM = "https://farm.example/sats"

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has logged in nowhere; gives where the file would be."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("SATS_URL", "SATS_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "config" / "sats" / "services.json"


def test_the_file_is_for_its_user_alone(config: Path) -> None:
    before = os.umask(0)
    try:
        change_logins(lambda _: Logins().added(FARM, "first"))
        config.chmod(0o644)
        (config.parent / "services.json.partial").write_text("of a crash, for all to read")
        change_logins(lambda now: now.added(HERE, "second"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
    assert read_logins() == Logins(HERE, {FARM: "first", HERE: "second"})
    assert "second" not in repr(read_logins())


def test_of_logins_at_once_none_is_lost() -> None:
    urls = [f"https://{number}.example" for number in range(12)]

    def add(url: str) -> None:
        change_logins(lambda now: now.added(url, "k"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, urls))
    assert sorted(read_logins().keys) == sorted(urls)


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place() == tmp_path / ".config" / "sats" / "services.json"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"default": null}',
        '{"default": null, "services": [1]}',
        '{"default": null, "services": {"a": {"key": 1}}}',
        '{"default": "a", "services": {}}',
        "[" * 200_000,
        '{"a":' * 200_000,
    ],
    ids=lambda text: text[:40],
)
def test_a_file_that_is_none_is_told(config: Path, text: str) -> None:
    config.parent.mkdir(parents=True)
    config.write_text(text)
    with pytest.raises(LoginsError, match="remove it"):
        read_logins()


@pytest.mark.parametrize(
    ("environment_key", "url", "asked"),
    [
        (None, None, (FARM, "of the farm")),
        (None, HERE, (HERE, "of this machine")),
        (None, "HTTP://127.0.0.1:8000/", ("HTTP://127.0.0.1:8000/", "of this machine")),
        (None, "https://elsewhere.example", ("https://elsewhere.example", None)),
        (None, "https://farm.example", ("https://farm.example", None)),
        ("mine", None, (HERE, None)),
        ("mine", FARM, (FARM, None)),
        (" ", None, (FARM, "of the farm")),
    ],
)
def test_what_goes_before_what(
    monkeypatch: pytest.MonkeyPatch, environment_key: str | None, url: str | None, asked: Any
) -> None:
    change_logins(lambda _: Logins(FARM, {HERE: "of this machine", FARM: "of the farm"}))
    if environment_key is not None:
        monkeypatch.setenv("SATS_API_KEY", environment_key)
    assert who_is_asked(url, HERE) == asked


def test_logged_in_nowhere() -> None:
    assert who_is_asked(None, HERE) == (HERE, None)
    change_logins(lambda _: Logins(FARM, {HERE: "of this machine", FARM: "f"}).without(FARM))
    assert who_is_asked(None, HERE) == (HERE, "of this machine")


@pytest.fixture
def key(engine: Engine, settings: Settings) -> str:
    """A key that may post tasks, and nothing else."""
    with write_session(engine) as session:
        return create_key(session, read_secret(settings), "k", [Scope.SUBMIT])


@pytest.fixture
def url(served: httpx.Client) -> str:
    """Where the service is."""
    return str(served.base_url).rstrip("/")


def ids(run: Run) -> tuple[int, str]:
    done = run("tasks", "-o", "id")
    return done.exit_code, done.stderr


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_in_and_out(run: Run, url: str, key: str, config: Path) -> None:
    wrong = run("login", f"{url}/", said="sats_wrong\n")
    assert (wrong.exit_code, config.exists()) == (3, False)
    lost = run("login", f"{url}/elsewhere", said=f"{key}\n")
    assert (lost.exit_code, config.exists()) == (4, False), lost.stderr
    done = run("login", f"{url}/", said=f"{key}\n")
    assert done.exit_code == 0, done.stderr
    assert json.loads(config.read_text()) == {"default": url, "services": {url: {"key": key}}}
    assert ids(run) == (0, "")
    assert run("versions").exit_code == 3, "the key was sent, which may not look there"
    again = run("login", url)
    assert again.exit_code == 0, "the key that is kept still works"
    listed = run("login")
    assert f"{url} (default)" in listed.stdout
    for one in (wrong, done, again, listed):
        assert key not in one.output
    assert run("logout").exit_code == 0
    assert key not in config.read_text()
    assert run("logout").exit_code == 1
    assert run("logout", url).exit_code == 1


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_in_and_out_for_programs(run: Run, url: str, key: str, config: Path) -> None:
    words = ("login", url, "--key", "-", "--json")
    wrong = run(*words, said="sats_wrong\n")
    assert (wrong.exit_code, printed(wrong)) == (3, "")
    done = run(*words, said=f"{key}\n")
    kept = str(config)
    assert json.loads(printed(done)) == {"url": url, "default": True, "kept_in": kept}, done.stderr
    change_logins(lambda now: Logins(now.default, {**now.keys, FARM: "k"}))
    listed = json.loads(run("login", "--json").stdout)
    assert listed == [{"url": url, "default": True}, {"url": FARM, "default": False}]
    assert json.loads(run("logout", "--json").stdout) == {"url": url}
    nobody = run("logout", "--json")
    assert (nobody.exit_code, nobody.stdout) == (1, "")


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_a_login_in_another_terminal_stays(
    run: Run, url: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> str:
        """Answer as a person who logs in elsewhere while this one waits."""
        change_logins(lambda now: now.added(FARM, "of the farm"))
        return key

    monkeypatch.setattr("app.cli.signing_in._asked", asked)
    assert run("login", url).exit_code == 0
    assert read_logins() == Logins(url, {FARM: "of the farm", url: key})


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_a_file_that_others_may_read_is_told(run: Run, url: str, key: str, config: Path) -> None:
    change_logins(lambda _: Logins().added(url, key))
    assert run("tasks").stderr == ""
    config.chmod(0o644)
    for words in (["tasks"], ["login", url]):
        done = run(*words)
        assert (done.exit_code, "mode 0644" in done.stderr) == (0, True), done.stderr
    assert run("tasks").stderr == "", "it was written anew"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://farm.example:8000", True),
        ("http://[::1]:8000", False),
        ("http://localhost", False),
        ("http://127.0.0.2", False),
        (FARM, False),
        ("farm", False),
    ],
)
def test_a_key_in_the_clear_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str, told: bool
) -> None:
    monkeypatch.setenv("SATS_API_KEY", "secret")
    asked_service(address)
    said = capsys.readouterr().err
    assert ("not encrypted" in said, "secret" in said) == (told, False)
    monkeypatch.delenv("SATS_API_KEY")
    asked_service(address)
    assert capsys.readouterr().err == "", "no key is sent"


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_a_key_from_standard_input_and_one_that_ended(
    run: Run, url: str, key: str, config: Path, engine: Engine, settings: Settings
) -> None:
    change_logins(lambda _: Logins().added(url, "sats_of_last_year"))
    assert ids(run)[0] == 3
    assert run("login", url, said=f"{key}\n").exit_code == 0, "it is asked for: the old one ended"
    with write_session(engine) as session:
        other = create_key(session, read_secret(settings), "other", [Scope.READ])
    done = run("login", url, "--key", "-", said=f"{other}\n")
    assert done.exit_code == 0, done.stderr
    assert read_logins().keys == {url: other}
    written = run("login", url, "--key", key)
    assert (written.exit_code, key in written.output) == (2, False)
    assert run("login", "--key", "-", said=key).exit_code == 2


def test_a_standard_input_that_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it then
    with pytest.raises(typer.Exit):
        signing_in._read()
    assert "standard input is closed" in capsys.readouterr().err


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_who_is_no_service(run: Run, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sats_client._sync.time.sleep", lambda _: None)
    for url, status in (("http://127.0.0.1:1", 5), ("farm", 2), ("https://u:p@farm.example", 2)):
        done = run("login", url, "--key", "-", said="k\n")
        assert (done.exit_code, done.stderr.count("\n")) == (status, 1), done.stderr
    assert not config.exists()
    config.parent.mkdir(parents=True)
    config.write_text("{")
    for words in (["login"], ["logout"], ["tasks"]):
        done = run(*words)
        assert (done.exit_code, "remove it" in done.stderr) == (2, True), words


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_no_key_is_asked_for_where_there_can_be_no_service(run: Run, config: Path) -> None:
    done = run("login", "farm:8000", said="sats_secret\n")
    assert (done.exit_code, "farm:8000 is no address" in done.stderr) == (2, True), done.stderr
    assert "API key" not in done.output
    nobody = run("login", "http://127.0.0.1:1", said="")
    assert (nobody.exit_code, "--key - reads it" in nobody.stderr) == (1, True), nobody.stderr
    assert not config.exists()


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_an_address_of_nothing_is_no_default(run: Run) -> None:
    done = run("tasks", "--url", "")
    assert (done.exit_code, "--url is empty" in done.stderr) == (2, True)


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_what_works_on_the_service_s_own_data_asks_nobody(
    run: Run, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [run(*words) for words in LOCAL]
    change_logins(lambda _: Logins().added("http://127.0.0.1:1", "k"))
    after = [run(*words) for words in LOCAL]
    assert [(one.exit_code, one.stdout) for one in after] == [
        (one.exit_code, one.stdout) for one in before
    ]
    assert "a login" in after[0].stderr, "an import says that nothing is sent"
    assert "a login" not in before[0].stderr


LOCAL = (
    ["import", "./no-such-folder"],
    ["export", "default", "out"],
    ["keys", "list"],
    ["gc", "--dry-run"],
    ["audit", "verify"],
)
