"""Who answers a request."""

from typing import Annotated

from fastapi import Depends, Query

from app.db import read_session
from app.dependencies import AppServices, Segmenter
from app.inference.graphs import Choice
from app.models.schemas import MODEL_PATTERN
from app.segmentation import service


def choose(
    held: AppServices,
    _caller: Segmenter,
    model: Annotated[
        str, Query(pattern=MODEL_PATTERN, description="The model that is to answer.")
    ] = "default",
    version: Annotated[
        int | None,
        Query(ge=1, lt=2**31, description="Number of its version; by default the live one."),
    ] = None,
) -> Choice:
    """Choose who answers, before the body is read."""
    with read_session(held.engine) as session:
        return service.choose(session, held.inference, model, version)


Chosen = Annotated[Choice, Depends(choose)]
