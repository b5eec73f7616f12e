import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from app.broker import RUN_TASK, Sender, make_celery, wake


def test_a_message_carries_the_id_alone(settings):
    celery = make_celery(settings)
    wake(celery, "some-id")
    with celery.connection_for_read() as connection:
        message = connection.SimpleQueue("sats").get(timeout=10)
        message.ack()
    assert message.headers["task"] == RUN_TASK
    assert message.payload[0] == ["some-id"]
    celery.close()


def test_a_broker_that_is_down_is_no_error_and_no_long_wait(settings):
    nowhere = settings.model_copy(update={"redis_url": "redis+socket:///nowhere/redis.sock"})
    celery = make_celery(nowhere)
    started = time.monotonic()
    wake(celery, "some-id")
    assert time.monotonic() - started < 15
    celery.close()


def test_those_who_send_first_at_once_have_one_app(settings):
    for _ in range(20):
        sender, together = Sender(settings), Barrier(4)

        def ask(_, sender=sender, together=together):
            together.wait(10)
            return sender.celery

        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(ask, range(4)))
        assert len(set(map(id, made))) == 1
        sender.close()
    Sender(settings).close()
