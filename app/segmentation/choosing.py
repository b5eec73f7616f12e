"""Who answers a request."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from app.dependencies import Segmenter, Services, app_services
from app.inference.loaded_graphs import Choice
from app.keys.service import Caller, check_model
from app.registry.schemas import MAX_NUMBER, MODEL_PATTERN
from app.segmentation import service


async def choose(
    request: Request,
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
    return await choose_for_pictures(app_services(request), caller, model, version)


Chosen = Annotated[Choice, Depends(choose)]


async def choose_for_pictures(
    services: Services, caller: Caller, model: str, version: int | None
) -> Choice:
    """Choose who answers a caller's pictures, of which the first is counted now.

    Raises:
        ForbiddenProblem: the caller may not use the model.
        NotFoundProblem, NoLiveVersionProblem: there is no such version.
        NotReadyProblem: it cannot be served.
        PictureLimitProblem: the caller has sent too many pictures in the last minute.
    """
    check_model(caller, model)
    choice = await choose_version(services, model, version)
    services.rates.first_picture(caller)
    return choice


async def choose_version(services: Services, model: str, version: int | None) -> Choice:
    """Choose a model's version of this number, else the live one.

    Raises:
        NotFoundProblem, NoLiveVersionProblem: there is none.
        NotReadyProblem: it cannot be served.
    """
    known = services.live.recall(model, version)
    if known is None:
        known = await run_in_threadpool(services.live.find, model, version)
    return service.choose(services.inference, known, live=version is None)
