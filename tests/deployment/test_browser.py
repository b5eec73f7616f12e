"""`deploy/browser.sh` sees to a browser by what the machine allows, or ends with an error."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "browser.sh"
TOOLS = ("sh", "cp", "mktemp", "rm", "cat", "timeout")
STAND_INS = {
    "id": "echo ${USER_NUMBER:-1000}",
    "apt-get": 'echo apt-get "$@" >>asked; [ "$1$APT" != installworks ] || cp "$0" tools/chromium',
    # Of Python: `-m playwright install` brings a browser; whether one starts says STARTS.
    "python3": 'echo python3 "$1" >>asked; [ "$1" = -m ] || exit ${STARTS:-0}',
}


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        (folder / name).symlink_to(f"/usr/bin/{name}")
    for name, line in STAND_INS.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    return folder


def run(tools: Path, **settings: str) -> tuple[int, str, list[str]]:
    """Run the script; gives its status, what it said, and what was asked."""
    done = subprocess.run(
        [SCRIPT, "python3"],
        cwd=tools.parent,
        env={"PATH": str(tools), "TMPDIR": str(tools.parent), **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    asked = tools.parent / "asked"
    lines = asked.read_text().splitlines() if asked.is_file() else []
    return done.returncode, done.stderr, [" ".join(line.split()[:3]) for line in lines]


@pytest.mark.parametrize("name", ["chromium", "google-chrome"])
def test_where_there_is_one_nobody_is_asked(tools: Path, name: str) -> None:
    (tools / name).symlink_to("/bin/true")
    assert run(tools, USER_NUMBER="0") == (0, "", [])


def test_root_gets_the_system_s(tools: Path) -> None:
    status, _, asked = run(tools, USER_NUMBER="0", APT="works")
    assert status == 0
    assert asked == ["apt-get update -qq", "apt-get install -y", "python3 -c"]


@pytest.mark.parametrize("settings", [{}, {"USER_NUMBER": "0"}], ids=["user", "root"])
def test_where_the_system_gives_none_playwright_s_is_taken(
    tools: Path, settings: dict[str, str]
) -> None:
    status, _, asked = run(tools, **settings)
    assert status == 0
    assert asked[-2:] == ["python3 -m", "python3 -c"]


def test_where_none_starts_it_ends_with_an_error(tools: Path) -> None:
    status, said, _ = run(tools, STARTS="1")
    assert status == 1
    assert "no browser could be installed" in said
    assert not list(tools.parent.glob("tmp.*")), "its log is removed"
