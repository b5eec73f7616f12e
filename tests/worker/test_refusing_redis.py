"""A Redis that answers and writes nothing: a replica that is about to take over, or a full disk."""

import pytest
from redis import Redis

from app.db import TaskState
from tests.app.test_degraded import redis_folder
from tests.fixtures.servers import redis_in, redis_url_in
from tests.worker.bench import Bench, eventually

__all__ = ["redis_folder"]


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_a_worker_waits_until_it_writes_again(settings, engine, blobs, redis_folder, control):
    bench = Bench(
        settings.model_copy(update={"redis_url": redis_url_in(redis_folder)}),
        *(engine, blobs, control),
    )
    control.plan(epochs=1)
    redis = Redis(unix_socket_path=str(redis_folder / "redis.sock"))
    with redis_in(redis_folder), redis, bench.worker() as worker:
        eventually(lambda: " ready." in worker.log.read_text())
        redis.config_set("min-replicas-to-write", 1)
        eventually(lambda: "NOREPLICAS" in worker.log.read_text())
        redis.config_set("min-replicas-to-write", 0)
        task_id = bench.post(["cat"])
        bench.wake(task_id)
        bench.ends(task_id, TaskState.LIVE)
        assert worker.process.poll() is None
