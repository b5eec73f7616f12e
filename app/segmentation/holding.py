"""Room for pictures that nobody posted: they wait for it, where a request would be refused."""

import asyncio
from contextlib import ExitStack

from app.errors import TooLargeProblem
from app.inference.budget import FullError, OverBudgetError
from app.inference.engine import Inference

PIXEL_BYTES = 16
"""What a pixel takes until its picture is answered: picture, mask, and a class of it alone."""
_FULL_SECONDS = 0.2


async def hold_room(inference: Inference, held: ExitStack, places: int, needed: int) -> None:
    """Hold places and bytes, waiting until there are some.

    Args:
        inference: where.
        held: gives them back.
        places: of pictures among those that wait for a lane.
        needed: bytes.

    Raises:
        TooLargeProblem: there is not so much room in all.
    """
    while True:
        with ExitStack() as taken:
            try:
                taken.enter_context(inference.reserve(places))
                taken.enter_context(inference.memory.hold(needed))
            except OverBudgetError as error:
                raise TooLargeProblem("the picture takes more memory than there is") from error
            except FullError:
                pass
            else:
                held.push(taken.pop_all())
                return
        await asyncio.sleep(_FULL_SECONDS)
