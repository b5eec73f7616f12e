"""What was deleted on one host goes from the others too."""

import io
import os
import time
from datetime import timedelta

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import DeviceKind, Erasure, Place, Task, TaskState, Version, utc_now, write_session
from app.db.base import utc_text
from app.deletion.copies import Copies
from app.deletion.freeing import free
from app.deletion.service import delete_version
from app.inference.ready_graphs import ReadyGraphs
from app.main import create_app
from app.registry.service import find_model
from app.storage import BlobMissingError, open_store
from app.workers.needs import Resources
from tests.app.storage.places import S3Prefix
from tests.fixtures.clocks import set_ahead
from tests.fixtures.statements import Statements
from tests.fixtures.versions import add_version
from tests.worker.bench import eventually
from worker.sweeper import Sweeper


class Host:
    """A machine with a cache of its own, before one bucket and one database."""

    def __init__(self, engine, place, database_url):
        self.settings = place.settings(database_url=database_url)
        self.engine = engine
        self.blobs = open_store(self.settings, None)
        self.ready = ReadyGraphs.of(self.settings, self.blobs)
        self.copies = Copies(engine, self.blobs, self.ready)

    def read(self, keys):
        for key in keys:
            assert self.blobs.verified(key).is_file()

    @property
    def cached(self):
        return set(self.blobs.copies())

    def unused(self):
        """Say of all that is here that nobody asked for it lately."""
        then = time.time() - 3600
        for path in self.settings.blob_cache_dir.iterdir():
            os.utime(path, (then, then))

    def make_ready(self, graph):
        draft = self.ready.draft(10)
        draft.write_bytes(b"graph")
        self.ready.keep(draft, graph, "runtime", "abc")
        assert self.ready.graphs() == {graph}


@pytest.fixture
def place(s3, tmp_path):
    return S3Prefix(s3, tmp_path)


@pytest.fixture
def hosts(engine, place, database_url):
    return [Host(engine, place, database_url) for _ in range(2)]


def keys_of(version: Version) -> list[str]:
    return sorted(str(file["blob"]) for file in version.files.values())


@pytest.fixture
def versions(engine, hosts):
    """Keys of the files of two versions: of the live one, and of one that is held."""
    with write_session(engine) as session:
        made = [add_version(session, hosts[0].blobs, ["cat"])]
        made.append(add_version(session, hosts[0].blobs, ["dog"], live=False))
        return [{str(file["blob"]) for file in one.files.values()} for one in made]


def delete_held(host):
    with write_session(host.engine) as session:
        removal = delete_version(session, [Place.BLOB_STORE], find_model(session, "default"), 2)
    free(host.engine, {Place.BLOB_STORE: host.blobs}, host.settings, removal)


def test_a_version_that_is_deleted_on_one_host_goes_from_the_other(hosts, versions):
    here, there = hosts
    live, held = versions
    for host in hosts:
        host.read(live | held)
        host.make_ready(min(held))
        host.unused()
        host.copies.drop_deleted()
        assert host.cached == live | held
    delete_held(here)
    assert there.cached == live | held, "it is told nothing"
    there.copies.drop_deleted()
    assert there.cached == here.cached == live
    assert there.ready.graphs() == here.ready.graphs() == set()
    for key in held:
        with pytest.raises(BlobMissingError):
            there.blobs.verified(key)


@pytest.mark.parametrize(("deletes_at", "looks_at"), [(-1, 0), (0, 1)])
def test_hosts_whose_clocks_differ_by_a_day_agree(
    hosts, versions, monkeypatch, deletes_at, looks_at
):
    here, there = hosts
    live, held = versions
    there.read(live | held)
    there.unused()

    for days, do in (
        (looks_at, there.copies.drop_deleted),
        (deletes_at, lambda: delete_held(here)),
        (looks_at, there.copies.drop_deleted),
    ):
        with monkeypatch.context() as patch:
            set_ahead(patch, timedelta(days=days))
            do()
    assert there.cached == live


def test_what_was_asked_for_a_moment_ago_goes_later(hosts, versions):
    here, there = hosts
    live, held = versions
    there.read(live | held)
    delete_held(here)
    there.copies.drop_deleted()
    assert there.cached == live | held, "whoever asked may not have opened it yet"
    there.copies._since = utc_now()  # the row is seen no more
    there.unused()
    there.copies.drop_deleted()
    assert there.cached == live


def test_a_host_that_was_off_finds_what_was_deleted_meanwhile(hosts, versions):
    here, there = hosts
    live, held = versions
    there.read(live | held)
    there.unused()
    delete_held(here)
    Copies(there.engine, there.blobs, there.ready).drop_deleted()
    assert there.cached == live


def test_what_something_else_refers_to_stays(hosts, versions):
    there = hosts[1]
    _live, held = versions
    there.read(held)
    there.unused()
    with write_session(there.engine) as session:
        first, second = session.scalars(select(Version).order_by(Version.number))
        second.deleted_at, first.files = utc_now(), second.files
    there.copies.drop_deleted()
    assert there.cached == held


def test_what_an_ended_task_was_posted_with_goes_too(hosts, versions):
    there = hosts[1]
    posted = {there.blobs.put(io.BytesIO(text)).key: text for text in (b"ended", b"waits")}
    there.read(posted)
    there.unused()
    with write_session(there.engine) as session:
        ended, waits = posted
        task, other = session.scalars(select(Task).order_by(Task.sequence))
        task.dataset, task.finished_at = ended, utc_now()
        other.dataset, other.finished_at = waits, utc_now()
        other.state = TaskState.FAILED  # and may be tried again
    there.copies.drop_deleted()
    assert there.cached == {waits}


def test_a_zip_that_pictures_were_taken_out_of_goes_too(hosts, versions):
    there = hosts[1]
    erased, waits = (there.blobs.put(io.BytesIO(text)).key for text in (b"erased", b"waits"))
    there.read([erased, waits])
    there.unused()
    there.copies._since = utc_now()
    with write_session(there.engine) as session:
        one, other = session.scalars(select(Version).order_by(Version.number))
        one.erasure, other.erasure = Erasure.DONE, Erasure.WAITS
        one.receipt = {"at": utc_text(utc_now()), "deleted": [{"sha256": erased}]}
    there.copies.drop_deleted()
    assert there.cached == {waits}


def test_a_host_that_keeps_nothing_asks_nothing(engine, blobs, settings):
    with Statements(engine) as asked:
        Copies.of(engine, blobs, settings).drop_deleted()
    assert asked.seen == []


def test_an_api_looks_again_and_again(hosts, versions, monkeypatch):
    here, there = hosts
    live, held = versions
    there.read(live | held)
    there.unused()
    monkeypatch.setattr("app.http.services.LOOK_SECONDS", 0.05)
    with TestClient(create_app(there.settings)):
        delete_held(here)
        eventually(lambda: there.cached == live)


def test_a_worker_looks_too(hosts, versions, monkeypatch):
    here, there = hosts
    monkeypatch.setattr(there.blobs, "forget_deleted", lambda: None)  # it asks the bucket
    live, held = versions
    there.read(live | held)
    there.unused()
    delete_held(here)
    has = Resources(DeviceKind.CPU, 1024)
    parts = (there.engine, there.blobs, there.settings, lambda: None, has)
    sweeper = Sweeper(*parts, wake=lambda _task: None, idle=lambda: False)
    sweeper.start()
    try:
        eventually(lambda: there.cached == live)
    finally:
        sweeper.stop()
