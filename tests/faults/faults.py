"""What is done to a service, a function a fault: it strikes, and mends what an operator would.

A fault returns what it did, or None where there was nothing to strike at. It says nothing of what
the service must make of it: the invariants do.
"""

import errno
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from sqlalchemy import select, update

from app.broker import broker_folder, make_celery, wake
from app.db import RUNNING_STATES, Task, database_now, read_session, write_session
from tests.faults.children import training_children
from tests.faults.stack import DidNotHappenError, Pair, Stack, make_store_faulty, wait_until
from tests.fixtures.servers import restart_postgres

Strike = Callable[[Stack, random.Random], str | None]
CHILD_SECONDS = 20.0
"""How long a fault waits for a child that it could strike at."""


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: in schedules and records.
        strike: does it.
        pairs: what it can be done to.
    """

    name: str
    strike: Strike
    pairs: tuple[Pair, ...]


FAULTS: dict[str, Fault] = {}


def fault(*pairs: Pair) -> Callable[[Strike], Strike]:
    """Register a fault under its function's name; without pairs it is of both."""

    def register(strike: Strike) -> Strike:
        name = strike.__name__.replace("_", "-")
        FAULTS[name] = Fault(name, strike, pairs or ("embedded", "served"))
        return strike

    return register


@fault()
def kill_child(stack: Stack, rng: random.Random) -> str | None:
    """SIGKILL a training process, at any moment of its life."""
    try:
        wait_until(lambda: bool(training_children(stack.settings.data_dir)), CHILD_SECONDS, "child")
    except DidNotHappenError:
        return None
    moment = time.monotonic() + rng.uniform(0.0, rng.choice([1.0, 8.0]))
    while (children := training_children(stack.settings.data_dir)) and time.monotonic() < moment:
        time.sleep(0.05)  # one that lives shorter is struck at another time
    if not children:
        return None
    task_id = rng.choice(sorted(children))
    for group in children[task_id]:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            return None
    return f"child of task {task_id}"


@fault()
def kill_worker(stack: Stack, rng: random.Random) -> str:
    """SIGKILL a worker; its supervisor starts it again."""
    worker = rng.choice(stack.workers)
    worker.kill()
    time.sleep(rng.uniform(0.0, 1.0))
    worker.start()
    return worker.name


@fault()
def kill_api(stack: Stack, rng: random.Random) -> str:
    """SIGKILL the API; its supervisor starts it again."""
    stack.api.kill()
    time.sleep(rng.uniform(0.0, 1.0))
    stack.wait_for_api()
    return "api"


@fault("served")
def kill_redis(stack: Stack, rng: random.Random) -> str:
    """SIGKILL Redis; it comes back with its data."""
    stack.kill_redis()
    time.sleep(rng.uniform(0.0, 3.0))
    stack.start_redis()
    return "its data stays"


@fault("served")
def lose_redis(stack: Stack, rng: random.Random) -> str:
    """SIGKILL Redis; it comes back empty."""
    stack.kill_redis()
    for left in stack.redis_folder.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    time.sleep(rng.uniform(0.0, 3.0))
    stack.start_redis()
    return "its data is lost"


@fault("served")
def restart_database(stack: Stack, rng: random.Random) -> str:
    """Restart Postgres, in order or as after a crash."""
    mode = rng.choice(["fast", "immediate"])
    restart_postgres(stack.settings.resolved_database_url, mode)
    return mode


@fault()
def fill_disk(stack: Stack, rng: random.Random) -> str:
    """Leave no room on the disk of the data for a while."""
    seconds = rng.uniform(1.0, 4.0)
    if not stack.own_disk:
        return _store_fails(stack, errno.ENOSPC, seconds)
    balloon = stack.disk / "balloon"
    with balloon.open("wb") as out:
        while True:
            try:
                room = max(shutil.disk_usage(stack.disk).free, 1)
                os.posix_fallocate(out.fileno(), out.tell(), room)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                break
            out.seek(0, os.SEEK_END)
    time.sleep(seconds)
    balloon.unlink()
    return f"{seconds:.1f} s"


@fault()
def slow_store(stack: Stack, rng: random.Random) -> str:
    """Let every write into the store take longer than a heartbeat."""
    seconds = rng.uniform(2.0, 5.0)
    make_store_faulty(stack, rng.uniform(0.3, 1.0), 0)
    time.sleep(seconds)
    stack.faulty_store.unlink()
    return f"{seconds:.1f} s"


@fault()
def failing_store(stack: Stack, rng: random.Random) -> str:
    """Let every write into the store fail."""
    return _store_fails(stack, errno.EIO, rng.uniform(1.0, 4.0))


@fault()
def slow_reads(stack: Stack, rng: random.Random) -> str:
    """Let whoever opens a file of the store wait for it."""
    seconds = rng.uniform(2.0, 5.0)
    make_store_faulty(stack, rng.uniform(0.3, 1.0), 0, "reads")
    time.sleep(seconds)
    stack.faulty_store.unlink()
    return f"{seconds:.1f} s"


@fault()
def failing_reads(stack: Stack, rng: random.Random) -> str:
    """Let nobody open a file of the store."""
    return _store_fails(stack, errno.EIO, rng.uniform(1.0, 4.0), "reads")


