"""`/classes`: what a model can name."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool

from app.errors import (
    InvalidProblem,
    NoLiveVersionProblem,
    NotFoundProblem,
    UnavailableProblem,
)
from app.http.dependencies import AppServices, require
from app.http.parameters import Digits
from app.http.problems import responses
from app.keys.problems import KEY_PROBLEMS
from app.keys.service import Caller, Scope, check_model
from app.registry.schemas import (
    MAX_NUMBER,
    MODEL_PATTERN,
    ClassesJson,
    LearnedClassJson,
    hex_colour,
)

_MAY_ASK = require(Scope.SEGMENT, Scope.READ)

router = APIRouter(tags=["segmentation"], dependencies=[Depends(_MAY_ASK)])


@router.get(
    "/classes",
    summary="List the classes",
    operation_id="classes_list",
    responses=responses(
        *KEY_PROBLEMS,
        NotFoundProblem,
        NoLiveVersionProblem,
        InvalidProblem,
        UnavailableProblem,
    ),
)
async def list_classes(
    services: AppServices,
    caller: Annotated[Caller, Depends(_MAY_ASK)],
    model: Annotated[str, Query(pattern=MODEL_PATTERN, description="The model.")] = "default",
    version: Annotated[
        int | None,
        Query(ge=1, le=MAX_NUMBER, description="Number of a version; by default the live one."),
        Digits,
    ] = None,
) -> ClassesJson:
    """Return every class that a version has learned."""
    check_model(caller, model)
    found = services.live.recall(model, version)
    if found is None:
        found = await run_in_threadpool(services.live.find, model, version)
    return ClassesJson(
        model=model,
        version=found.number,
        classes=[
            LearnedClassJson(
                index=entry["index"],
                name=entry["name"],
                color=hex_colour(entry["colour"]),
                version=found.brought.get(entry["name"], found.line[0]),
            )
            for entry in found.classes
        ],
    )
