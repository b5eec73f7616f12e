"""`/admin/webhooks`: who is told of what."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response

from app.errors import (
    BadRequestProblem,
    IdempotencyKeyReusedProblem,
    InvalidProblem,
    NotFoundProblem,
    UnavailableProblem,
)
from app.http.dependencies import AppServices, ReadSession, WriteSession, require_everywhere
from app.http.parameters import Cursor
from app.http.problems import responses
from app.idempotency.once import AtMostOnce, replayed
from app.keys.problems import KEY_PROBLEMS
from app.records.paging import Listing
from app.webhooks import service
from app.webhooks.schemas import DeliveryPage, NewWebhookJson, WebhookPage, WebhookSpec
from app.webhooks.secrets import webhook_secret

WEBHOOKS = Listing("webhooks", str, service.placed)
DELIVERIES = Listing("deliveries", str, service.placed)

router = APIRouter(
    prefix="/admin/webhooks",
    tags=["admin"],
    dependencies=[Depends(require_everywhere)],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, UnavailableProblem),
)

WebhookId = Annotated[UUID, Path(description="The webhook's id.")]


@router.post(
    "",
    status_code=201,
    summary="Make a webhook",
    operation_id="webhooks_create",
    responses=replayed(201)
    | responses(BadRequestProblem, InvalidProblem, IdempotencyKeyReusedProblem),
)
def create_webhook(
    services: AppServices,
    session: WriteSession,
    spec: WebhookSpec,
    once: AtMostOnce,
    response: Response,
) -> NewWebhookJson:
    """Be told of events by a POST, signed as the Standard Webhooks specification has it.

    `webhook-signature` is `v1,` and the base64 of HMAC-SHA256, with the bytes behind `whsec_` as
    its key, over `{webhook-id}.{webhook-timestamp}.{body}`. What is not answered with 2xx within
    ten seconds is sent again, after 5 seconds, 10, 20, ... an hour, 15 times in all. It may come
    twice, and not in order: `webhook-id` stays the same. Redirects are not followed, and addresses
    that are not public are not connected to unless `SATS_WEBHOOK_PRIVATE` is set.
    """
    before = once.before(spec)
    if before is None:
        made = service.create_webhook(session, spec, services.settings.webhook_private)
        once.made(made.id)
    else:
        made = service.made_before(session, before)
    response.headers["Cache-Control"] = "no-store"
    secret = webhook_secret(services.secret, made.salt)
    return NewWebhookJson(**service.describe(made).model_dump(), secret=secret)


@router.get("", summary="List webhooks", operation_id="webhooks_list")
def list_webhooks(
    session: ReadSession,
    limit: Annotated[int, Query(ge=1, le=200, description="Most webhooks of a page.")] = 50,
    cursor: Cursor = None,
) -> WebhookPage:
    """Return webhooks, the newest first, without their secrets."""
    found = service.list_webhooks(session, limit + 1, WEBHOOKS.read(cursor))
    page, following = WEBHOOKS.cut(found, limit, service.place_of)
    items = [service.describe(hook) for hook in page]
    return WebhookPage(items=items, next_cursor=following)


@router.delete(
    "/{webhook_id}",
    status_code=204,
    summary="Delete a webhook",
    operation_id="webhooks_delete",
    responses=responses(NotFoundProblem),
)
def delete_webhook(session: WriteSession, webhook_id: WebhookId) -> None:
    """Delete a webhook; what waits for it is not delivered any more."""
    service.delete_webhook(session, str(webhook_id))


@router.get(
    "/{webhook_id}/deliveries",
    summary="Look at a webhook's deliveries",
    operation_id="webhooks_deliveries",
    responses=responses(NotFoundProblem),
)
def list_deliveries(
    session: ReadSession,
    webhook_id: WebhookId,
    limit: Annotated[int, Query(ge=1, le=200, description="Most deliveries of a page.")] = 50,
    cursor: Cursor = None,
) -> DeliveryPage:
    """Return deliveries with what became of them, the newest first; they are kept for a week."""
    before = DELIVERIES.read(cursor)
    found = service.deliveries(session, str(webhook_id), limit + 1, before)
    page, following = DELIVERIES.cut(found, limit, service.place_of)
    items = [service.describe_delivery(one) for one in page]
    return DeliveryPage(items=items, next_cursor=following)
