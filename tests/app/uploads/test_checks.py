"""Parts become a blob: how much memory that takes, and what may go wrong."""

import io
import shutil
import threading
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from structlog.testing import capture_logs

from app.db import LargeUpload, LargeUploadState, read_session, utc_now, write_session
from app.errors import BusyProblem
from app.settings import MIB, Settings
from app.storage import SentInVainError, open_store
from app.uploads import claims
from app.uploads.checks import Check, Checks, joined
from tests.app.storage.places import S3Prefix
from tests.fixtures.faulty_s3 import cuts, drops, faulty

LARGE = 256 * MIB


@pytest.fixture
def database_url(sqlite_template, tmp_path):
    """One database is enough: large/test_sending.py has both."""
    shutil.copy(sqlite_template, tmp_path / "sats.db")
    return f"sqlite:///{tmp_path / 'sats.db'}"


def begun(engine, size, part_bytes):
    """Add an upload, and take the right to put its parts together."""
    with write_session(engine) as session:
        ends = utc_now() + timedelta(hours=1)
        row = LargeUpload(name="d.zip", bytes=size, part_bytes=part_bytes, expires_at=ends)
        session.add(row)
        session.flush()
        return claims.claim(session, row.id)


def raising(error):
    """Return what raises it, whatever it is called with."""

    def raises(*_):
        raise error

    return raises


def row_of(engine):
    with read_session(engine) as session:
        return session.scalars(select(LargeUpload)).one()


