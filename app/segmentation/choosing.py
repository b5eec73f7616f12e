"""Who answers a request."""

from typing import Annotated

from fastapi import Depends, Query

from app.db import read_session
from app.dependencies import AppServices, Segmenter
from app.inference.graphs import Choice
from app.keys.service import check_model
from app.models.schemas import MODEL_PATTERN
from app.segmentation import service


def choose(
    held: AppServices,
    caller: Segmenter,
    model: Annotated[
        str, Query(pattern=MODEL_PATTERN, description="The model that is to answer.")
    ] = "default",
    version: Annotated[
        int | None,
        Query(ge=1, lt=2**31, description="Number of its version; by default the live one."),
    ] = None,
) -> Choice:
    """Choose who answers, before the body is read."""
    check_model(caller, model)
    with read_session(held.engine) as session:
        choice = service.choose(session, held.inference, model, version)
    held.rates.first_picture(caller)
    return choice


Chosen = Annotated[Choice, Depends(choose)]
