"""`sats segment` against a real service on a real port."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from click.testing import Result
from fastapi import FastAPI
from PIL import Image
from sqlalchemy import Engine

from app.cli.logins import Logins, change_logins
from app.db import write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.main import create_app
from app.processes.children import own
from app.settings import Settings
from tests.app.cli.conftest import printed
from tests.app.inference.colour_graph import CLASSES, GREEN
from tests.app.segmentation.conftest import Register, register
from tests.app.segmentation.requests import encoded, left_red_right_green, mask_of
from tests.app.segmentation.test_waiting import busy, started
from tests.fixtures.processes import environment, serving

__all__ = ["register"]

WAIT = 180
ODD = os.fsdecode(b"\xff\xfe odd\n\xc3\xa4.jpg")

Run = Callable[..., Result]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with pictures, and with what is none."""
    folder = tmp_path / "pictures"
    (folder / "deep" / "er").mkdir(parents=True)
    jpeg = encoded(left_red_right_green(), "JPEG")
    (folder / "a.jpg").write_bytes(jpeg)
    (folder / "a.png").write_bytes(encoded(left_red_right_green(48, 20)))
    (folder / ODD).write_bytes(jpeg)
    (folder / "without suffix").write_bytes(encoded(left_red_right_green(), "WEBP"))
    (folder / "deep" / "er" / "a.jpg").write_bytes(jpeg)
    (folder / "text.jpg").write_text("no picture, whatever it is called")
    (folder / "empty.png").write_bytes(b"")
    (folder / "link.jpg").symlink_to(folder / "a.jpg")
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "round").symlink_to(folder, target_is_directory=True)
    os.mkfifo(folder / "pipe.png")
    return folder


@pytest.fixture
def ask(run: Run, served: httpx.Client, register: Register) -> Run:
    """Run `sats segment` on a service with a version."""
    register()
    return lambda *words: run("segment", "--url", str(served.base_url), *map(str, words))


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def last_line(done: Result) -> str:
    """What the command says at the end: the service's log is in this process too."""
    return printed(done).splitlines()[-1]


FLAT = {"a.jpg", "a.png", ODD, "without suffix", "link.jpg"}


