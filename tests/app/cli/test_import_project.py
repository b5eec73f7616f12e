"""`sats import-project` as a user runs it, on a small Label Studio."""

import json
from collections.abc import Iterator

import pytest
from PIL import Image
from sqlalchemy import Engine, select

from app.db import AuditEntry, Task, read_session, write_session
from app.settings import Settings
from app.storage import BlobStore
from tests.app.integrations.label_studio.conftest import with_settings
from tests.app.integrations.label_studio.exports import halves
from tests.app.segmentation.requests import encoded
from tests.fixtures.label_studio import CONFIG, FakeLabelStudio, label_studio
from tests.fixtures.versions import add_version
from tests.worker.bench import Bench
from tests.worker.scripted_child import Control


@pytest.fixture
def fake() -> Iterator[FakeLabelStudio]:
    with label_studio() as made:
        made.projects[3] = ("Cups", CONFIG)
        made.exports[3] = halves("cup", [1, 2])
        for number in (1, 2):
            data = encoded(Image.new("RGB", (16, 16), (99 * number, 1, 2)))
            made.files[f"/data/{number}.png"] = data
        yield made


@pytest.fixture
def settings(settings: Settings, fake: FakeLabelStudio) -> Settings:
    return with_settings(settings, **fake.settings())


@pytest.fixture
def bench(settings: Settings, engine: Engine, blobs: BlobStore, control: Control):
    control.plan()
    return Bench(settings, engine, blobs, control)


def test_its_new_classes_are_learned(run, bench, engine, fake):
    with bench.worker():
        answer = run("import-project", "3", "--model", "cups")
    assert answer.exit_code == 0, answer.output
    assert "state    succeeded" in answer.stdout.splitlines()
    said = answer.stderr.splitlines()
    assert "2 pictures: cup" in said
    assert "warning: no picture shows 'red': it is left out" in said
    with read_session(engine) as session:
        task = session.scalars(select(Task)).one()
        posted = session.scalars(select(AuditEntry).where(AuditEntry.action == "task.post")).one()
    assert (task.model.name, task.spec["name"], task.by_admin) == ("cups", "Label Studio: Cups", 1)
    assert posted.actor_type == "cli"


def test_its_task_is_printed_for_programs_too(run, bench, fake):
    with bench.worker():
        answer = run("import-project", "3", "--model", "cups", "--json")
    assert answer.exit_code == 0, answer.output
    said = json.loads(answer.stdout)
    assert (said["project"], said["pictures"], said["classes"]) == (3, 2, ["cup"])
    assert (said["task"]["outcome"], said["task"]["version"]) == ("live", 1)


def test_nothing_new(run, engine, blobs, fake):
    with write_session(engine) as session:
        add_version(session, blobs, ["cup", "red", "green"])
    answer = run("import-project", "3")
    assert answer.exit_code == 0, answer.output
    assert "nothing new: the model knows every class of its pictures (cup)" in answer.stdout
    again = json.loads(run("import-project", "3", "--json").stdout)
    assert (again["state"], again["classes"], again["task"]) == ("nothing_new", ["cup"], None)


def test_what_it_refuses(run, fake, monkeypatch):
    answer = run("import-project", "3", "--model", "no name")
    assert (answer.exit_code, "no name of a model" in answer.stderr) == (2, True)
    answer = run("import-project", "4")
    assert (answer.exit_code, "status 404" in answer.stderr) == (1, True)
