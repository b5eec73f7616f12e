"""A message of the broker on its way to the worker's task."""

from celery.worker.request import Request
from celery.worker.state import task_ready


class EarlyRequest(Request):  # type: ignore[misc] # Celery has no types
    """Acknowledges its message before the task runs, and tells where that fails.

    Celery's own leaves it to its loop, which a pool without processes of its own keeps from running
    until the task has ended: minutes later. Where Redis is away just then, it logs that and goes
    on, with a message that counts as under way for ever, and as many as it may have: it never asks
    for another one. An error that comes here ends the connection, and Celery makes a new one.
    Nothing is lost with a message: who waits stands in the database, and is woken for again.
    """

    acknowledged: bool = False

    def acknowledge(self) -> None:
        """Acknowledge the message, once.

        Raises:
            OSError, redis.RedisError: the broker does not answer, or refuses to write.
        """
        if self.acknowledged:
            return
        try:
            self.message.ack()
        except Exception:
            task_ready(self)  # Celery counts it among those that run, and it never will
            raise
        self.acknowledged = True
