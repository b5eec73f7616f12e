"""`POST /admin/models/{model}/versions/{number}:retire`: a version without some classes."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import APIRouter, BackgroundTasks, Depends, Response

from app.db import read_session
from app.errors import (
    BadRequestProblem,
    DiskFullProblem,
    IdempotencyKeyReusedProblem,
    InvalidDatasetProblem,
    InvalidProblem,
    NotFoundProblem,
    TooLargeProblem,
    UnavailableProblem,
    UnsupportedMediaProblem,
)
from app.http.dependencies import Acting, AppServices, require
from app.http.multipart import SPEC
from app.http.problems import responses
from app.keys.problems import (
    KEY_PROBLEMS,
    ByteLimitProblem,
    RequestLimitProblem,
    TaskLimitProblem,
)
from app.keys.service import Scope
from app.registry.paths import ModelName, Number
from app.retirement.checking import (
    DATASET,
    RetirementUnderWayProblem,
    check_dataset,
    check_retirement,
)
from app.retirement.schemas import RETIRE_EXAMPLE, UNLEARN_EXAMPLE, RetireWish
from app.retirement.upload import PostedRetirement
from app.storage import Blob
from app.tasks.answering import ACCEPTED, IdempotencyKey, acceptance, announce
from app.tasks.disk import check_retirement_fits
from app.tasks.schemas import TaskJson
from app.tasks.submission import Submission

router = APIRouter(
    prefix="/admin",
    tags=["admin"],
    dependencies=[Depends(require(Scope.ADMIN))],
    responses=responses(*KEY_PROBLEMS, InvalidProblem, UnavailableProblem),
)

_WISH = RetireWish.model_json_schema(ref_template="#/components/schemas/{model}")
_WISH.pop("$defs", None)
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _WISH, "example": RETIRE_EXAMPLE},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "title": "Retirement",
                    "required": [SPEC],
                    "properties": {
                        SPEC: {**_WISH, "description": "The same, as JSON."},
                        DATASET: {
                            "type": "string",
                            "format": "binary",
                            "description": "A zip of labelled pictures of what goes, what stays, "
                            "or both, in any layout that `POST /tasks` reads. They are read and "
                            "not kept.",
                        },
                    },
                },
                "example": {SPEC: UNLEARN_EXAMPLE, DATASET: "sheep.zip"},
                "encoding": {SPEC: {"contentType": "application/json"}},
            },
        },
    }
}


@router.post(
    "/models/{model}/versions/{number}:retire",
    status_code=202,
    summary="Take classes away",
    operation_id="versions_retire",
    openapi_extra=_BODY,
    responses=ACCEPTED
    | responses(
        BadRequestProblem,
        NotFoundProblem,
        RetirementUnderWayProblem,
        TooLargeProblem,
        UnsupportedMediaProblem,
        InvalidProblem,
        InvalidDatasetProblem,
        IdempotencyKeyReusedProblem,
        RequestLimitProblem,
        TaskLimitProblem,
        ByteLimitProblem,
        DiskFullProblem,
    ),
)
def retire(
    services: AppServices,
    actor: Acting,
    upload: PostedRetirement,
    model: ModelName,
    number: Number,
    response: Response,
    background: BackgroundTasks,
    idempotency_key: IdempotencyKey = None,
) -> TaskJson:
    """Make a version without some of this version's classes, and measure what is left of them.

    A task does it: follow it as any other. The new version's record says what was taken away, how
    far that went, and what was measured; none of it is a guarantee. The classes' indices are never
    given again. This version and those before it stay, and know the classes, until deleted.
    """
    spec = upload.wish.spec(model, number)
    files: dict[str, BinaryIO] = {SPEC: BytesIO(spec.model_dump_json().encode())}
    if upload.dataset is not None:
        files[DATASET] = upload.dataset

    def make(stored: Mapping[str, Blob]) -> Submission:
        caller = upload.caller
        return Submission(
            spec,
            stored[SPEC],
            caller.name,
            idempotency_key,
            stored.get(DATASET),
            by_admin=caller.may(Scope.ADMIN),
            key_id=caller.key_id,
        )

    def check(staged: Mapping[str, Path]) -> None:
        with read_session(services.engine) as session:
            version = check_retirement(session, model, number, spec.classes, upload.classes_field)
        pictures = staged.get(DATASET)
        if pictures is not None:
            check_dataset(pictures, version, services.settings.limits)
        check_retirement_fits(services.settings, version, pictures)

    answer, replayed = acceptance(services, actor).accept(files, make, check)
    return announce(services, response, background, answer, replayed)
