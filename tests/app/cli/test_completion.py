"""What a shell is told of a word that was begun, and what that waits for."""

import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
import typer
from sqlalchemy import Engine
from structlog.testing import capture_logs
from typer.core import TyperCommand
from typer.testing import CliRunner

from app.cli import COMMANDS, cli, completing
from app.cli.completing import PATIENCE_SECONDS
from app.db import Task, TaskState, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.settings import Settings
from app.storage import BlobStore
from tests.fixtures.versions import add_version

SATS = "import sys; sys.argv[0] = 'sats'; from app.cli import cli; cli()"
HEAVY = ("fastapi", "sqlalchemy", "celery", "onnxruntime", "numpy", "PIL", "httpx", "uvicorn")
WITHOUT_DETECTION = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}


def sats(*words: str, **environment: str) -> tuple[list[str], set[str]]:
    """Run `sats` in a process of its own; gives its lines, and the modules that it loaded."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", SATS, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    return done.stdout.splitlines(), loaded


def typed(words: str) -> dict[str, str]:
    """What bash says of a line that was begun."""
    split = words.split(" ")
    return {
        "COMP_WORDS": "\n".join(split),
        "COMP_CWORD": str(len(split) - 1),
        "_SATS_COMPLETE": "complete_bash",
        # Settings that no command would begin with are none of a shell's business.
        "SATS_SERVE_BYTES": "many",
    }


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("sats ", list(COMMANDS)),
        ("sats pro", ["promote"]),
        ("sats --ins", ["--install-completion"]),
        ("sats log", ["login", "logout"]),
        ("sats rollback --ur", ["--url"]),
        ("sats keys ", ["create", "list", "revoke"]),
        ("sats audit ", ["gradients", "list", "receipt", "verify"]),
        ("sats nothing --ur", []),
    ],
)
def test_a_word_is_completed(words: str, found: list[str]) -> None:
    done = CliRunner().invoke(cli, [], env=typed(words), prog_name="sats")
    assert done.stdout.split() == found


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("sats sub", ["submit"]),
        ("sats submit --cr", ["--create"]),
        ("sats segment --fo", ["--format"]),
    ],
)
def test_nothing_of_the_service_is_loaded_for_that(words: str, found: list[str]) -> None:
    said, loaded = sats(**typed(words))
    assert said == found
    assert "app.cli" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    ("shell", "written"),
    [
        ("bash", {".bashrc", ".bash_completions/sats.sh"}),
        ("zsh", {".zshrc", ".zfunc/_sats"}),
        ("fish", {".config/fish/completions/sats.fish"}),
    ],
)
def test_it_is_installed(shell: str, written: set[str], tmp_path: Path) -> None:
    home: Mapping[str, str] = {"HOME": str(tmp_path), **WITHOUT_DETECTION}
    sats("--install-completion", shell, **home)
    files = {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()}
    assert files == written


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """`sats` on the path; gives what writes the script by which a shell completes it."""
    script = tmp_path / "sats"
    patient = "from app.cli import completing; completing.PATIENCE_SECONDS = 30.0"
    script.write_text(f"#!{sys.executable}\n{patient}\n{SATS}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))

    def write(shell: str) -> Path:
        said, _ = sats("--show-completion", shell, **WITHOUT_DETECTION)
        completion = tmp_path / f"completion.{shell}"
        completion.write_text("\n".join(said))
        return completion

    return write


def shell_says(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    return done.stdout


BASH = 'source "{}"; COMP_WORDS=({}) COMP_CWORD={}; _sats_completion sats; echo "${{COMPREPLY[@]}}"'


def bash_says(completion: Path, *words: str) -> list[str]:
    """Return what bash is given for the last of some words."""
    quoted = " ".join(f"'{word}'" for word in words)
    line = BASH.format(completion, quoted, len(words) - 1)
    return shell_says("bash", "-c", line).split()


def typed_into(shell: Sequence[str], keys: bytes, until: bytes) -> bytes:
    """Return what is seen of keys in a shell at a terminal, once there is what is waited for."""
    ours, theirs = os.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        with os.fdopen(theirs, "rb") as end:
            process = subprocess.Popen(
                shell, stdin=end, stdout=end, stderr=end, start_new_session=True
            )
        terminal.write(keys)
        seen = b""
        deadline = time.monotonic() + 60
        while until not in seen and time.monotonic() < deadline:
            if select.select([terminal], [], [], 1)[0]:
                seen += terminal.read(4096)
        process.kill()
        process.wait()
    return seen


def test_bash_itself_completes(installed: Callable[[str], Path]) -> None:
    """As a shell that has read what is installed does it."""
    assert bash_says(installed("bash"), "sats", "submit", "--wa") == ["--wait"]


@pytest.fixture
def asked(
    engine: Engine,
    blobs: BlobStore,
    served: httpx.Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> httpx.Client:
    """A service with two models that a user has named, who has logged in nowhere."""
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
        add_version(session, blobs, ["dog"], live=False)
        add_version(session, blobs, ["car"], model="street")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("SATS_API_KEY", raising=False)
    monkeypatch.setenv("SATS_URL", str(served.base_url))
    monkeypatch.setattr(completing, "PATIENCE_SECONDS", 30.0)
    return served


def completed(words: str) -> list[str]:
    with capture_logs():  # the service, in this process, would write into what the shell is told
        done = CliRunner().invoke(cli, [], env=typed(words), prog_name="sats")
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.split()


EMBEDDED = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


@EMBEDDED
@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("sats versions ", ["default", "street"]),
        ("sats tasks --model st", ["street"]),
        ("sats submit x --model d", ["default"]),
        ("sats show ", ["default", "street"]),
        ("sats show de", ["default", "default@2", "default@1"]),
        ("sats show default@", ["default@2", "default@1"]),
        ("sats promote default@2", ["default@2"]),
        ("sats rollback street@9", []),
        ("sats show none@", []),
        ("sats show default @", ["@2", "@1"]),  # as bash parts the words of default@
        ("sats show default @ 2", ["@2"]),
        ("sats show default @ 2 ", []),
        ("sats show default --out", ["--output"]),
    ],
)
def test_models_and_versions_are_those_of_the_service(words: str, found: list[str]) -> None:
    assert completed(words) == found


@EMBEDDED
def test_tasks_are_those_that_the_command_can_do_something_with(
    asked: httpx.Client, engine: Engine
) -> None:
    with write_session(engine) as session:
        tasks = session.scalars(sa.select(Task).order_by(Task.created_at)).all()
        for task, state in zip(tasks, (TaskState.QUEUED, TaskState.FAILED, None), strict=True):
            task.state = state or task.state
        waits, failed, _ = (task.id for task in tasks)
    assert asked.get("/tasks").status_code == 200
    assert completed("sats watch ") == completed(f"sats cancel {waits[:8]}") == [waits]
    assert completed("sats retry ") == [failed]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "no address", "http://[::1"])
def test_nothing_is_said_of_a_service_that_is_not_there(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SATS_URL", url)
    assert completed("sats show de") == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "http://[::1"),
        ("ALL_PROXY", "gopher://proxy.example.org"),
        ("SSL_CERT_FILE", "/nowhere/certificates.pem"),
        ("SATS_API_KEY", "no\tkey"),
    ],
)
def test_nothing_is_said_where_nobody_can_be_asked(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SATS_URL", "http://127.0.0.1:9")
    monkeypatch.setenv(variable, value)
    assert completed("sats show de") == []


def test_nothing_is_said_where_the_logins_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sats").mkdir()
    (tmp_path / "sats" / "services.json").write_text("none")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("SATS_API_KEY", raising=False)
    monkeypatch.delenv("SATS_URL", raising=False)
    assert completed("sats show de") == []


@EMBEDDED
def test_nothing_is_said_to_a_key_that_may_not_look(
    asked: httpx.Client, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "k", [Scope.SEGMENT])
    monkeypatch.setenv("SATS_API_KEY", key)
    assert asked.get("/admin/overview").status_code == 401
    assert completed("sats show de") == []


def test_nobody_waits_for_a_service_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("SATS_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(completing, "PATIENCE_SECONDS", 0.2)
        assert completed("sats show de") == []
    assert 0 < PATIENCE_SECONDS < 1


@EMBEDDED
@pytest.mark.usefixtures("asked")
def test_bash_completes_a_version(installed: Callable[[str], Path]) -> None:
    completion = installed("bash")
    assert bash_says(completion, "sats", "show", "str") == ["street", "street@1"]
    assert bash_says(completion, "sats", "show", "default", "@") == ["@2", "@1"]
    bash = ["bash", "--noprofile", "--rcfile", str(completion), "-i"]
    assert b"show street@1 " in typed_into(bash, b"sats show street@\t", b"@1 ")


@EMBEDDED
@pytest.mark.usefixtures("asked")
def test_zsh_completes_a_version(installed: Callable[[str], Path]) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    stand_ins = 'compdef() { }; _arguments() { print -r -- "$@" }'
    words = "words=(sats show default@); CURRENT=3; _sats_completion"
    said = shell_says("zsh", "-fc", f'{stand_ins}; source "{installed("zsh")}"; {words}')
    assert re.findall(r"default@\d", said) == ["default@2", "default@1"]


@EMBEDDED
@pytest.mark.usefixtures("asked")
def test_zsh_runs_nothing_that_stands_in_a_task_s_name(
    installed: Callable[[str], Path],
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    ran = tmp_path / "ran"
    (waits,) = name_tasks(engine, rf"sheep \$(touch {ran})")
    (tmp_path / ".zshrc").write_text(
        f'autoload -Uz compinit; compinit -u -D; source "{installed("zsh")}"\n'
    )
    monkeypatch.setenv("ZDOTDIR", str(tmp_path))
    seen = typed_into(["zsh", "-d", "-i"], b"sats cancel \t", waits.encode())
    assert waits.encode() in seen
    assert not ran.exists()


@EMBEDDED
@pytest.mark.usefixtures("asked")
def test_of_a_task_its_state_is_said_and_no_name(engine: Engine) -> None:
    (waits,) = name_tasks(engine, "sheep")
    environment = {"_SATS_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "sats cancel "}
    with capture_logs():
        done = CliRunner().invoke(cli, [], env=environment, prog_name="sats")
    assert f'"{waits}":"queued"' in done.stdout
    assert "sheep" not in done.stdout


def name_tasks(engine: Engine, name: str) -> list[str]:
    """Give every task a name, let one wait, and return that one's id."""
    with write_session(engine) as session:
        tasks = session.scalars(sa.select(Task).order_by(Task.created_at)).all()
        for task in tasks:
            task.spec = {**task.spec, "name": name}
        tasks[0].state = TaskState.QUEUED
        return [tasks[0].id]


