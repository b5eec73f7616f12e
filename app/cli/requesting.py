"""Requests to `/segment` of a service that may be busy, or away for a moment."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import httpx

from app.keys.service import is_loopback
from sats_core.data.names import printable

CHUNK_BYTES = 1024 * 1024
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 300.0
"""How long an answer is waited for; the service gives a request up before."""
AWAY_SECONDS = 2
"""Between two tries to reach a service that does not answer."""
LONGEST_WAIT = 60
_LONGEST_TOLD = 500

_COME_BACK = (429, 503)
_OF_EVERY_PICTURE = (401, 403, 404, 409)
"""No key or a wrong one, no such model or version: no other picture would be answered."""


class PictureError(Exception):
    """This picture is not answered; others may be."""


class RefusedError(Exception):
    """No picture is answered."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of every picture.

    Attributes:
        accept: the content type of the answer.
        parameters: of the query.
        patience: seconds that one picture is tried again, in all.
    """

    accept: str
    parameters: dict[str, str] = field(default_factory=dict)
    patience: float = 300.0


@asynccontextmanager
async def connected(
    url: str, key: str | None, connections: int
) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a service that keeps so many connections open.

    Raises:
        RefusedError: nobody is there: an address that is wrong from the start is not tried again.
    """
    async with httpx.AsyncClient(
        base_url=url,
        headers={} if key is None else {"Authorization": f"Bearer {key}"},
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        mounts=_not_by_proxy(httpx.URL(url).host),
    ) as client:
        try:
            await client.get("/health/live")
        except httpx.TransportError as error:
            raise _away(client, error) from error
        yield client


def _not_by_proxy(host: str) -> dict[str, None]:
    """Return what keeps requests to this machine from a proxy: to that it is another one."""
    pattern = f"all://[{host}]" if ":" in host else f"all://{host}"
    return {pattern: None} if is_loopback(host) else {}


async def segmented(client: httpx.AsyncClient, wanted: Wanted, picture: Path) -> bytes:
    """Post a picture until it is answered, and return the answer's body.

    Raises:
        OSError: the file cannot be read.
        PictureError: it is refused, or its patience is over.
        RefusedError: no picture would be answered, or nobody is there.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + wanted.patience
    while True:
        try:
            answer = await _post(client, wanted, picture)
        except httpx.LocalProtocolError as error:
            raise PictureError(f"changed while it was sent ({error})") from error
        except httpx.TransportError as error:
            wait = float(AWAY_SECONDS)
            over: Exception = _away(client, error)
        else:
            if answer.status_code not in _COME_BACK:
                return _body(answer, wanted)
            wait = _retry_after(answer)
            over = PictureError(_detail(answer))
        if clock() + wait > end:
            raise over
        await asyncio.sleep(wait)


def _away(client: httpx.AsyncClient, error: httpx.TransportError) -> RefusedError:
    return RefusedError(f"{client.base_url} does not answer: {str(error) or type(error).__name__}")


async def _post(client: httpx.AsyncClient, wanted: Wanted, picture: Path) -> httpx.Response:
    with picture.open("rb") as file:
        return await client.post(
            "/segment",
            params=wanted.parameters,
            content=_chunks(file),
            headers={
                "Accept": wanted.accept,
                "Content-Type": "application/octet-stream",
                "Content-Length": str(os.fstat(file.fileno()).st_size),
            },
        )


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    """Yield a file piece by piece: however long it is, it is never in memory."""
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _body(answer: httpx.Response, wanted: Wanted) -> bytes:
    if answer.status_code in _OF_EVERY_PICTURE:
        raise RefusedError(_detail(answer))
    if answer.status_code != httpx.codes.OK:
        raise PictureError(_detail(answer))
    if answer.headers.get("content-type", "") != wanted.accept:
        raise RefusedError(f"{answer.url} answers with something else: is it a SATS service?")
    return answer.content


def _detail(answer: httpx.Response) -> str:
    """Return what a refusal says, in one line that a terminal can show."""
    try:
        said = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        said = answer.reason_phrase
    return printable(f"{said[:_LONGEST_TOLD]} (HTTP {answer.status_code})")


def _retry_after(answer: httpx.Response) -> float:
    said = answer.headers.get("retry-after", "")
    return float(min(int(said), LONGEST_WAIT)) if said.isdecimal() and len(said) < 9 else 1.0
