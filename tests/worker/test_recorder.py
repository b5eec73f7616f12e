"""What a training process writes is kept until the database has it."""

import threading

import pytest
from sqlalchemy import event

from app.db import write_session
from app.tasks.service import read_log
from tests.worker.bench import rename
from worker import recorder as recorders
from worker.claim import LeaseLostError, claim, give_back
from worker.recorder import Recorder


@pytest.fixture
def claimed(bench):
    task_id = bench.post(["cat"])
    with write_session(bench.engine) as session:
        return claim(session, task_id, "worker-1", 300)


@pytest.fixture
def recorder(bench, claimed, monkeypatch):
    monkeypatch.setattr(recorders, "LOG_SECONDS", 0.05)
    return Recorder(bench.engine, claimed)


def written(bench, claimed):
    with write_session(bench.engine) as session:
        return read_log(session, claimed.task_id)


def test_lines_that_could_not_be_written_are_written_later(bench, claimed, recorder, monkeypatch):
    monkeypatch.setattr(recorders, "LOG_SECONDS", 0)
    recorder.log.add(b"the last words\n")
    rename(bench, "task_logs", "elsewhere")
    recorder.write_log()
    rename(bench, "elsewhere", "task_logs")
    assert written(bench, claimed) == ""
    recorder.write_log()
    assert written(bench, claimed) == "the last words\n"


def test_the_last_lines_are_tried_again(bench, claimed, recorder, monkeypatch):
    monkeypatch.setattr(recorders, "LAST_TRIES", 10_000)
    refused = threading.Event()
    event.listen(bench.engine, "handle_error", lambda _context: refused.set())
    recorder.log.add(b"the last words\n")
    rename(bench, "task_logs", "elsewhere")
    thread = threading.Thread(target=recorder.finish_log)
    thread.start()
    assert refused.wait(60)
    rename(bench, "elsewhere", "task_logs")
    thread.join()
    assert written(bench, claimed) == "the last words\n"


def test_a_database_that_takes_no_write_does_not_keep_the_worker_for_ever(
    bench, claimed, recorder, monkeypatch
):
    recorder.log.add(b"the last words\n")
    rename(bench, "task_logs", "elsewhere")
    recorder.finish_log()
    rename(bench, "elsewhere", "task_logs")


def test_who_lost_the_task_writes_nothing(bench, claimed, recorder):
    with write_session(bench.engine) as session:
        give_back(session, claimed)
    recorder.log.add(b"too late\n")
    with pytest.raises(LeaseLostError):
        recorder.finish_log()
    assert written(bench, claimed) == ""