@pytest.mark.parametrize(
    "word",
    [
        completing.Word("a$(id)", "a model"),
        completing.Word("a\\", "a model"),
        completing.Word("a`id`", "a model"),
        completing.Word('a"', "a model"),
        completing.Word("a b", "a model"),
        completing.Word("a\n", "a model"),
        completing.Word("", "a model"),
        completing.Word("a", r"\$(id)"),
    ],
)
def test_what_a_shell_might_read_something_into_is_not_offered(
    word: completing.Word, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = completing.Word("a-Z_0.9@1", "not live")
    monkeypatch.setattr(completing, "_models", lambda _client, _begun: [word, plain])
    context = typer.Context(TyperCommand("show"))
    assert completing.complete_model(context, "") == [plain]


@EMBEDDED
@pytest.mark.usefixtures("asked")
def test_fish_completes_a_version(installed: Callable[[str], Path]) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    line = f'source "{installed("fish")}"; complete --do-complete "sats show default@"'
    said = shell_says("fish", "--no-config", "-c", line)
    assert sorted(said.splitlines()) == ["default@1\tlive", "default@2\tnot live"]


def test_a_name_that_is_none_is_told_with_one_alike() -> None:
    done = CliRunner().invoke(cli, ["sumbit"])
    assert (done.exit_code, "submit" in done.stderr) == (2, True)


def test_the_help_names_every_command_and_what_it_does() -> None:
    done = CliRunner().invoke(cli, ["--help"])
    assert done.exit_code == 0
    missing = [name for name in COMMANDS if f" {name} " not in done.stdout]
    assert missing == []
    assert "Make, list and revoke API keys." in done.stdout
