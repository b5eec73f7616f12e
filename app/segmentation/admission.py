"""Room for a request: taken before its body is read, kept until its answer is out."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from fastapi import Request

from app.errors import BusyProblem, TooLargeProblem
from app.http.services import Services
from app.inference.budget import FullError, OverBudgetError, Share
from app.inference.loaded_graphs import Choice
from app.keys.service import Caller
from app.segmentation.failures import failures_counted
from app.segmentation.json_pictures import BODY_COPIES, most_json_bytes
from app.segmentation.negotiation import Representation
from app.segmentation.upload import JSON, content_type

PIXEL_BYTES = {
    Representation.JSON: 8,
    Representation.MASK: 8,
    Representation.OVERLAY: 10,
    Representation.OVERLAY_WEBP: 13,
    Representation.CONFIDENCE: 8,
    Representation.ARRAYS: 8,
}
"""What a pixel takes until its picture is answered: picture, mask, and what is rendered of them."""
_SEEN_BYTES = 64
"""What a pixel takes as the graph sees it, where `size` says how many there are: as it is decoded,
as floats, and the logits of some 80 classes."""
_WINDOW_BYTES = 1 / 2048
"""Of a window's side to the fourth: attention of the first stage, (side / 4)^2 queries times
(side / 32)^2 keys as floats, twice."""


@dataclass(frozen=True)
class Admission:
    """What a request holds.

    Attributes:
        places: one for each picture.
        memory: bytes, of the pictures as they came and decoded.
        deadline: when the answer must be ready, on the event loop's clock.
    """

    places: Share
    memory: Share
    deadline: float

    def hold(self, pictures: int, needed: int) -> None:
        """Hold so many more places, and bytes.

        Raises:
            BusyProblem: they are not free now.
            TooLargeProblem: there is not so much room in all.
        """
        with _refused(self.memory.amount + needed):
            self.places.grow(pictures)
            self.memory.grow(needed)


@contextmanager
def admitted(
    services: Services, caller: Caller, choice: Choice, coming: int
) -> Iterator[Admission]:
    """Hold a place and a body's bytes while the block runs; the deadline counts from now.

    The caller has a request under way for as long, and its first picture is counted.

    A problem that ends the block is counted for the version that was asked.

    Raises:
        ConcurrencyLimitProblem: the caller has as many requests under way as it may.
        PictureLimitProblem: it has sent too many pictures in the last minute.
        BusyProblem: they are not free now.
        TooLargeProblem: there is not so much room in all.
    """
    inference, deadline = services.inference, deadline_of(services)
    with ExitStack() as stack:
        stack.enter_context(services.underway.one(caller))
        failing = stack.enter_context(failures_counted(inference.measures, choice.exported))
        with _refused(coming):
            places = stack.enter_context(inference.reserve(1))
            memory = stack.enter_context(inference.memory.hold(coming))
        services.rates.first_picture(caller)  # last: told to come back, it has it still
        failing.places = places
        yield Admission(places, memory, deadline)


def seen_bytes(pictures: int, size: int, runs: int, window: int) -> int:
    """Return what pictures take that are seen at `size` pixels, in windows of so many.

    Args:
        pictures: that may be decoded at a time.
        size: of the longer side, pixels.
        runs: side by side, of a window each.
        window: its side, pixels.
    """
    each_run = int(_WINDOW_BYTES * min(size, window) ** 4)
    return pictures * _SEEN_BYTES * size**2 + runs * each_run


def deadline_of(services: Services) -> float:
    """Return when a request that comes now must be answered, on the event loop's clock."""
    return asyncio.get_running_loop().time() + services.settings.serve_deadline_seconds


def announced_bytes(request: Request, most: int) -> int:
    """Return how long a body is: as many bytes as it announces, else the most."""
    announced = request.headers.get("content-length", "")
    return min(int(announced), most) if announced.isdecimal() else most


def body_bytes(request: Request, most: int) -> int:
    """Return what a body may take.

    JSON takes more than its length while it is read.
    """
    if content_type(request) == JSON:
        return BODY_COPIES * announced_bytes(request, most_json_bytes(most))
    return announced_bytes(request, most)


@contextmanager
def _refused(needed: int) -> Iterator[None]:
    """Turn the lack of room into a problem."""
    try:
        yield
    except OverBudgetError as error:
        raise TooLargeProblem(
            f"the pictures take {needed} bytes of memory, more than the service has for them"
        ) from error
    except FullError as error:
        raise BusyProblem("too many pictures wait for an answer; come back in a second") from error
