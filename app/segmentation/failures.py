"""Why requests were not answered, as it is counted."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.errors import BusyProblem, NotReadyProblem, Problem, StoppingProblem
from app.http.connected import LeftProblem
from app.inference.budget import Share
from app.inference.loaded_graphs import Exported
from app.inference.measures import Measures, Reason
from app.keys.problems import LimitProblem
from app.segmentation.waiting import LateProblem


@dataclass
class Failing:
    """A request that may fail.

    Attributes:
        places: one for each of its pictures, once they are held.
    """

    places: Share | None = None


@contextmanager
def failures_counted(measures: Measures, asked: Exported) -> Iterator[Failing]:
    """Count a problem that ends the block for the version that was asked."""
    failing = Failing()
    try:
        yield failing
    except (Problem, asyncio.CancelledError) as error:
        # Cancelled: the service is stopped, and has refused the request already.
        reason = reason_of(error) if isinstance(error, Problem) else "closed"
        if reason is not None:
            pictures = failing.places.amount if failing.places else 1
            measures.failed(asked.model, asked.number, reason, pictures)
        raise


def reason_of(problem: Problem) -> Reason | None:
    """Return why a request was not answered; None where its caller had asked for too much."""
    match problem:
        case LimitProblem():
            return None
        case LateProblem():
            return "deadline"
        case StoppingProblem():
            return "closed"
        case BusyProblem():
            return "overloaded"
        case LeftProblem():
            return "client"
        case NotReadyProblem():
            return "graph"
        case _:
            return "picture"
