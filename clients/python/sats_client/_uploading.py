"""A large file in parts: past the service where it says so, and on from where it was cut off."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from sats_client._files import Piece, Told
from sats_client._flow import (
    Answer,
    Ask,
    Flow,
    Persistence,
    Request,
    Sleep,
    Work,
    asked,
    pause,
    problem_of,
)
from sats_client._reading import read
from sats_client.errors import BadAnswer, Problem, Unreachable

LARGE_BYTES = 128 * 2**20
"""A data set of so many bytes goes in parts."""
_ROUNDS = 5
"""How often in a row it may come to nothing, to send a part or to have them put together."""
_LOOK_SECONDS = 0.2
_LONGEST_LOOK = 5.0
"""Seconds between two looks while the service puts parts together: the first, and the last."""
_ELSEWHERE = Persistence(tries=2)
"""Of a part that goes to another host: where that does not answer, the service takes it."""
_TEXT = 200
_UNSAID: dict[str, Any] = {
    "status": int(httpx.codes.SERVICE_UNAVAILABLE),
    "type": "about:blank",
    "title": "Service Unavailable",
    "detail": "the parts were not put together, and the service did not say why",
}


@dataclass(frozen=True)
class _Part:
    number: int
    offset: int
    bytes: int
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class _Progress:
    upload: str
    state: str
    missing: tuple[_Part, ...]
    error: Any


def uploaded(path: Path, name: str, told: Told | None) -> Flow[str | None]:
    """Send a file, and return the name that it has for `POST /tasks`.

    The service knows the same bytes again: whoever was cut off, and asks again, goes on there.
    None: it takes nothing in parts, as before there were any.

    Raises:
        Problem: it was refused; or what came is not what was sent.
        BadAnswer: what was taken is missing again and again.
        Unreachable: nobody answered.
    """
    digest = yield Work(partial(_digest, path))
    wish: dict[str, object] = {"bytes": path.stat().st_size, "sha256": digest}
    if name.isprintable() and 0 < len(name) <= _TEXT:
        wish["name"] = name
    try:
        answer: Answer = yield Ask(Request("POST", "/uploads", json=wish))
    except Problem as problem:
        if problem.status == httpx.codes.UNSUPPORTED_MEDIA_TYPE:
            return None
        raise
    upload = read(_Progress, answer.json()).upload
    yield from _brought(upload, path, told)
    return upload


def _brought(upload: str, path: Path, told: Told | None) -> Flow[None]:
    """Send what is missing and have it put together, until the service has it.

    Raises:
        BadAnswer: a part is taken again and again, and is missing all the same.
    """
    vain, looks, direct = 0, 0, True
    taken: Counter[int] = Counter()
    while True:
        answer: Answer = yield Ask(Request("GET", f"/uploads/{upload}/parts"))
        now = read(_Progress, answer.json())
        if now.state == "done":
            return
        if now.state == "failed" or (now.error is not None and vain >= _ROUNDS):
            raise _refusal(now)
        if now.state == "checking":
            yield Sleep(min(_LOOK_SECONDS * 2.0 ** min(looks, 10), _LONGEST_LOOK))
            looks += 1
            continue
        if not now.missing:
            if vain >= _ROUNDS:  # whoever puts them together ends each time, and says nothing
                raise _refusal(now)
            yield from _pause(vain)
            vain, looks = vain + 1, 0
            yield Ask(Request("POST", f"/uploads/{upload}:complete"))
            continue
        try:
            for part in now.missing:
                yield from _pause(_again(part, taken))
                yield from _sent(upload, part, path, told, direct)
                taken[part.number] += 1
                vain = 0
        except Unreachable:
            if not (direct and _is_elsewhere(now.missing[0].url)):
                raise
            direct = False
        except Problem:
            if vain >= _ROUNDS or not _is_elsewhere(now.missing[0].url):
                raise
            vain += 1  # the URL has expired, or the store has a bad day: ask where to send it
            yield from _pause(vain)


def _sent(upload: str, part: _Part, path: Path, told: Told | None, direct: bool) -> Flow[None]:
    piece = Piece(path, part.offset, part.bytes, told)
    if direct and _is_elsewhere(part.url):
        there = Request("PUT", part.url, headers=part.headers, piece=piece)
        yield from asked(there, _ELSEWHERE)
    else:
        yield Ask(Request("PUT", f"/uploads/{upload}/parts/{part.number}", piece=piece))


def _again(part: _Part, taken: Counter[int]) -> int:
    """Return how often a part was taken before, if it is to be sent once more."""
    times = taken[part.number]
    if times >= _ROUNDS:
        raise BadAnswer(
            f"part {part.number} was sent and taken {times} times, and is missing all the same"
        )
    return times


def _pause(vain: int) -> Flow[None]:
    if vain:
        yield Sleep(pause(vain))


def _is_elsewhere(url: str) -> bool:
    return not url.startswith("/")


def _refusal(now: _Progress) -> Problem:
    said = now.error if isinstance(now.error, dict) else _UNSAID
    status = int(said.get("status", httpx.codes.UNPROCESSABLE_ENTITY))
    return problem_of(Answer(status, httpx.Headers(), json.dumps(said).encode()))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
