"""Delivers what lies in the outbox of webhooks, at least once each, beside whatever else runs.

    waiting ── take ──► waiting, leased ── 2xx ──► delivered
       ▲                    │
       └─── back off ───────┴── after the last attempt ──► failed

A worker that is lost in between lets its lease run out, and another one delivers again, under the
same id. `attempts` is the fence: only who took a row last may write what became of it.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import Engine, delete, exists, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.elements import ColumnElement

from app.db import (
    DeliveryState,
    Webhook,
    WebhookDelivery,
    database_now,
    has_come,
    present,
    read_session,
    write_session,
)
from app.db.base import JsonObject, database_time
from app.webhooks.outbox import envelope_of
from app.webhooks.secrets import webhook_secret
from app.webhooks.sending import Answer, send

THREADS = 4
POLL_SECONDS = 1.0
LEASE_SECONDS = 60.0
"""How long a row is taken for; much longer than an attempt may take."""
MOST_ATTEMPTS = 15
FIRST_WAIT_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 3600.0
KEPT_DAYS = 7
"""How long what became of a delivery can be looked at."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Parcel:
    """A delivery that was taken, with all that its attempt needs."""

    id: str
    attempt: int
    url: str
    salt: str
    payload: JsonObject


class Courier:
    """Takes deliveries that are due and makes an attempt at each, a few at a time.

    Args:
        engine: the database.
        secret: the service's, which webhooks' secrets are made from.
        private: whether addresses that are not public are delivered to.
    """

    def __init__(self, engine: Engine, secret: bytes, private: bool) -> None:
        self._engine = engine
        self._secret = secret
        self._private = private
        self._free = threading.Semaphore(THREADS)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        """Deliver from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more; attempts that are being made are finished first."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def next(self) -> Parcel | None:
        """Take a delivery that is due, if there is one."""
        with read_session(self._engine) as session:  # no write lock where there is nothing to do
            if session.scalar(select(WebhookDelivery.id).where(_due()).limit(1)) is None:
                return None
        with write_session(self._engine) as session:
            return take(session)

    def deliver(self, parcel: Parcel) -> None:
        """Make one attempt and write what became of it."""
        secret = webhook_secret(self._secret, parcel.salt)
        answer = send(
            parcel.url, secret, parcel.id, int(time.time()), parcel.payload, self._private
        )
        log.info("webhook_sent", delivery=parcel.id, attempt=parcel.attempt, **vars(answer))
        with write_session(self._engine) as session:
            record(session, parcel, answer)

    def _run(self) -> None:
        with ThreadPoolExecutor(THREADS, "webhooks") as pool:
            while not self._over.is_set():
                if not self._free.acquire(timeout=POLL_SECONDS):
                    continue
                parcel = self._try_next()
                if parcel is None:
                    self._free.release()
                    self._over.wait(POLL_SECONDS)
                else:
                    pool.submit(self._attempt, parcel)

    def _try_next(self) -> Parcel | None:
        try:
            return self.next()
        except SQLAlchemyError as error:
            log.warning("webhooks_not_read", error=str(error))
        except Exception:
            # The thread must outlive any one bad row: nobody else delivers in this process.
            log.exception("webhooks_not_read")
        return None

    def _attempt(self, parcel: Parcel) -> None:
        try:
            self.deliver(parcel)
        except Exception:
            log.exception("webhook_not_recorded", delivery=parcel.id)  # its lease runs out
        finally:
            self._free.release()


def take(session: Session) -> Parcel | None:
    """Take the delivery that has been due for longest, for `LEASE_SECONDS`.

    One webhook has one attempt at a time, so that a slow receiver does not hold all threads.
    """
    found = session.scalar(
        select(WebhookDelivery)
        .where(_due())
        .order_by(WebhookDelivery.due_at, WebhookDelivery.created_at, WebhookDelivery.id)
        .limit(1)
        .with_for_update(of=WebhookDelivery, skip_locked=True)
    )
    if found is None:
        return None
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == found.id)
        .values(attempts=WebhookDelivery.attempts + 1, lease_until=database_now() + LEASE_SECONDS)
        .execution_options(synchronize_session=False)
    )
    hook = session.get_one(Webhook, found.webhook_id)
    return Parcel(found.id, found.attempts + 1, hook.url, hook.salt, envelope_of(found.payload))


def record(session: Session, parcel: Parcel, answer: Answer) -> bool:
    """Write what became of an attempt; says whether it was still ours to write."""
    values: dict[str, object] = {
        "lease_until": None,
        "status": answer.status,
        "error": answer.error,
    }
    if answer.error is None:
        values |= {"state": DeliveryState.DELIVERED, "ended_at": database_time()}
    elif parcel.attempt >= MOST_ATTEMPTS:
        values |= {"state": DeliveryState.FAILED, "ended_at": database_time()}
    else:
        values["due_at"] = database_now() + wait_after(parcel.attempt)
    mine = (
        update(WebhookDelivery)
        .where(
            WebhookDelivery.id == parcel.id,
            WebhookDelivery.attempts == parcel.attempt,
            WebhookDelivery.state == DeliveryState.WAITING,
        )
        .values(values)
        .returning(WebhookDelivery.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalar(mine) is not None


def wait_after(attempt: int) -> float:
    """Return how many seconds pass after an attempt, the first of which is 1."""
    return min(FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1), LONGEST_WAIT_SECONDS)


def forget(session: Session) -> None:
    """Remove deliveries that ended long ago."""
    before = present(session) - timedelta(days=KEPT_DAYS)
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.ended_at < before))


def _due() -> ColumnElement[bool]:
    other = aliased(WebhookDelivery)
    under_way = exists().where(
        other.webhook_id == WebhookDelivery.webhook_id, ~has_come(other.lease_until, LEASE_SECONDS)
    )
    lease = WebhookDelivery.lease_until
    return (
        (WebhookDelivery.state == DeliveryState.WAITING)
        & has_come(WebhookDelivery.due_at, LONGEST_WAIT_SECONDS)
        & or_(lease.is_(None), has_come(lease, LEASE_SECONDS))
        & ~under_way
    )
