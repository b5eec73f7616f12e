"""Commands that ask a running service, over HTTP."""

import errno
import json
import os
import re
import shutil
import threading
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.cli import sending, submitting
from app.db import DeviceKind, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from app.registry.service import ensure_model
from app.settings import Settings
from app.storage import BlobStore
from app.workers.needs import Resources
from tests.app.cli.conftest import printed
from tests.fixtures.checkpoints import checkpoint_zip
from tests.fixtures.drawings import voc_zip
from tests.fixtures.versions import add_version
from tests.worker.conftest import bench
from worker.device import Device
from worker.presence import Presence

__all__ = ["bench"]

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)


@pytest.fixture
def ask(run, served, monkeypatch: pytest.MonkeyPatch):
    """Run a command on the service; gives its exit status, stdout and stderr."""
    monkeypatch.setenv("SATS_URL", str(served.base_url))
    monkeypatch.delenv("SATS_API_KEY", raising=False)

    def asked(*words: object) -> tuple[int, str, str]:
        done = run(*map(str, words))
        return done.exit_code, printed(done), done.stderr

    return asked


@pytest.fixture
def versions(engine: Engine, blobs: BlobStore) -> None:
    """Two versions of the default model, the second one held."""
    with write_session(engine) as session:
        add_version(session, blobs, ["circle", "square"])
        add_version(session, blobs, ["star"], live=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Labelled pictures."""
    with zipfile.ZipFile(voc_zip(tmp_path / "a.zip", ["circle"], size=48)) as archive:
        archive.extractall(tmp_path / "shapes")
    return tmp_path / "shapes"


def test_what_is_sent_is_shown_on_a_terminal_alone(ask, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(sending, "SOON", 0)
    status, _, err = ask("submit", folder, "-o", "id")
    assert (status, err) == (0, "")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    status, _, err = ask("submit", folder, "--name", "second")
    assert status == 0
    assert re.search(r"([0-9.]+)/\1 (bytes|kB)", err), err


@pytest.mark.parametrize("name", ["progress", "idempotency_key", "dataset"])
def test_a_spec_cannot_say_what_is_no_part_of_it(ask, folder: Path, name: str) -> None:
    status, _, err = ask("submit", folder, "--spec", json.dumps({name: "x"}))
    assert (status, err) == (2, f"sats: --spec: {name} is no part of it here\n")


def test_a_task_is_posted_listed_and_cancelled(ask, folder: Path) -> None:
    status, task_id, _ = ask("submit", folder, "--name", "first", "--class", "circle", "-o", "id")
    assert status == 0
    status, listed, _ = ask("tasks", "--state", "queued", "-o", "json")
    (task,) = json.loads(listed)
    assert (task["id"], task["name"], task["classes"]) == (task_id, "first", ["circle"])
    assert "_client" not in task
    status, table, _ = ask("tasks")
    assert table.splitlines()[0].split() == [
        *("id", "name", "model", "state", "outcome", "version", "posted")
    ]
    assert table.splitlines()[1].split()[:4] == [task_id, "first", "default", "queued"]
    status, cancelled, _ = ask("cancel", task_id, "-o", "jsonl")
    assert (status, json.loads(cancelled)["state"]) == (0, "cancelled")
    status, out, err = ask("watch", task_id, "-o", "id")
    assert (status, out) == (12, task_id)
    assert "was cancelled" in err
    status, _, err = ask("cancel", task_id)
    assert (status, err.count("\n")) == (4, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "status", "state"),
    [
        ("{}", 0, "live"),
        ('{"gate": {"promote": false}}', 10, "held"),
        ('{"classes": ["x"]}', 4, ""),
    ],
)
def test_waiting_says_by_its_status_how_it_ended(
    ask, bench, folder: Path, spec: str, status: int, state: str
) -> None:
    with bench.worker():
        words = ("submit", folder, "--spec", spec, "--wait", "-o", "json")
        left, out, err = ask(*words)
    assert left == status, err
    if state:
        assert json.loads(out)["outcome"] == state
        assert state in err.splitlines(), "progress is on stderr"
    assert ("`sats show default@1` says why" in err) == (state == "held")


def test_a_failed_task(ask, bench, folder: Path) -> None:
    bench.control.plan(fail="cannot be read")
    with bench.worker():
        status, out, err = ask("submit", folder, "--wait", "-o", "id")
        assert status == 11
        assert "JPEGImages/a.jpg" in err
        status, again, _ = ask("retry", out, "-o", "id")
    assert (status, again) == (0, out)


def test_workers_are_listed(ask, engine: Engine) -> None:
    assert ask("workers") == (0, "", "")
    device = Device("NVIDIA X", 2, Resources(DeviceKind.CUDA, 24_000))
    Presence(engine, "gpu-1:4711", "1.2.3", device, 60.0).beat()
    status, listed, _ = ask("workers", "-o", "json")
    (worker,) = json.loads(listed)
    assert (status, worker["name"], worker["alive"], worker["task"]) == (
        *(0, "gpu-1:4711", True),
        None,
    )
    assert (worker["device"], worker["devices"], worker["memory_mib"]) == ("cuda", 2, 24_000)
    table = ask("workers")[1].splitlines()
    assert table[0].split()[:3] == ["name", "state", "device"]
    assert table[1].split()[:3] == ["gpu-1:4711", "idle", "cuda"]
    assert ask("workers", "-o", "id")[1] == "gpu-1:4711"


@pytest.mark.usefixtures("versions")
def test_versions_are_shown_and_moved(ask) -> None:
    assert ask("versions", "-o", "id")[1].split() == ["default@2", "default@1"]
    status, shown, _ = ask("show", "default")
    assert status == 0
    cells = dict(line.split(maxsplit=1) for line in shown.splitlines() if " " in line.strip())
    assert cells["version"] == "default@1"
    assert "IoU circle" in shown
    assert json.loads(ask("show", "default@2", "-o", "json")[1])["new_classes"] == ["star"]
    assert ask("promote", "default@2", "--if-live", 2)[0] == 4
    status, moved, _ = ask("promote", "default@2", "--if-live", 1, "-o", "id")
    assert (status, moved) == (0, "default@2")
    assert ask("rollback", "default", "-o", "id")[1] == "default@1"
    status, _, err = ask("rollback", "default@2")
    assert (status, "not the live" in err or "live" in err) == (4, True)


def test_words_that_are_wrong(ask, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words in (
        ("submit", tmp_path / "none"),
        ("submit", tmp_path / "empty"),
        ("submit", folder, "--spec", "{"),
        ("submit", folder, "--spec", "[]"),
        ("submit", folder, "--spec", '{"name": "a", "name": "b"}'),
        ("submit", folder, "--spec", '{"held_out": {"split": "a", "split": "a"}}'),
        ("promote", "default"),
        ("show", "default@x"),
        ("tasks", "--url", "ftp://x"),
    ):
        status, out, err = ask(*words)
        assert (status, out) == (2, ""), words
        assert err, words


def test_a_disk_that_is_full_is_a_failure_and_no_wrong_command(ask, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(submitting, "print_all", full)
    status, out, err = ask("tasks")
    assert (status, out) == (1, "")
    assert "No space left" in err


def test_what_is_refused_names_the_file_and_the_field(ask, folder: Path) -> None:
    (folder / "classes.txt").write_text("0 background\n1 circle\n1 circle\n")
    status, out, err = ask("submit", folder)
    assert (status, out) == (4, "")
    assert "classes.txt" in err
    status, _, err = ask("submit", folder, "--method", "magic")
    assert status == 4
    assert "spec.method" in err
    status, _, err = ask("submit", folder, "--spec", '{"colour": 1}')
    assert (status, "spec.colour: there is no such field" in err) == (4, True), err
    assert ask("show", "nobody")[0] == 4


def test_who_may_and_who_is_there(
    ask, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "k", [Scope.SUBMIT])
    assert ask("tasks")[0] == 3
    monkeypatch.setenv("SATS_API_KEY", key)
    assert ask("tasks") == (0, "", "")
    assert ask("versions")[0] == 3
    monkeypatch.setattr("sats_client._sync.time.sleep", lambda _: None)
    status, _, err = ask("tasks", "--url", "http://127.0.0.1:1")
    assert (status, err.count("\n")) == (5, 1)


def test_a_task_that_ends_while_it_is_watched(ask, folder: Path, served) -> None:
    task_id = ask("submit", folder, "-o", "id")[1]
    watching = threading.Timer(0.5, lambda: served.post(f"/tasks/{task_id}:cancel"))
    watching.start()
    status, _, err = ask("watch", task_id)
    assert (status, "it waits: no worker is alive" in err.splitlines()) == (12, True)
    watching.join()


def test_the_version(run) -> None:
    done = run("--version")
    assert (done.exit_code, done.stdout.split()[0]) == (0, "sats")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A Hugging Face directory."""
    whole = tmp_path / "whole.zip"
    whole.write_bytes(checkpoint_zip(["cat", "dog"]))
    with zipfile.ZipFile(whole) as archive:
        archive.extractall(tmp_path / "segformer")
    return tmp_path / "segformer"


@pytest.mark.slow
def test_a_checkpoint_is_sent_to_a_service_elsewhere(ask, bench, served, checkpoint: Path) -> None:
    there = ("--url", served.base_url)
    with bench.worker():
        words = ("import", checkpoint, *there, "--model", "pets", "--background", "none")
        status, out, err = ask(*words)
    assert status == 0, err
    assert {"state    succeeded", "outcome  live", "version  1"} <= set(out.splitlines())
    assert bench.versions("pets")[0].origin["source"] == "segformer"
    status, _, err = ask("import", checkpoint, *there, "--model", "more", "--allow-pickle")
    assert (status, "no pickle is sent" in err) == (2, True)


def test_a_model_of_the_hub_is_sent_and_held_as_was_asked(
    ask, bench, served, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot_download(_: str, *, local_dir: Path, allow_patterns: list[str]) -> None:
        shutil.copytree(checkpoint, local_dir)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with bench.worker():
        words = ("import", "acme/pets", "--background", "none", "--no-promote")
        status, out, err = ask(*words, "--url", served.base_url)
    assert status == 0, err
    assert {"outcome  held", "version  1"} <= set(out.splitlines())
    assert bench.versions()[0].origin["source"] == "acme/pets"


def test_a_mistyped_model_is_refused_before_anything_is_read(ask, served, engine: Engine) -> None:
    with write_session(engine) as session:
        ensure_model(session, "pets")
    words = ("import", "./no-such-folder", "--url", served.base_url)
    status, out, err = ask(*words, "--model", "pet")
    assert (status, out) == (4, "")
    assert err == "sats: there is no model 'pet'; did you mean 'pets'? --create makes it\n"
    assert ask(*words, "--model", "pet", "--create")[0] == 2
    assert ask(*words, "--model", "pets")[0] == 2


def test_a_key_bound_to_other_models_is_told_so_before_anything_is_read(
    ask, served, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with write_session(engine) as session:
        for name in ("pets", "farm"):
            ensure_model(session, name)
        secret = read_secret(settings)
        key = create_key(session, secret, "bound", [Scope.ADMIN], models=["farm"])
    monkeypatch.setenv("SATS_API_KEY", key)
    words = ("import", "./no-such-folder", "--url", served.base_url, "--model", "pets")
    status, _, err = ask(*words)
    assert (status, "there is no model" in err) == (3, False)


@pytest.mark.parametrize("source", ["./no-such-folder", "acme/pets"])
def test_a_source_that_is_not_there_is_not_sent(
    ask, served, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    status, out, err = ask("import", source, "--url", served.base_url)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(f"sats: {source}: ")
