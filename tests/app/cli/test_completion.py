"""What a shell is told of a word that was begun, and what that waits for."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.cli import COMMANDS

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


def completed(typed: str, **environment: str) -> tuple[list[str], set[str]]:
    words = typed.split(" ")
    bash = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    return sats(**bash, _SATS_COMPLETE="complete_bash", **environment)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("sats ", list(COMMANDS)),
        ("sats pro", ["promote"]),
        ("sats --ins", ["--install-completion"]),
        ("sats submit --cr", ["--create"]),
        ("sats segment --fo", ["--format"]),
        ("sats log", ["login", "logout"]),
        ("sats rollback --ur", ["--url"]),
        ("sats nothing --ur", []),
    ],
)
def test_a_word_is_completed_without_the_service_s_parts(typed: str, found: list[str]) -> None:
    # Settings that no command would begin with are none of a shell's business.
    said, loaded = completed(typed, SATS_WORKERS="many", SATS_DATABASE_URL="none")
    assert [one for one in said if one] == found
    assert "app.cli" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_commands_of_a_group() -> None:
    assert completed("sats keys ")[0] == ["create", "list", "revoke"]
    assert completed("sats audit ")[0] == ["verify"]


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
    said, _ = sats("--show-completion", shell, **home)
    assert "_SATS_COMPLETE" in "\n".join(said)


def test_bash_itself_completes(tmp_path: Path) -> None:
    """As a shell that has read what is installed does it."""
    script = tmp_path / "sats"
    script.write_text(f"#!{sys.executable}\n{SATS}\n")
    script.chmod(0o755)
    said, _ = sats("--show-completion", "bash", **WITHOUT_DETECTION)
    (tmp_path / "completion.sh").write_text("\n".join(said))
    typed = (
        'COMP_WORDS=(sats submit --wa) COMP_CWORD=2; _sats_completion "$0"; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", f'source "{tmp_path}/completion.sh"; {typed}', str(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "--wait"


def test_a_name_that_is_none_is_told_with_one_alike(run) -> None:
    done = run("sumbit")
    assert (done.exit_code, "submit" in done.stderr) == (2, True)


def test_the_help_names_every_command_and_what_it_does(run) -> None:
    done = run("--help")
    assert done.exit_code == 0
    missing = [name for name in COMMANDS if f" {name} " not in done.stdout]
    assert missing == []
    assert "Make, list and revoke API keys." in done.stdout