def test_a_large_upload_takes_little_memory(engine, settings, blobs):
    held = begun(engine, LARGE, LARGE // 4)
    folder = settings.blob_dir / "parts" / held.upload
    folder.mkdir(parents=True)
    for number in range(1, 5):
        with (folder / str(number)).open("wb") as file:
            file.truncate(LARGE // 4)
    tracemalloc.start()
    try:
        Check(engine, blobs, settings, held).run(threading.Event())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    row = row_of(engine)
    assert (row.state, blobs.size(row.blob)) == (LargeUploadState.DONE, LARGE)
    assert peak < 16 * MIB


@pytest.fixture
def line(s3):
    with faulty(s3.endpoint) as faults:
        yield faults


@pytest.fixture
def host(settings, s3, line, tmp_path):
    place = S3Prefix(s3, tmp_path, line.endpoint)
    own = settings.model_dump(exclude_unset=True)
    return Settings(**place.settings(store_seconds=1.0).model_dump(exclude_unset=True) | own)


@pytest.mark.parametrize(
    ("fault", "of"),
    [(drops, ""), (cuts, "GET /"), (drops, "PUT /"), (drops, "HEAD /")],
    ids=["down", "cut", "unwritable", "unseen"],
)
def test_a_store_that_fails_leaves_it_open(engine, host, line, fault, of):
    store = open_store(host, None)
    size = 5 * MIB
    held = begun(engine, size, size)
    store.parts.put(held.upload, 1, io.BytesIO(bytes(size)))
    line.inject(fault, of=of)
    Check(engine, store, host, held).run(threading.Event())
    row = row_of(engine)
    assert (row.state, row.error["status"]) == (LargeUploadState.OPEN, 503)
    line.clear()
    assert store.parts.sizes(held.upload) == {1: size}, "nothing is sent again"
    with write_session(engine) as session:
        again = claims.claim(session, held.upload)
    Check(engine, store, host, again).run(threading.Event())
    row = row_of(engine)
    assert (row.state, row.error) == (LargeUploadState.DONE, None)
    assert store.size(row.blob) == size
    assert list(store.unfinished()) == []


def test_a_claim_is_kept_as_long_as_it_takes(engine, settings, blobs, monkeypatch):
    held = begun(engine, 1, 1)
    blobs.parts.put(held.upload, 1, io.BytesIO(b"a"))
    renewed, read = threading.Event(), blobs.parts.read
    renew = claims.renew

    def seen(session, claim):
        stands = renew(session, claim)
        renewed.set()
        return stands

    def waits(upload, number):
        assert renewed.wait(60)
        return read(upload, number)

    monkeypatch.setattr(claims, "renew", seen)
    monkeypatch.setattr(blobs.parts, "read", waits)
    Check(engine, blobs, settings, held, beat_seconds=0.01).run(threading.Event())
    assert row_of(engine).state == LargeUploadState.DONE


def test_who_lost_its_claim_stores_nothing(engine, settings, blobs, monkeypatch):
    held = begun(engine, 1, 1)
    blobs.parts.put(held.upload, 1, io.BytesIO(b"a"))
    read = blobs.parts.read

    def loses(upload, number):
        with write_session(engine) as session:
            session.get_one(LargeUpload, upload).fence += 1
        return read(upload, number)

    monkeypatch.setattr(blobs.parts, "read", loses)
    Check(engine, blobs, settings, held).run(threading.Event())
    assert row_of(engine).state == LargeUploadState.CHECKING, "it is another one's"
    assert list(blobs.entries()) == []
    assert blobs.parts.sizes(held.upload) == {1: 1}


def test_so_many_are_put_together_at_a_time(engine, settings, blobs, monkeypatch):
    checks, gate = Checks(1), threading.Event()
    held = begun(engine, 1, 1)
    blobs.parts.put(held.upload, 1, io.BytesIO(b"a"))
    read = blobs.parts.read
    monkeypatch.setattr(
        blobs.parts, "read", lambda upload, number: gate.wait(60) and read(upload, number)
    )
    checks.start(lambda: Check(engine, blobs, settings, held))
    with pytest.raises(BusyProblem):
        checks.start(lambda: None)
    gate.set()
    for thread in list(checks._running):
        thread.join(60)
    checks.start(lambda: None)  # nothing to do, and the turn is given back
    checks.start(lambda: None)
    assert row_of(engine).state == LargeUploadState.DONE


def test_where_no_thread_begins_the_turn_is_given_back(engine, settings, blobs, monkeypatch):
    checks = Checks(1)
    held = begun(engine, 1, 1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", raising(RuntimeError("no new thread")))
        with pytest.raises(RuntimeError, match="no new thread"):
            checks.start(lambda: Check(engine, blobs, settings, held))
    checks.start(lambda: None)
    checks.close()  # waits for none that never began


def test_a_blob_that_went_after_it_was_sent_is_sent_again(engine, settings, blobs, monkeypatch):
    held = begun(engine, 1, 1)
    blobs.parts.put(held.upload, 1, io.BytesIO(b"a"))
    sent, read, stage, real = [], [], blobs.stage, blobs.parts.read

    def seen(upload, number):
        read.append(number)
        return real(upload, number)

    def confirm():
        if len(sent) == 1:
            raise SentInVainError(11, "a task with the same bytes ended")

    @contextmanager
    def staged(*given):
        with stage(*given) as one:
            yield replace(one, send=lambda: sent.append(one.blob.key), confirm=confirm)

    monkeypatch.setattr(blobs, "stage", staged)
    monkeypatch.setattr(blobs.parts, "read", seen)
    Check(engine, blobs, settings, held).run(threading.Event())
    row = row_of(engine)
    assert (row.state, sent, read) == (LargeUploadState.DONE, [row.blob] * 2, [1])


@pytest.mark.parametrize(
    ("error", "status", "event"),
    [
        (IntegrityError("INSERT", {}, Exception("a fault of ours")), 500, "upload_failed"),
        (PoolTimeoutError("all are taken"), 503, "upload_not_put_together"),
    ],
)
def test_what_the_database_refuses_is_logged_once(
    engine, settings, blobs, monkeypatch, error, status, event
):
    held = begun(engine, 1, 1)
    blobs.parts.put(held.upload, 1, io.BytesIO(b"a"))
    monkeypatch.setattr(claims, "finish", raising(error))
    with capture_logs() as logs:
        Check(engine, blobs, settings, held).run(threading.Event())
    row = row_of(engine)
    assert (row.state, row.error["status"]) == (LargeUploadState.OPEN, status)
    assert [one["event"] for one in logs if one["event"].startswith("upload")] == [event]


def test_pieces_are_one_file():
    pieces = [b"a" * 3, b"", b"b" * (3 * MIB), b"c"]
    whole = joined(iter(pieces))
    assert whole.read(5) == b"aaabb"
    assert whole.read() == b"".join(pieces)[5:]
    assert whole.read(1) == b""
