"""Rows whose ids are in the order of the commits: the last that a transaction writes.

Postgres gives ids when rows are inserted: of two writers, the later id could be committed first,
and whoever reads "all ids over the last one seen" would never see the other. So such rows wait
until their transaction is about to commit, and one transaction after another writes them, under a
lock that stands until it has. Whoever holds it waits for nobody: all that the deed writes, and so
all of its other locks, came before it. SQLite has one writer at a time.
"""

from collections.abc import Callable

from sqlalchemy import event, func, select
from sqlalchemy.orm import Session, SessionTransaction

_LOCK = (0x53415453, 1)  # two numbers: apart from the locks on blobs, which are one
_WAITING = "written_at_commit"


def at_commit(session: Session, write: Callable[[Session], None]) -> None:
    """Have something written when the transaction commits; nobody reads it before. Flushes.

    Args:
        session: the transaction of the deed.
        write: adds rows. It locks none that the transaction has not locked before.
    """
    if not session.in_transaction():
        session.begin()  # so that there is something that can be rolled back
    session.flush()
    within = session.get_nested_transaction()
    session.info.setdefault(_WAITING, []).append((within, write))


@event.listens_for(Session, "before_commit")
def _write_down(session: Session) -> None:
    if session.in_nested_transaction() or _WAITING not in session.info:
        return
    session.flush()
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(*_LOCK)))
    for _, write in session.info.pop(_WAITING):
        write(session)
        session.flush()  # ids in the order in which they were asked for


@event.listens_for(Session, "after_soft_rollback")
def _drop_undone(session: Session, undone: SessionTransaction) -> None:
    """Drop what was asked for in a savepoint that is rolled back."""
    if undone.nested and _WAITING in session.info:
        waiting = session.info[_WAITING]
        session.info[_WAITING] = [one for one in waiting if not _is_within(one[0], undone)]


@event.listens_for(Session, "after_transaction_end")
def _drop_rest(session: Session, ended: SessionTransaction) -> None:
    """Drop what was asked for in a transaction that ended in any other way than a commit."""
    if ended.parent is None:
        session.info.pop(_WAITING, None)


def _is_within(inner: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while inner is not None and inner is not outer:
        inner = inner.parent
    return inner is outer
