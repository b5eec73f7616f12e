"""The HTTP service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from app.admin.aliases import router as aliases
from app.admin.endpoints import router as admin
from app.audit.endpoints import router as audit
from app.deletion.endpoints import router as deletion
from app.http.documented_headers import with_headers
from app.http.draining import Draining, DrainingMiddleware
from app.http.examples import with_examples
from app.http.headers import CrossOriginMiddleware, RequestIdMiddleware, SecurityHeadersMiddleware
from app.http.problems import install_handlers
from app.http.schema_names import without_suffix
from app.http.services import open_services
from app.imports.endpoints import router as imports
from app.integrations.fiftyone.endpoints import router as fiftyone
from app.integrations.label_studio.endpoints import router as label_studio
from app.integrations.label_studio.pages import router as label_studio_pages
from app.integrations.label_studio.training import router as label_studio_training
from app.integrations.protocols.hugging_face import router as hugging_face
from app.integrations.protocols.open_inference import models as open_inference
from app.integrations.protocols.open_inference import server as open_inference_server
from app.integrations.protocols.refusals import SPELLINGS
from app.keys.endpoints import router as keys
from app.keys.limit_headers import LimitHeadersMiddleware
from app.overview.endpoints import router as overview
from app.probes.endpoints import router as probes
from app.probes.metrics import RequestMetrics, RequestMetricsMiddleware
from app.probes.tracing import TracingMiddleware
from app.registry.endpoints import router as registry
from app.retirement.endpoints import router as retirement
from app.segmentation.endpoints import router as segmentation
from app.settings import Settings, get_settings
from app.tasks.endpoints import router as tasks
from app.tasks.following import router as following
from app.tasks.watching import router as watching
from app.telemetry import tracing
from app.uploads.endpoints import router as uploads
from app.uploads.part_endpoints import router as upload_parts
from app.web.attempts import Attempts
from app.web.endpoints import router as web
from app.webhooks.endpoints import router as webhooks
from app.webhooks.payloads import router as payloads
from app.workers.endpoints import router as workers

DESCRIPTION = """
Keeps a semantic segmentation model learning: post labelled pictures of a new class, and some
minutes later the same endpoint segments it beside the old ones. The old training pictures are not
needed.

1. `POST /tasks` with a zip of labelled pictures; follow `GET /tasks/{id}` or its events.
2. When it has `succeeded` with the outcome `live`, `POST /segment` finds the new classes too,
   within a second.
3. `GET /admin/models/default/versions` shows what every step gained and what it forgot.

A SegFormer that was trained elsewhere becomes a model's first version with
`POST /admin/models/{model}/versions`.

Every refusal is `application/problem+json` (RFC 9457) and names the file, field or class at fault,
each with a `code`;
under `/v2`, which speaks the Open Inference Protocol, it is `{"error": "..."}`.

A POST that changes something reads `Idempotency-Key`: sent again under the same key it does nothing
again, and its answer says so with `Idempotency-Replayed: true`. Those that change nothing have no
need of one and read none: `/segment`, `/hf/...`, `/v2/...`, Label Studio's `predict` and `setup`,
and the token of a task's events; nor does `:complete` of an upload, which puts the same parts
together however often it is asked. Label Studio's `webhook` reads none either, as Label Studio
sends none: however often training is asked for while a project's task is under way, one more
follows.
"""

TAGS = [
    {
        "name": "tasks",
        "description": "Teach the model something new. Scope `submit`, which sees its own tasks; "
        "`read` sees those of all, and changes none.",
    },
    {
        "name": "segmentation",
        "description": "Ask the model. Scope `segment`; for `GET /classes` `read` does too.",
    },
    {
        "name": "admin",
        "description": "Versions, scores, what is live, keys, who did what. Scope `admin`; for "
        "what changes nothing `read` does.",
    },
    {"name": "probes", "description": "For the machines that watch the service. No key."},
]


class _Service(FastAPI):
    """The service, whose document names records as clients shall know them, with examples."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document; made once."""
        if self.openapi_schema is None:
            self.openapi_schema = with_headers(with_examples(without_suffix(super().openapi())))
        return self.openapi_schema


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the service; it touches disk and network when it starts, not before."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tracing.start("sats-api")
        services = open_services(settings or get_settings())
        app.state.services = services
        app.state.draining.on_begin(services.streams.end)
        try:
            yield
        finally:
            services.close()
            tracing.stop()

    app = _Service(
        title="SATS",
        summary="Segmentation that keeps learning",
        description=DESCRIPTION,
        version=version("sats"),
        openapi_tags=TAGS,
        lifespan=lifespan,
        # One schema for a record that is posted and shown: what has a default may be left out.
        separate_input_output_schemas=False,
        docs_url=None,  # its page is ours
        redoc_url=None,
        redirect_slashes=False,  # a path is ours or is not: bodies and keys are sent once
        telemetry={"tracing": False, "metrics": False, "logs": False},  # a request's span is ours
    )
    app.state.login_attempts = Attempts()
    app.state.metrics = RequestMetrics()
    app.state.draining = Draining()
    app.add_middleware(DrainingMiddleware, draining=app.state.draining)
    app.add_middleware(CrossOriginMiddleware)
    app.add_middleware(RequestMetricsMiddleware, metrics=app.state.metrics)
    app.add_middleware(SecurityHeadersMiddleware)
    app.add_middleware(LimitHeadersMiddleware)
    app.add_middleware(TracingMiddleware)
    app.add_middleware(RequestIdMiddleware)
    install_handlers(app, SPELLINGS)
    operators = (overview, admin, fiftyone, aliases, deletion, keys, audit, webhooks, workers)
    protocols = (open_inference, open_inference_server, hugging_face)
    for router in (
        segmentation,  # first: it is asked most, and routes are tried in their order
        tasks,
        following,
        watching,
        uploads,
        upload_parts,
        *protocols,
        label_studio,
        label_studio_training,
        label_studio_pages,
        registry,
        imports,
        retirement,
        *operators,
        probes,
        web,
    ):
        # As they are: `include_router` works out anew what each of them takes when the first
        # request comes, and looks through all routers twice a request.
        app.router.routes.extend(router.routes)
    app.webhooks.routes.extend(payloads.routes)  # what others are sent: in the document alone
    return app
