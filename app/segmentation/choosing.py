"""Who answers a request."""

from starlette.concurrency import run_in_threadpool

from app.http.services import Services
from app.inference.loaded_graphs import Choice
from app.keys.service import Caller, check_model
from app.segmentation import service


async def choose_for_pictures(
    services: Services, caller: Caller, model: str, version: int | None
) -> Choice:
    """Choose who answers a caller's pictures.

    Raises:
        ForbiddenProblem: the caller may not use the model.
        NotFoundProblem, NoLiveVersionProblem: there is no such version.
        NotReadyProblem: it cannot be served.
    """
    check_model(caller, model)
    return await choose_version(services, model, version)


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
