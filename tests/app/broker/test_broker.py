import time

from app.broker import RUN_TASK, make_celery, wake


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
