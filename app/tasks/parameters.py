"""How a list of tasks is asked for: the parameters that narrow it."""

from typing import Annotated

from fastapi import Query

from app.http.parameters import Time
from app.records.patterns import NO_NUL
from app.registry.schemas import MODEL_PATTERN
from app.tasks.listing import Wanted
from app.tasks.states import TaskOutcome, TaskStateJson


def wanted(
    model: Annotated[
        str | None, Query(pattern=MODEL_PATTERN, description="Only this model's tasks.")
    ] = None,
    state: Annotated[
        list[TaskStateJson] | None,
        Query(description="Only tasks in this state; given again, in any of these."),
    ] = None,
    outcome: Annotated[
        list[TaskOutcome] | None,
        Query(description="Only tasks that succeeded with this outcome; given again, with any."),
    ] = None,
    submitter: Annotated[
        str | None,
        Query(
            max_length=100,
            pattern=NO_NUL,
            description="Only what the key of this name posted; empty: what came without a key.",
        ),
    ] = None,
    created_after: Annotated[
        Time | None, Query(description="Not before this time; without a zone, UTC.")
    ] = None,
    created_before: Annotated[Time | None, Query(description="Before this time.")] = None,
    text: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=200,
            pattern=NO_NUL,
            description="Only tasks in whose name this stands, in upper or lower case.",
        ),
    ] = None,
) -> Wanted:
    """Return which tasks are asked for."""
    return Wanted(model, state or (), outcome or (), submitter, created_after, created_before, text)
