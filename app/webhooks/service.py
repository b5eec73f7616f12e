"""Webhooks: made, listed, deleted; what became of their deliveries."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, delete, or_, select
from sqlalchemy.orm import Session

from app.audit.actor import actor_of
from app.audit.schemas import ActorJson
from app.audit.service import Action, record
from app.db import DeliveryState, Webhook, WebhookDelivery
from app.db.base import utc_text
from app.errors import NotFoundProblem
from app.idempotency.service import reused
from app.webhooks.addresses import check_url
from app.webhooks.outbox import WebhookEvent
from app.webhooks.schemas import DeliveryJson, WebhookJson, WebhookSpec


def create_webhook(session: Session, spec: WebhookSpec, private: bool) -> Webhook:
    """Add a webhook. Flushes.

    Raises:
        InvalidProblem: its URL cannot be delivered to.
    """
    check_url(spec.url, private)
    made = Webhook(
        url=spec.url,
        events=sorted(set(spec.events)),
        model=spec.model,
        salt=secrets.token_hex(32),
        made_by=actor_of(session),
    )
    session.add(made)
    session.flush()
    told = {"url": made.url, "events": made.events}
    record(session, Action.WEBHOOK_CREATE, _path(made), model=made.model, after=told)
    return made


def made_before(session: Session, webhook_id: str) -> Webhook:
    """Return a webhook that the same request made before.

    Raises:
        IdempotencyKeyReusedProblem: it was deleted.
    """
    found = session.get(Webhook, webhook_id)
    if found is None:
        raise reused("the webhook that was made with this key was deleted")
    return found


def list_webhooks(session: Session, limit: int, before: str | None = None) -> Sequence[Webhook]:
    """Return webhooks, the newest first: some of those behind a place."""
    found = select(Webhook).order_by(Webhook.created_at.desc(), Webhook.id).limit(limit)
    return session.scalars(found if before is None else found.where(_behind(Webhook, before))).all()


def place_of(row: Webhook | WebhookDelivery) -> str:
    """Return where a row stands in its list, the newest first: its time and its id."""
    return f"{utc_text(row.created_at)} {row.id}"


def placed(place: str) -> tuple[datetime, str]:
    """Return time and id of a place.

    Raises:
        ValueError: it is none.
    """
    time, _, last = place.partition(" ")
    if not time.endswith("Z"):
        raise ValueError("not in UTC")
    return datetime.fromisoformat(time), last


def _behind(table: type[Webhook] | type[WebhookDelivery], place: str) -> ColumnElement[bool]:
    at, last = placed(place)
    return or_(table.created_at < at, and_(table.created_at == at, table.id > last))


def delete_webhook(session: Session, webhook_id: str) -> None:
    """Delete a webhook and all of its deliveries; what waits is not delivered any more. Flushes.

    Raises:
        NotFoundProblem: no such webhook.
    """
    hook = _webhook(session, webhook_id)
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.webhook_id == hook.id))
    session.delete(hook)
    told = {"url": hook.url, "events": hook.events}
    record(session, Action.WEBHOOK_DELETE, _path(hook), model=hook.model, before=told)


def deliveries(
    session: Session, webhook_id: str, limit: int, before: str | None = None
) -> Sequence[WebhookDelivery]:
    """Return a webhook's deliveries, the newest first: some of those behind a place.

    Raises:
        NotFoundProblem: no such webhook.
    """
    of_hook = WebhookDelivery.webhook_id == _webhook(session, webhook_id).id
    newest = (WebhookDelivery.created_at.desc(), WebhookDelivery.id)
    found = select(WebhookDelivery).where(of_hook).order_by(*newest).limit(limit)
    if before is not None:
        found = found.where(_behind(WebhookDelivery, before))
    return session.scalars(found).all()


def _path(hook: Webhook) -> str:
    return f"/admin/webhooks/{hook.id}"


def describe(hook: Webhook) -> WebhookJson:
    """Return how a webhook looks over HTTP."""
    return WebhookJson(
        id=hook.id,
        url=hook.url,
        events=[WebhookEvent(name) for name in hook.events],
        model=hook.model,
        created_at=hook.created_at,
        made_by=ActorJson.of(hook.who),
    )


def describe_delivery(one: WebhookDelivery) -> DeliveryJson:
    """Return how a delivery looks over HTTP."""
    waits = one.state == DeliveryState.WAITING and one.due_at > 0
    return DeliveryJson(
        id=one.id,
        type=WebhookEvent(one.event),
        created_at=one.created_at,
        state=one.state,
        attempts=one.attempts,
        next_attempt_at=datetime.fromtimestamp(one.due_at, UTC) if waits else None,
        status=one.status,
        error=one.error,
        ended_at=one.ended_at,
    )


def _webhook(session: Session, webhook_id: str) -> Webhook:
    found = session.get(Webhook, webhook_id)
    if found is None:
        raise NotFoundProblem(f"there is no webhook {webhook_id}")
    return found
