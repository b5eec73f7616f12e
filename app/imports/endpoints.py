"""`POST /admin/models/{model}/versions`: a checkpoint that was trained elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Depends, Response

from app.db import read_session
from app.errors import (
    BadRequestProblem,
    DiskFullProblem,
    IdempotencyKeyReusedProblem,
    InvalidDatasetProblem,
    InvalidProblem,
    TooLargeProblem,
    UnavailableProblem,
    UnsupportedMediaProblem,
)
from app.http.dependencies import Acting, AppServices, require
from app.http.problems import responses
from app.imports.checking import (
    CHECKPOINT,
    EVALUATE,
    InvalidCheckpointProblem,
    check_import,
)
from app.imports.schemas import IMPORT_EXAMPLE, ImportSpec, ImportWish
from app.imports.upload import PostedImport
from app.keys.problems import (
    KEY_PROBLEMS,
    ByteLimitProblem,
    RequestLimitProblem,
    TaskLimitProblem,
)
from app.keys.service import Scope
from app.registry.naming import check_known
from app.registry.problems import UnknownModelProblem
from app.storage import Blob
from app.tasks.answering import ACCEPTED, IdempotencyKey, acceptance, announce
from app.tasks.disk import check_task_fits
from app.tasks.schemas import TaskJson
from app.tasks.submission import Submission

router = APIRouter(
    prefix="/admin",
    tags=["admin"],
    dependencies=[Depends(require(Scope.ADMIN))],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, UnavailableProblem),
)

_FILE = {"type": "string", "format": "binary"}
_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "title": "Import",
                    "required": [CHECKPOINT],
                    "properties": {
                        CHECKPOINT: {
                            **_FILE,
                            "description": "A zip of a Hugging Face SegFormer directory: "
                            "`config.json`, `preprocessor_config.json`, `model.safetensors` (or "
                            "its shards and index), at the root or one folder down.",
                        },
                        EVALUATE: {
                            **_FILE,
                            "description": "A zip of labelled pictures, in any layout that "
                            "`POST /tasks` reads: the version is scored on them, and they are kept "
                            "so that later versions are too.",
                        },
                        "spec": {
                            **ImportWish.model_json_schema(),
                            "description": "How to import it, as JSON.",
                        },
                    },
                },
                "example": {CHECKPOINT: "segformer.zip", "spec": IMPORT_EXAMPLE},
                "encoding": {"spec": {"contentType": "application/json"}},
            }
        },
    }
}


@router.post(
    "/models/{model}/versions",
    status_code=202,
    summary="Import a model",
    operation_id="versions_import",
    openapi_extra=_UPLOAD,
    responses=ACCEPTED
    | responses(
        BadRequestProblem,
        TooLargeProblem,
        UnsupportedMediaProblem,
        InvalidProblem,
        InvalidCheckpointProblem,
        InvalidDatasetProblem,
        UnknownModelProblem,
        IdempotencyKeyReusedProblem,
        RequestLimitProblem,
        TaskLimitProblem,
        ByteLimitProblem,
        DiskFullProblem,
    ),
)
def post_import(
    services: AppServices,
    actor: Acting,
    upload: PostedImport,
    response: Response,
    background: BackgroundTasks,
    idempotency_key: IdempotencyKey = None,
) -> TaskJson:
    """Make a version of a SegFormer that was trained elsewhere, without training.

    A task does it: follow it as any other. Configuration and labels are checked at once; the
    weights when the task runs. Tasks posted afterwards start from the version. Put `spec` first: a
    model that is not there is then refused before the checkpoint is sent.
    """
    model, posted = upload.model, upload.wish.model_dump(exclude_unset=True)
    spec = ImportSpec(**posted, model=model, source=upload.source)
    limits = services.settings.limits

    def make(stored: Mapping[str, Blob]) -> Submission:
        caller = upload.caller
        return Submission(
            spec,
            stored[CHECKPOINT],
            caller.name,
            idempotency_key,
            stored.get(EVALUATE),
            by_admin=caller.may(Scope.ADMIN),
            key_id=caller.key_id,
        )

    def check(staged: Mapping[str, Path]) -> None:
        if not spec.create:
            with read_session(services.engine) as session:
                check_known(session, model, upload.caller.reaches, "model")
        check_import(services.engine, spec, staged[CHECKPOINT], staged.get(EVALUATE), limits)
        check_task_fits(
            services.engine, services.settings, spec, staged[CHECKPOINT], staged.get(EVALUATE)
        )

    answer, replayed = acceptance(services, actor).accept(upload.files, make, check)
    return announce(services, response, background, answer, replayed)
