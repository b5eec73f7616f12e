"""Probes: is the process alive, can it work, what does it count."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from app.broker import broker_fault, skipped_messages
from app.db.migrate import is_current
from app.errors import ErrorDetail, NotReadyProblem
from app.errors.codes import Code
from app.http.dependencies import AppServices
from app.http.problems import Responses, responses
from app.http.services import Services
from app.probes.metrics import RequestMetrics
from app.processes.restarts import read_api_restarts, read_restarts

router = APIRouter(tags=["probes"])


class HealthJson(BaseModel):
    """All is well."""

    status: str = Field("ok", description="Always `ok`; what is wrong is a problem.")


class ReadyJson(HealthJson):
    """The service can work; what went wrong on the way and was mended."""

    worker_restarts: int | None = Field(
        description="How often `sats serve` started its worker again, because it had ended; null "
        "where it runs none."
    )
    api_restarts: int | None = Field(
        description="How often `sats serve`, or `sats api` with several processes, started again "
        "one that answers, because it was killed; null where neither started this one."
    )
    skipped_messages: int | None = Field(
        description="Files that the embedded broker set aside because they were no messages; null "
        "with Redis. No task is lost by them."
    )
    down: dict[str, str] = Field(
        description="Parts that do not work now and without which versions that are loaded go on "
        "answering, and why: `blobs`, where they lie in an object store. Empty: all work."
    )


@router.get("/health/live", summary="Is the process alive", operation_id="health_live")
async def live() -> HealthJson:
    """Answer; asks nobody else, and waits for no thread: all may wait for a part that is down."""
    return HealthJson()


@router.get(
    "/health/ready",
    summary="Can the service work",
    operation_id="health_ready",
    responses=responses(NotReadyProblem),
)
def ready(request: Request, services: AppServices) -> ReadyJson:
    """Ask the database, the broker and the blob store whether they answer.

    After a start the live versions are waited for, for a bounded time; a service that is being
    stopped is not ready. An object store that is down does not make the service unready, as all
    processes would be at once, and could go on answering: `down` names it. Neither does what was
    mended on the way; it is worth a look at the log. `/metrics` tells what was found.
    """
    if request.app.state.draining.begun:
        raise NotReadyProblem("not ready: the service is being stopped")
    counted: RequestMetrics = request.app.state.metrics
    found = {part: why for part, check in CHECKS.items() if (why := check(services)) is not None}
    counted.note_ready(CHECKS, found.keys())
    borne = ("blobs",) if services.blobs.elsewhere else ()
    failed = [
        ErrorDetail(why, field=part, code=Code.UNAVAILABLE)
        for part, why in found.items()
        if part not in borne
    ]
    if failed:
        names = ", ".join(str(error.field) for error in failed)
        raise NotReadyProblem(f"not ready: {names}", failed)
    return ReadyJson(
        worker_restarts=read_restarts(services.settings.restarts_file),
        api_restarts=read_api_restarts(services.settings.restarts_file),
        skipped_messages=skipped_messages(services.settings),
        down=found,
    )


def _check_database(services: Services) -> str | None:
    try:
        current = is_current(services.engine)
    except SQLAlchemyError as error:
        return f"does not answer: {type(error).__name__}"
    return None if current else "its tables are those of an older version: `sats migrate`"


def _check_broker(services: Services) -> str | None:
    why = broker_fault(services.settings, lambda: services.sender.celery)
    return None if why is None else f"does not answer: {why}"


def _check_blobs(services: Services) -> str | None:
    return services.blobs.fault()


def _check_graphs(services: Services) -> str | None:
    try:
        return services.warm_up.reason()
    except SQLAlchemyError:
        return None  # the database's own check says so


CHECKS: dict[str, Callable[[Services], str | None]] = {
    "database": _check_database,
    "broker": _check_broker,
    "blobs": _check_blobs,
    "graphs": _check_graphs,
}

_TEXT: Responses = {
    200: {
        "description": "Prometheus' text format.",
        "content": {
            "text/plain": {
                "schema": {"type": "string", "description": "One sample a line."},
                "example": 'sats_tasks{state="queued"} 1.0\nsats_live_version{model="default"} 2.0',
            }
        },
    }
}


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    operation_id="prometheus_metrics",
    response_class=Response,
    responses=_TEXT,
)
def expose_metrics(request: Request, services: AppServices) -> Response:
    """Requests and pictures, process by process; tasks, live versions and mended faults in all.

    While the database does not answer, `sats_database_up` is 0 and nothing is told of tasks and
    live versions.
    """
    counted: RequestMetrics = request.app.state.metrics
    return Response(
        counted.expose(services.settings, services.engine, services.inference),
        media_type=CONTENT_TYPE_PLAIN_1_0_0,
    )
