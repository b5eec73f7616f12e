"""The embedded broker: messages are whole, and what is none harms nobody."""

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.broker import collect_unfinished_messages, make_celery, skipped_messages, wake
from app.broker.messages import Channel
from app.settings import Settings

NO_MESSAGES = {
    "empty": b"",
    "half": b'{"body": "W1tdLCB7fSwge31d", "hea',
    "no text": b"\xff\xfe\x00",
    "another thing": b"[1, 2]",
    "without properties": b'{"body": "", "headers": {}}',
    "a body that is no base64": b'{"body": "x", "properties": {"body_encoding": "base64", '
    b'"delivery_tag": "1", "delivery_info": {}}}',
}


@pytest.fixture
def embedded(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def folder(settings: Settings) -> Path:
    return settings.data_dir / "broker" / "messages"


def taken(settings: Settings) -> str:
    """Take the next message and return the id that it carries."""
    celery = make_celery(settings)
    with celery.connection_for_read() as connection:
        message = connection.SimpleQueue("sats").get(timeout=10)
        message.ack()
    celery.close()
    return message.payload[0][0]


@pytest.mark.parametrize("content", NO_MESSAGES.values(), ids=NO_MESSAGES)
def test_what_is_no_message_is_set_aside_and_counted(embedded, content):
    celery = make_celery(embedded)
    folder(embedded).joinpath("0_a.sats.msg").write_bytes(content)
    folder(embedded).joinpath("0_b.sats.msg").mkdir()
    wake(celery, "some-id")
    celery.close()
    assert taken(embedded) == "some-id"
    assert skipped_messages(embedded) == 2
    aside = embedded.data_dir / "broker" / "unreadable"
    assert aside.joinpath("0_a.sats.msg").read_bytes() == content
    assert not list(folder(embedded).iterdir())


def test_a_message_is_never_seen_half_written(embedded):
    """Whoever reads any file that is called a message, at any moment, reads all of it."""
    celery = make_celery(embedded)
    over = threading.Event()
    halves: list[str] = []

    def look() -> None:
        while not over.is_set():
            for file in folder(embedded).glob("*.sats.msg"):
                try:
                    json.loads(file.read_text())
                except FileNotFoundError:
                    continue  # removed below
                except ValueError:
                    halves.append(file.name)

    watcher = threading.Thread(target=look)
    watcher.start()
    for number in range(200):
        wake(celery, str(number) * 200)
        for file in folder(embedded).iterdir():
            file.unlink()
    over.set()
    watcher.join()
    celery.close()
    assert halves == []


def test_messages_come_in_the_order_they_were_sent_and_each_once(embedded):
    celery = make_celery(embedded)
    for number in range(5):
        wake(celery, str(number))
    celery.close()
    assert [taken(embedded) for _ in range(5)] == list("01234")


@pytest.mark.parametrize("content", [b"", b"[[", b"{}"])
def test_a_damaged_table_of_queues_is_written_anew(embedded, content):
    celery = make_celery(embedded)
    embedded.data_dir.joinpath("broker", "control", "sats.exchange").write_bytes(content)
    wake(celery, "some-id")
    celery.close()
    assert taken(embedded) == "some-id"


def test_a_folder_that_is_gone_while_somebody_reads_harms_nobody(embedded):
    celery = make_celery(embedded)
    with celery.connection_for_read() as connection:
        queue = connection.SimpleQueue("sats")
        folder(embedded).rmdir()
        wake(celery, "lost, and found by the sweep")
        with pytest.raises(queue.Empty):
            queue.get(timeout=0.1)
        wake(celery, "some-id")
        assert queue.get(timeout=10).payload[0] == ["some-id"]
    celery.close()


def test_with_redis_there_is_nothing_to_count(embedded):
    assert skipped_messages(embedded.model_copy(update={"redis_url": "redis://x"})) is None


@contextmanager
def a_channel(settings: Settings) -> Iterator[Channel]:
    celery = make_celery(settings)
    with celery.connection_for_write() as connection:
        yield connection.default_channel
    celery.close()


def control(settings: Settings) -> Path:
    return settings.data_dir / "broker" / "control"


def test_a_queue_is_deleted_under_the_lock_that_others_are_bound_under(embedded):
    with a_channel(embedded) as channel:
        for queue in ("one", "two"):
            channel._queue_bind("many", queue, "", queue)
        with control(embedded).joinpath(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            deleting = threading.Thread(target=channel._delete, args=("one", "many", "one", ""))
            deleting.start()
            deleting.join(0.3)
            assert deleting.is_alive(), "it waits for whoever changes the table"
            assert [row.queue for row in channel.get_table("many")] == ["two", "one"]
        deleting.join(30)
        assert [row.queue for row in channel.get_table("many")] == ["two"]
        channel._delete("two", "many", "two", "")
        assert channel.get_table("many") == []
        assert not list(control(embedded).glob("many*")), "nothing is left of it"


def test_queues_bound_and_deleted_at_once_are_all_counted(embedded):
    def bind_and_delete(name: str) -> None:
        with a_channel(embedded) as channel:
            for turn in range(20):
                channel._queue_bind("many", name, "", f"{name}-{turn}")
                if turn:
                    channel._delete(f"{name}-{turn - 1}", "many", name, "")

    threads = [threading.Thread(target=bind_and_delete, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with a_channel(embedded) as channel:
        assert {row.queue for row in channel.get_table("many")} == {f"{n}-19" for n in "abcd"}


def test_writes_that_never_ended_are_collected_once_they_are_old(embedded):
    celery = make_celery(embedded)
    wake(celery, "some-id")
    celery.close()
    old = time.time() - embedded.gc_grace_seconds - 60
    stays = {*folder(embedded).iterdir(), *control(embedded).iterdir()}
    for file in stays:
        os.utime(file, (old, old))
    lost = [folder(embedded) / ".a.partial", control(embedded) / ".b.partial"]
    for file in [*lost, control(embedded) / "sats.lock"]:
        file.touch()
        os.utime(file, (old, old))
    running = folder(embedded) / ".c.partial"
    running.touch()
    assert len(collect_unfinished_messages(embedded)) == 3
    left = {*folder(embedded).iterdir(), *control(embedded).iterdir()}
    assert left == {*stays, running}
    assert taken(embedded) == "some-id"


def test_with_redis_there_is_nothing_to_collect(embedded):
    served = embedded.model_copy(update={"redis_url": "redis://x"})
    assert collect_unfinished_messages(served) == []
