"""What a call does, without doing it: a generator asks for what it needs, a driver does that.

The same generators run under `httpx.Client` (`_sync.py`) and `httpx.AsyncClient` (`_async.py`), as
httpx's own authentication does, so that retries, resuming and following are written once.
"""

import json
import random
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from math import inf
from time import monotonic
from typing import Any, TypeVar

import httpx

from sats_client._files import Counted, Piece, Upload
from sats_client.errors import BadAnswer, ErrorDetail, Problem, Unreachable
from sats_client.errors import problem_class as class_of

T = TypeVar("T")
LONGEST_WAIT = 60.0
"""The longest wait between two tries; a limit that asks for more is told instead."""
FIRST_WAIT = 0.5
_LONGEST_TEXT = 500
_NOBODY_BEHIND = (502, 504)
"""What a proxy answers while the service restarts; the service itself never does."""


class Lost(Exception):  # noqa: N818
    """A connection could not be made, or was lost; or a proxy says so of its own."""


@dataclass(frozen=True)
class Request:
    """What is sent, and may be sent again where nobody knows what became of it.

    It changes nothing, or the same twice, or has an `Idempotency-Key`.

    Attributes:
        path: below the service's address; an address of its own gets no key.
        piece: of a file, as the body.
        read_seconds: how long the next bytes of the answer are waited for; None: as the client is
            set.
    """

    method: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    piece: Piece | None = None
    form: Mapping[str, Upload | str] | None = None
    read_seconds: float | None = None

    @property
    def has_files(self) -> bool:
        """Whether files go along."""
        return any(isinstance(one, Upload) for one in (self.form or {}).values())


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: httpx.Headers
    body: bytes

    def json(self) -> Any:
        """Return the body's JSON.

        Raises:
            BadAnswer: it is none.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise BadAnswer("the answer is no JSON: is it a SATS service?") from error


@dataclass(frozen=True)
class Stream:
    """An answer whose body is read piece by piece."""

    status: int
    headers: httpx.Headers
    chunks: Iterator[bytes] | AsyncIterator[bytes]


@dataclass(frozen=True)
class Ask:
    """Send a request until it is answered: gives an `Answer`; raises `Problem`, `Unreachable`."""

    request: Request


@dataclass(frozen=True)
class Send:
    """Send a request once: gives an `Answer`, whatever its status; raises `Lost`."""

    request: Request


@dataclass(frozen=True)
class Open:
    """Send a request once, close the stream before: gives a `Stream`; raises `Lost`."""

    request: Request


@dataclass(frozen=True)
class Read:
    """Read on in a stream: gives bytes, none at its end; raises `Lost`."""

    stream: Stream


@dataclass(frozen=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """Do what takes a while: packing, hashing, decoding; gives what it returns."""

    do: Callable[[], Any]


Effect = Ask | Send | Open | Read | Sleep | Work
Flow = Generator[Effect, Any, T]


@dataclass(frozen=True)
class Persistence:
    """How long a call is sent again, where that may help.

    Attributes:
        tries: how often in all; None: as often as there is time for.
        seconds: after which it is not sent again.
    """

    tries: int | None = 5
    seconds: float = inf


def asked(request: Request, persistence: Persistence) -> Flow[Answer]:
    """Send a request, again where that may help.

    Raises:
        Problem: it was refused.
        Unreachable: nobody answered.
    """
    began = monotonic()
    for tried in count(1):
        told: float | None = None
        refusal: Problem | Unreachable
        try:
            answer: Answer = yield Send(request)
            if answer.status < 300:  # nothing of the service redirects
                return answer
            refusal = refused(request, answer)
            told, again = refusal.retry_after, passes(refusal, request)
        except Lost as lost:
            refusal, again = Unreachable(str(lost)), True
            refusal.__cause__ = lost
        wait = pause(tried, told)
        late = monotonic() - began + wait > persistence.seconds
        last = persistence.tries is not None and tried >= persistence.tries
        if late or last or not again:
            raise refusal
        yield Sleep(wait)
    raise AssertionError  # `count` has no end


def refused(request: Request, answer: Answer) -> Problem:
    """Return what a refusal says.

    Raises:
        Lost: nobody was there to refuse it.
    """
    problem = problem_of(answer)
    if answer.status in _NOBODY_BEHIND:
        place = request.path.partition("?")[0]  # behind it there may be a signature
        raise Lost(f"{place}: {problem.title} (HTTP {answer.status})")
    return problem


def passes(problem: Problem, request: Request) -> bool:
    """Whether to come back after a refusal.

    A limit (429) passes when it says, if it says so and that is soon. Files are not sent again for
    it: they may be gigabytes, and nobody knows when a limit of tasks or bytes is over.
    """
    if problem.status == httpx.codes.TOO_MANY_REQUESTS:
        told = problem.retry_after
        return told is not None and told <= LONGEST_WAIT and not request.has_files
    return problem.status == httpx.codes.SERVICE_UNAVAILABLE


def pause(tried: int, told: float | None = None) -> float:
    """Return how long to wait after so many tries; clients that were sent away come back apart."""
    if told is not None:
        return min(told, LONGEST_WAIT) * random.uniform(1.0, 1.25)
    return min(FIRST_WAIT * 2.0 ** min(tried - 1, 20), LONGEST_WAIT) * random.uniform(0.5, 1.0)


def problem_of(answer: Answer) -> Problem:
    """Return what a refusal says; one of a proxy says little."""
    status, told = answer.status, answer.headers.get("retry-after", "")
    wait = float(told) if told.isdecimal() and len(told) < 9 else None
    try:
        said = json.loads(answer.body)
        return class_of(status)(
            status,
            str(said["type"]),
            str(said["title"]),
            str(said["detail"]),
            tuple(_detail(one) for one in said.get("errors", ())),
            said.get("request_id"),
            wait,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        title = httpx.codes.get_reason_phrase(status) or "Refused"
        text = answer.body[:_LONGEST_TEXT].decode(errors="replace").strip() or title
        return class_of(status)(status, "about:blank", title, text, (), None, wait)


def _detail(said: Mapping[str, Any]) -> ErrorDetail:
    return ErrorDetail(
        str(said["message"]),
        str(said.get("code", "invalid")),
        said.get("file"),
        said.get("field"),
        said.get("class"),
    )


def built(
    http: httpx.Client | httpx.AsyncClient, request: Request, opened: ExitStack
) -> httpx.Request:
    """Return a request as httpx sends it; files that it reads are closed with `opened`."""
    timeout = http.timeout
    if request.read_seconds is not None:
        timeout = httpx.Timeout(**(timeout.as_dict() | {"read": request.read_seconds}))
    form = request.form or {}
    # A text is a part without a file's name: so a form is multipart that has no file too.
    parts = {
        name: (one.name, opened.enter_context(Counted(one)), "application/zip")
        if isinstance(one, Upload)
        else (None, one)
        for name, one in form.items()
    }
    content: Any = request.content
    sized = {}
    if request.piece is not None:
        sized = {"Content-Length": str(request.piece.size)}
        content = request.piece if isinstance(http, httpx.Client) else request.piece.chunks()
    ready = http.build_request(
        request.method,
        request.path,
        params=list(request.params) or None,
        headers={**request.headers, **sized},
        json=request.json,
        content=content,
        files=parts or None,
        timeout=timeout,
    )
    if not request.path.startswith("/"):
        ready.headers.pop("Authorization", None)
    return ready
