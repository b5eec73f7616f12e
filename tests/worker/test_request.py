"""What Celery does with a message that cannot be acknowledged."""

from time import monotonic

import pytest
from celery.worker import state
from kombu import Message

from app.broker import RUN_TASK, make_celery
from worker.request import EarlyRequest


class Gone:
    """A channel whose broker went since the message came."""

    no_ack_consumers = None

    def basic_ack(self, *_args, **_kw):
        raise ConnectionError("gone")


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_one_whose_broker_is_gone_is_told_and_not_under_way(settings):
    def run_task(_woken_for):
        pytest.fail("it was run")

    celery = make_celery(settings)
    celery.task(name=RUN_TASK, shared=False)(run_task)
    message = Message(
        body='[["task"], {}, {}]',
        delivery_tag="1",
        content_type="application/json",
        content_encoding="utf-8",
        headers={"id": "one", "task": RUN_TASK},
        channel=Gone(),
    )
    request = EarlyRequest(message, app=celery, hostname="here")
    with pytest.raises(ConnectionError, match="gone"):
        request.on_accepted(1, monotonic())
    assert not request.acknowledged
    assert request not in state.active_requests
    assert request.id not in state.requests
