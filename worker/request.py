"""A message of the broker on its way to the worker's task."""

from typing import Any

from celery.worker.request import Request


class EarlyRequest(Request):  # type: ignore[misc] # Celery has no types
    """Acknowledges its message before the task runs, and tells where that fails.

    Celery's own leaves it to its loop, which a pool without processes of its own keeps from running
    until the task has ended: minutes later. Where Redis is away just then, it logs that and goes
    on, with a message that counts as under way for ever, and as many as it may have: it never asks
    for another one. An error that comes here ends the connection, and Celery makes a new one.
    Nothing is lost with a message: who waits stands in the database, and is woken for again.
    """

    acknowledged: bool = False

    def acknowledge(self) -> Any:
        """Acknowledge the message, once.

        Raises:
            OSError, redis.RedisError: the broker does not answer.
        """
        if not self.acknowledged:
            self.message.ack()
            self.acknowledged = True
