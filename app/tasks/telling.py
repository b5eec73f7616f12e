"""What happens to a task, told as it happens. Web-free."""

from sqlalchemy.orm import Session

from app.db import TaskEvent
from app.db.at_commit import at_commit
from app.db.base import JsonObject


def tell(session: Session, task_id: str, kind: str, data: JsonObject) -> None:
    """Add an event, in the transaction of what it tells; it is there with the commit. Flushes.

    Ids of events, whatever their tasks, are in the order of the commits. The transaction has locked
    the task's row before.
    """
    event = TaskEvent(task_id=task_id, kind=kind, data=data)
    at_commit(session, lambda session: session.add(event))
