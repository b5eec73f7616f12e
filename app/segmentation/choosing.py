"""Who answers a request."""

from typing import Annotated

from fastapi import Depends, Query
from starlette.concurrency import run_in_threadpool

from app.dependencies import AppServices, Segmenter
from app.inference.loaded_graphs import Choice
from app.keys.service import check_model
from app.registry.schemas import MAX_NUMBER, MODEL_PATTERN
from app.segmentation import service


async def choose(
    services: AppServices,
    caller: Segmenter,
    model: Annotated[
        str, Query(pattern=MODEL_PATTERN, description="The model that is to answer.")
    ] = "default",
    version: Annotated[
        int | None,
        Query(ge=1, le=MAX_NUMBER, description="Number of its version; by default the live one."),
    ] = None,
) -> Choice:
    """Choose who answers, before the body is read."""
    check_model(caller, model)
    known = services.live.recall(model, version)
    if known is None:
        known = await run_in_threadpool(services.live.find, model, version)
    choice = service.choose(services.inference, known, live=version is None)
    services.rates.first_picture(caller)
    return choice


Chosen = Annotated[Choice, Depends(choose)]
