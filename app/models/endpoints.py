"""`/classes`: what a model can name."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from app.dependencies import ReadSession, Segmenter, require
from app.errors import (
    BusyProblem,
    InvalidProblem,
    NoLiveVersionProblem,
    NotFoundProblem,
)
from app.keys.problems import KEY_PROBLEMS
from app.keys.service import Scope, check_model
from app.models.schemas import MODEL_PATTERN, ClassesJson, LearnedClassJson, hex_colour
from app.models.service import lineage, served_version
from app.problems import responses

router = APIRouter(tags=["segmentation"], dependencies=[Depends(require(Scope.SEGMENT))])


@router.get(
    "/classes",
    summary="List the classes",
    responses=responses(
        *KEY_PROBLEMS,
        NotFoundProblem,
        NoLiveVersionProblem,
        InvalidProblem,
        BusyProblem,
    ),
)
def list_classes(
    session: ReadSession,
    caller: Segmenter,
    model: Annotated[str, Query(pattern=MODEL_PATTERN, description="The model.")] = "default",
    version: Annotated[
        int | None,
        Query(ge=1, le=2**31 - 1, description="Number of a version; by default the live one."),
    ] = None,
) -> ClassesJson:
    """Return every class that a version has learned."""
    check_model(caller, model)
    found = served_version(session, model, version)
    line = lineage(found)
    return ClassesJson(
        model=model,
        version=found.number,
        classes=[
            LearnedClassJson(
                index=entry["index"],
                name=entry["name"],
                colour=hex_colour(entry["colour"]),
                version=line[entry["step"]].number,
            )
            for entry in found.classes
        ],
    )
