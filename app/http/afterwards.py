"""Work that is done once an answer is out."""

from collections.abc import Callable
from functools import partial
from typing import ParamSpec

import structlog
from fastapi import BackgroundTasks

P = ParamSpec("P")

log = structlog.get_logger(__name__)


def afterwards(
    background: BackgroundTasks, work: Callable[P, object], *args: P.args, **kwargs: P.kwargs
) -> None:
    """Do work once the answer is out, and log what it raises.

    Raised to the server, it would close the connection behind an answer that promised to keep it:
    the client's next request would be lost, whatever it is.

    Args:
        background: of the request.
        work: what somebody else does later where it fails here, the sweep or the collector.
        args: for it.
        kwargs: for it.
    """
    background.add_task(_done, partial(work, *args, **kwargs), work.__name__)


def _done(work: Callable[[], object], name: str) -> None:
    try:
        work()
    except Exception:
        log.exception("not_done_after_the_answer", work=name)