def test_a_folder(ask: Run, served: httpx.Client, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = ask(pictures, "-o", out)
    assert done.exit_code == 0, done.stderr
    assert last_line(done) == "5 written, 2 no pictures"
    assert written(out) == {name + ".png" for name in FLAT}
    for name in FLAT:
        mask = np.array(Image.open(out / (name + ".png")))
        np.testing.assert_array_equal(mask, mask_of(served, (pictures / name).read_bytes()))


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_service_on_this_machine_is_asked_without_a_proxy(
    ask: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    done = ask(pictures / "a.jpg", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stderr


def test_folders_inside_folders_but_not_the_output(ask: Run, pictures: Path) -> None:
    out = pictures / "masks"
    for _ in range(2):  # what the first run wrote is no picture of the second one
        done = ask(pictures, "-o", out, "--recursive", "--jobs", 2)
        assert last_line(done) == "6 written, 2 no pictures", done.stderr
    assert written(out) == {name + ".png" for name in FLAT | {"deep/er/a.jpg"}}


@pytest.mark.parametrize(
    ("form", "suffix", "starts"),
    [
        ("mask", ".png", b"\x89PNG"),
        ("overlay", ".overlay.png", b"\x89PNG"),
        ("json", ".json", b'{"model":"default","version":1,'),
    ],
)
def test_forms(
    ask: Run, pictures: Path, tmp_path: Path, form: str, suffix: str, starts: bytes
) -> None:
    done = ask(pictures / "a.jpg", pictures / "a.png", "-o", tmp_path / "out", "--format", form)
    assert done.exit_code == 0, done.stderr
    assert written(tmp_path / "out") == {f"a.jpg{suffix}", f"a.png{suffix}"}
    assert (tmp_path / "out" / f"a.jpg{suffix}").read_bytes().startswith(starts)


@pytest.mark.parametrize("words", [("--format", "jsonl"), ("--json",)])
def test_what_they_show_as_lines_on_stdout(
    ask: Run, pictures: Path, words: tuple[str, ...]
) -> None:
    before = written(pictures)
    done = ask(pictures, pictures / "text.jpg", *words)
    assert (done.exit_code, done.stderr.splitlines()) == (
        1,
        [f"sats: {pictures / 'text.jpg'}: is no picture", "5 written, 1 failed, 2 no pictures"],
    )
    shown = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert {one["file"] for one in shown} == {str(pictures / name) for name in FLAT}
    assert {(one["model"], one["version"], len(one["pictures"])) for one in shown} == {
        ("default", 1, 1)
    }
    assert written(pictures) == before


def test_where_it_goes_is_said_and_said_once(ask: Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for words in (
        [],
        ["--overlay"],
        ["--format", "jsonl", "-o", out],
        ["--format", "jsonl", "--resume"],
        ["--json", "--overlay", "-o", out],
        ["--json", "--format", "json", "-o", out],
        ["--format", "json", "--overlay", "-o", out],
    ):
        done = ask(pictures, *words)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1), words
    assert not out.exists()
    assert ask(pictures / "a.jpg", "--overlay", "-o", out).exit_code == 0
    assert written(out) == {"a.jpg.overlay.png"}


def test_a_service_that_somebody_has_logged_in_to(
    run: Run, served: httpx.Client, register: Register, pictures: Path, tmp_path: Path
) -> None:
    register()
    change_logins(lambda _: Logins().added(str(served.base_url).rstrip("/"), ""))
    done = run("segment", str(pictures / "a.jpg"), "-o", str(tmp_path / "out"))
    assert (done.exit_code, last_line(done)) == (0, "1 written"), done.stderr


def test_one_broken_picture_is_told_and_the_rest_goes_on(
    ask: Run, pictures: Path, tmp_path: Path
) -> None:
    broken = pictures / "a.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    done = ask(pictures, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "a.jpg: picture: not a picture that can be read" in done.stderr
    assert last_line(done) == "3 written, 2 failed, 2 no pictures"  # a link leads to it
    named = ask(pictures / "text.jpg", "-o", tmp_path / "out")
    assert (named.exit_code, last_line(named)) == (1, "0 written, 1 failed")


def test_resume_does_what_is_not_done(ask: Run, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert ask(pictures / "a.jpg", "-o", out).exit_code == 0
    (out / "a.jpg.png").write_bytes(b"as it was")
    done = ask(pictures, "-o", out, "--resume")
    assert last_line(done) == "4 written, 1 were there, 2 no pictures"
    assert (out / "a.jpg.png").read_bytes() == b"as it was"
    assert last_line(ask(pictures, "-o", out)).startswith("5 written")
    assert (out / "a.jpg.png").read_bytes() != b"as it was"


def test_names_that_meet_are_told(ask: Run, pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.jpg").write_bytes(encoded(left_red_right_green(9, 9)))
    done = ask(pictures, other / "a.jpg", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "a.jpg.png is written for another one" in done.stderr
    assert np.array(Image.open(tmp_path / "out" / "a.jpg.png")).shape == (32, 64)
    (other / "a.jpg.png").write_bytes(encoded(left_red_right_green(7, 7)))
    beside = ask(other / "a.jpg", other / "a.jpg.png", "-o", other)
    assert last_line(beside) == "1 written, 1 failed"
    assert np.array(Image.open(other / "a.jpg.png")).shape[:2] == (
        7,
        7,
    )  # a source is never written over


def test_the_output_is_no_folder_that_is_read(ask: Run, pictures: Path, tmp_path: Path) -> None:
    before = written(pictures)
    for out in (pictures, tmp_path):
        refused = ask(pictures, "-o", out)
        assert refused.exit_code == 2
        assert "name another folder" in refused.stderr
    assert written(pictures) == before


def test_model_version_and_key(
    run: Run,
    served: httpx.Client,
    register: Register,
    engine: Engine,
    settings: Settings,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    register(CLASSES[:2], model="street")
    register(model="street")
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "k", [Scope.SEGMENT])
    monkeypatch.setenv("SATS_URL", str(served.base_url))
    words = ("segment", str(pictures), "-o", str(tmp_path / "out"))
    without = run(*words)
    assert without.exit_code == 3
    assert "HTTP 401" in without.stderr
    monkeypatch.setenv("SATS_API_KEY", key)
    missing = run(*words)
    assert missing.exit_code == 4
    assert "no model 'default'" in missing.stderr

    def classes(*more: str) -> set[int]:
        done = run(*words, "--model", "street", *more)
        assert done.exit_code == 0, done.stderr
        return set(np.unique(Image.open(tmp_path / "out" / "a.png.png")).tolist())

    assert GREEN.index in classes()
    assert GREEN.index not in classes("--version", "1")
    assert run(*words, "--model", "street", "--version", "9").exit_code == 4


@pytest.mark.parametrize(
    ("url", "status"),
    [("http://127.0.0.1:1", 5), ("ftp://x", 2), ("127.0.0.1:8000", 2), ("http://[", 5), ("", 2)],
)
def test_a_service_that_is_not_there(
    run: Run,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    status: int,
) -> None:
    monkeypatch.setattr("sats_client._sync.time.sleep", lambda _: None)
    done = run("segment", str(pictures), "-o", str(tmp_path / "out"), "--url", url)
    assert done.exit_code == status
    assert done.stderr.startswith("sats: ")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def narrow(settings: Settings, register: Register) -> Iterator[tuple[FastAPI, str]]:
    """A service with one place, and its address."""
    register()
    app = create_app(settings.model_copy(update={"serve_queue": 1}))
    with serving(app) as url:
        yield app, url


def test_a_busy_service_is_asked_again(
    run: Run, narrow: tuple[FastAPI, str], pictures: Path, tmp_path: Path
) -> None:
    app, url = narrow
    words = ("segment", str(pictures), "-o", str(tmp_path / "out"), "--url", url)
    with app.state.services.inference.reserve(1):
        done = run(*words, "--patience", "0")
    assert (done.exit_code, last_line(done)) == (1, "0 written, 5 failed, 2 no pictures")
    assert "HTTP 503" in done.stderr
    many = tmp_path / "many"
    many.mkdir()
    for number in range(20):
        (many / f"{number}.png").write_bytes(encoded(left_red_right_green()))
    before = app.state.services.inference.load.items
    done = run("segment", str(many), "-o", str(tmp_path / "out"), "--url", url, "--jobs", "8")
    assert (done.exit_code, last_line(done)) == (0, "20 written"), done.stderr
    assert app.state.services.inference.load.items == before + 20


def test_what_is_too_large_is_told(ask: Run, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.write(encoded(left_red_right_green()))
        file.truncate(2**26)
    done = ask(large, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "HTTP 413" in done.stderr


def _heed_interrupts() -> None:
    """Tests that a shell runs in the background inherit that ^C is passed over."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupted_it_ends_and_leaves_nothing_half_written(
    settings: Settings, register: Register, pictures: Path, tmp_path: Path
) -> None:
    register()
    out = tmp_path / "out"
    with started(settings) as (inference, client):
        words = ["segment", str(pictures), "-o", str(out), "--url", str(client.base_url)]
        with busy(inference):
            process = subprocess.Popen(
                [*own("app.cli"), *words],
                env=os.environ | environment(settings),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=_heed_interrupts,
            )
            deadline = time.monotonic() + WAIT
            while inference.load.free > settings.serve_queue - 4:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate(timeout=WAIT)
        assert process.returncode == 130
        assert b"0 written" in told
        assert b"--resume goes on" in told
        assert written(out) == set()
        done = subprocess.run(
            [*own("app.cli"), *words, "--resume"],
            env=os.environ | environment(settings),
            capture_output=True,
            timeout=WAIT,
            check=True,
        )
    assert done.stdout.startswith(b"5 written")
    assert BytesIO((out / "a.jpg.png").read_bytes()).read(4) == b"\x89PNG"


def test_what_has_a_name_too_long_or_is_a_pipe_fails_alone(
    ask: Run, pictures: Path, tmp_path: Path
) -> None:
    jpeg = encoded(left_red_right_green(), "JPEG")
    (pictures / ("x" * 250 + ".jpg")).write_bytes(jpeg)
    for options in ((), ("--resume",)):
        done = ask(pictures, "-o", tmp_path / "out", *options)
        assert done.exit_code == 1
        assert "File name too long" in done.stderr
        assert len(written(tmp_path / "out")) == len(FLAT)
    named = ask(pictures / "pipe.png", "-o", tmp_path / "out")
    assert named.exit_code == 1
    assert "no picture" in named.stderr
