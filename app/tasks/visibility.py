"""Whose tasks are whose: a key sees its own, who may read all. Web-free."""

from sqlalchemy import ColumnElement, true

from app.db import Model, Task
from app.keys.service import Caller, Scope


def visible(caller: Caller) -> ColumnElement[bool]:
    """Return which tasks a caller sees: all of a reader's models, or those that its key posted."""
    if not caller.may(Scope.READ):
        return Task.key_id == caller.key_id
    if caller.models:
        return Task.model.has(Model.name.in_(caller.models))
    return true()


def sees(caller: Caller, key_id: int | None, model: str) -> bool:
    """Return whether a caller sees a task: what `visible` says of one that is at hand.

    Args:
        caller: who asks.
        key_id: the key that posted it; None: nobody's.
        model: name of its model.
    """
    return caller.reaches(model) if caller.may(Scope.READ) else key_id == caller.key_id