@fault()
def lose_store(stack: Stack, rng: random.Random) -> str:
    """Take the store away for a while, as a mount that goes and comes."""
    blobs = stack.settings.blob_dir
    away = blobs.with_name("blobs-away")
    blobs.rename(away)
    blobs.touch()
    time.sleep(rng.uniform(0.5, 3.0))
    shutil.rmtree(blobs) if blobs.is_dir() else blobs.unlink()  # a worker that starts makes it
    away.rename(blobs)
    return "back"


@fault()
def jump_clock(stack: Stack, rng: random.Random) -> str | None:
    """Let every lease run out, or last for an hour, as after a jump of the clock."""
    ahead = rng.random() < 0.7
    until = 1.0 if ahead else database_now() + 3600.0
    jumped: list[int] = []

    def jumps() -> bool:
        stack.keep()
        jumped.append(_lease_until(stack, until))
        return jumped[-1] > 0

    try:
        wait_until(jumps, CHILD_SECONDS, "a task runs")
    except DidNotHappenError:
        return None
    if not ahead:
        wait_until(lambda: _leases_are_short(stack), 60, "the leases are renewed")
    return f"{jumped[-1]} leases {'ran out' if ahead else 'last for an hour'}"


@fault()
def stop_worker(stack: Stack, rng: random.Random) -> str:
    """SIGSTOP a worker for longer than its lease, then let it go on."""
    worker = rng.choice(stack.workers)
    seconds = stack.settings.lease_seconds * rng.uniform(1.2, 3.0)
    worker.send(signal.SIGSTOP)
    time.sleep(seconds)
    worker.send(signal.SIGCONT)
    return f"{worker.name} for {seconds:.1f} s"


@fault()
def double_message(stack: Stack, rng: random.Random) -> str | None:
    """Send wake-ups for tasks that wait, run or have ended, some times over."""
    try:
        wait_until(lambda: bool(_task_ids(stack)), CHILD_SECONDS, "a task")
    except DidNotHappenError:
        return None
    ids = _task_ids(stack)
    chosen = rng.sample(ids, min(len(ids), 3))
    celery = make_celery(stack.settings)
    for task_id in chosen * rng.randint(2, 4):
        wake(celery, task_id)
    celery.close()
    return f"tasks {', '.join(chosen)}"


@fault("embedded")
def break_message(stack: Stack, rng: random.Random) -> str:
    """Leave a message in the broker's folder that was cut off in the middle."""
    messages = broker_folder(stack.settings) / "messages"
    celery = make_celery(stack.settings)
    whole = '{"body": "W1tdLCB7fV0=", "headers": {"task": "sats.run_task"}, "properties": {}}'
    for number in range(rng.randint(1, 3)):
        half = whole[: rng.randrange(len(whole))]
        (messages / f"{time.time_ns()}_{number}.sats.msg").write_text(half)
    (messages / f".{time.time_ns()}.partial").write_text(whole[:9])
    celery.close()
    return "and a write that never ended"


@fault()
def hang_up(stack: Stack, rng: random.Random) -> str:
    """Begin to post a data set, and break the connection in the middle."""
    address = urlsplit(stack.url)
    head = (
        "POST /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4000000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="spec"\r\n\r\n{"name": "half"}\r\n'
        '--b\r\nContent-Disposition: form-data; name="dataset"; filename="a.zip"\r\n\r\n'
    )
    count = rng.randint(1, 3)
    for _ in range(count):
        body, resets = rng.randbytes(rng.randrange(2_000_000)), rng.random() < 0.5
        with (
            suppress(OSError),  # the service may be the first one to break it
            socket.create_connection((address.hostname, address.port), 30) as line,
        ):
            if resets:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            line.sendall(head.encode() + body)
    return f"{count} times"


def _store_fails(
    stack: Stack, number: int, seconds: float, of: Literal["writes", "reads"] = "writes"
) -> str:
    make_store_faulty(stack, 0.0, number, of)
    time.sleep(seconds)
    stack.faulty_store.unlink()
    return f"{os.strerror(number)} for {seconds:.1f} s"


def _lease_until(stack: Stack, until: Any) -> int:
    """Let the leases of living workers last until then; return how many there are.

    Behind a clock that was set back a lost worker's lease holds for as long, as it must.
    """
    pids = {worker.pid for worker in stack.workers if worker.runs()}
    running = Task.state.in_(RUNNING_STATES)
    with write_session(stack.engine) as session:
        held = [
            task_id
            for task_id, worker in session.execute(select(Task.id, Task.worker).where(running))
            if int(worker.rpartition(":")[2].partition("-")[0]) in pids
        ]
        session.execute(update(Task).where(Task.id.in_(held), running).values(lease_until=until))
    return len(held)


def _leases_are_short(stack: Stack) -> bool:
    stack.keep()
    longest = database_now() + stack.settings.lease_seconds
    with read_session(stack.engine) as session:
        long = select(Task.id).where(Task.state.in_(RUNNING_STATES), Task.lease_until > longest)
        return session.scalar(long.limit(1)) is None


def _task_ids(stack: Stack) -> Sequence[str]:
    with read_session(stack.engine) as session:
        return session.scalars(select(Task.id).order_by(Task.sequence)).all()
