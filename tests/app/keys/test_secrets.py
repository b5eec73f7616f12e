"""Keys, sessions and tokens are secrets: nothing that a run writes or answers may hold one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.db import END_STATES, write_session
from app.keys.secret import read_secret
from app.keys.service import Scope, create_key
from demo.service import serving
from tests.app.segmentation.conftest import register
from tests.app.segmentation.requests import as_files, encoded, left_red_right_green
from tests.app.tasks.posting import drawn, post
from tests.worker.bench import eventually, running
from tests.worker.conftest import bench

__all__ = ["bench", "register"]

END = ("succeeded", "failed", "cancelled")


def written(folder: Path) -> dict[Path, bytes]:
    """What lies in a folder at any depth; files come and go while a task runs."""
    found = {}
    for here, _, names in os.walk(folder):
        for path in (Path(here, name) for name in names):
            try:
                found[path] = path.read_bytes()
            except FileNotFoundError:
                continue
    return found


@pytest.mark.slow
def test_a_run_of_task_and_segment_leaves_no_key_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder, pets, answers, seen = tmp_path / "service", drawn(tmp_path, "cat"), [], set()
    with serving(folder, threads=1) as url:
        key = made_key(folder / "data")
        secret = key.removeprefix("sats_").encode()

        def ended() -> bool:
            now = written(folder)
            assert not [path for path, data in now.items() if secret in data]
            seen.update(path for path in now if folder / "data" / "work" in path.parents)
            answers.append(client.get(task))
            return answers[-1].json()["state"] in END

        with httpx.Client(base_url=url, timeout=60) as client:
            client.headers["Authorization"] = f"Bearer {key}"
            posted = post(client, pets, {"gate": {"min_iou": 0}, "epochs": 1, "features": 200})
            task = posted.json()["links"]["self"]
            eventually(ended, 240, lambda: answers[-1].text, every=0.3)
            assert answers[-1].json()["outcome"] == "live", answers[-1].text
            picture = as_files(encoded(left_red_right_green()))
            segmented = client.post("/segment", **picture)
            assert segmented.status_code == 200, segmented.text
            answers += [posted, segmented, client.get(f"{task}/events"), client.get(f"{task}/log")]
            answers += wrong_calls(client, key, pets)
    left = written(folder)
    assert not [path for path, data in left.items() if secret in data]
    assert not [answer.url.path for answer in answers if secret in answer.content]
    assert seen, "the work folder was looked at while the task ran"
    assert b'"/segment"' in left[folder / "service.log"], "and the log tells of the calls"
    digests = (folder / "data" / "secret").read_bytes()
    assert [path.name for path, data in left.items() if digests in data] == ["secret"]


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_what_is_asked_and_learned_leaves_no_key_behind(
    served, bench, register, engine, settings, tmp_path, capfd
):
    register()
    bench.control.plan(epochs=3, epoch_seconds=0.1)
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "ci", [Scope.ADMIN])
    pets, seen = drawn(tmp_path, "cat"), set()
    served.headers["Authorization"] = f"Bearer {key}"
    hidden = {"key": key.removeprefix("sats_"), **given_out(served, key, pets)}

    def found() -> list[tuple[str, Path]]:
        now = written(tmp_path)
        return [
            (name, path)
            for path, data in now.items()
            for name, secret in hidden.items()
            if secret.encode() in data
        ]

    def ended() -> bool:
        assert found() == []
        seen.update(path.name for path in written(tmp_path) if settings.work_dir in path.parents)
        return bench.state(task) in END_STATES

    posted = post(served, pets, {"model": "pets"})
    assert posted.status_code == 202
    task = posted.json()["id"]
    with running(bench.supervisor(), task):
        eventually(ended)
    picture = as_files(encoded(left_red_right_green()))
    asked = [served.post("/segment", **picture)]
    asked += [served.get(f"/tasks/{task}{below}") for below in ("", "/events", "/log")]
    assert [answer.status_code for answer in asked] == [200] * 4
    assert asked[1].json()["outcome"] == "live"
    assert "job.json" in seen, "the work folder was looked at while the task ran"
    answers = [posted, *asked, *wrong_calls(served, key, pets)]
    for name, secret in hidden.items():
        assert [one.url.path for one in answers if secret.encode() in one.content] == [], name
    assert found() == []
    said = "".join(capfd.readouterr())
    assert "/segment" in said, "the log tells of the calls"
    assert [name for name, secret in hidden.items() if secret in said] == []


def given_out(client: httpx.Client, key: str, pets: Path) -> dict[str, str]:
    """What the service tells once to whom it is for, used as they do; by its kind."""
    hook = {"url": "https://example.org/hook", "events": ["task.ended"]}
    made = client.post("/admin/webhooks", json=hook)
    assert made.status_code == 201, made.text
    sent = client.post("/uploads", files={"dataset": ("pets.zip", pets.read_bytes())})
    assert sent.status_code == 201, sent.text
    upload = sent.json()["upload"]
    assert client.get(f"/uploads/{upload}").status_code == 200
    with httpx.Client(base_url=client.base_url, timeout=60) as browser:
        assert browser.post("/login", data={"key": key}).status_code == 303
        session = browser.cookies["sats_session"]
        (token,) = re.findall(r'name="page-token" content="(\w+)"', browser.get("/").text)
        answer = browser.put(
            "/admin/models/default/gate", json={"max_drop": 0.1}, headers={"X-CSRF-Token": token}
        )
        assert answer.status_code == 200, answer.text
    return {
        "webhook": made.json()["secret"].removeprefix("whsec_"),
        "upload": upload.rpartition(".")[2],
        "session": session.rpartition(".")[2],
        "token of a page": token,
    }


def made_key(data_dir: Path) -> str:
    made = subprocess.run(
        [sys.executable, "-m", "app.cli", "keys", "create", "ci", "--scope", "admin"],
        env=os.environ | {"SATS_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.strip().splitlines()[-1]


def wrong_calls(client: httpx.Client, key: str, pets: Path) -> list[httpx.Response]:
    """The key where it does not belong, and calls that are refused."""
    elsewhere = {"Authorization": f"Bearer {key}x"}
    calls = [
        client.get("/tasks", headers=elsewhere),
        client.get("/tasks", headers={"Authorization": f"Basic {key}"}),
        client.get("/tasks", params={"cursor": key}),
        client.get("/tasks", params={"key": key, "limit": 1000}),
        client.get("/nothing", params={"key": key}),
        post(client, pets, "no JSON"),
        post(client, b"no zip"),
    ]
    assert [answer.status_code for answer in calls] == [401, 401, 422, 422, 404, 422, 422]
    return calls
