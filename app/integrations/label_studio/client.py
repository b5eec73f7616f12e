"""Label Studio as we ask it: pictures, and a project with its annotations. Web-free."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

import httpx
from pydantic import SecretStr

from app.integrations.label_studio.addresses import Places, RefusedAddressError
from app.settings import Settings

CONNECT_SECONDS = 5.0
PICTURE_SECONDS = 30.0
"""For a picture, redirects and all."""
CALL_SECONDS = 30.0
EXPORT_SECONDS = 600.0
"""For all of a project's annotations; Label Studio gathers them before it answers."""
MAX_REDIRECTS = 3
MAX_CALL_BYTES = 4 * 2**20
"""Of an answer of its API that is no export."""
MAX_EXPORT_BYTES = 512 * 2**20
"""Of an export: a data set's annotations may not be longer."""
_PASSING = (408, 425, 429, 500, 502, 503, 504)


class LabelStudioError(Exception):
    """Label Studio, or a picture's host, did not give what it was asked for.

    Attributes:
        passing: whether trying again later may help.
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True)
class Project:
    """A project of Label Studio.

    Attributes:
        id: its number.
        title: what people call it.
        label_config: its labelling configuration, XML.
    """

    id: int
    title: str
    label_config: str


class LabelStudio:
    """A client of the configured Label Studio; its token goes to that host alone.

    No proxies are used and no redirect is followed that leads elsewhere than `Places` allows.
    """

    def __init__(self, client: httpx.AsyncClient, places: Places, key: SecretStr | None) -> None:
        self._client = client
        self._places = places
        self._key = key
        self._access: str | None = None
        self._renewing = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: Settings) -> AsyncIterator[Self]:
        """Give a client of the Label Studio that the settings name.

        Raises:
            LabelStudioError: they name none.
        """
        if settings.label_studio_url is None:
            raise LabelStudioError("SATS_LABEL_STUDIO_URL is not set")
        places = Places(settings.label_studio_url, settings.label_studio_origins)
        async with httpx.AsyncClient(
            trust_env=False,
            transport=httpx.AsyncHTTPTransport(retries=1),
            timeout=httpx.Timeout(CALL_SECONDS, connect=CONNECT_SECONDS),
            headers={"User-Agent": "sats", "Accept-Encoding": "identity"},
        ) as client:
            yield cls(client, places, settings.label_studio_api_key)

    async def picture(self, address: str, task: int, most_bytes: int) -> bytes:
        """Return the file of a task's picture.

        Raises:
            LabelStudioError: it cannot be had from where it may be fetched.
        """
        try:
            place = self._places.of_picture(address, task)
            async with asyncio.timeout(PICTURE_SECONDS):
                for _ in range(MAX_REDIRECTS + 1):
                    async with self._answer(place.url, ours=place.ours) as answer:
                        if not answer.has_redirect_location:
                            _check(answer, ours=place.ours)
                            return b"".join([piece async for piece in _pieces(answer, most_bytes)])
                        place = self._places.following(place.url, answer.headers["location"])
        except RefusedAddressError as error:
            raise LabelStudioError(str(error)) from error
        except TimeoutError as error:
            told = f"the picture did not come within {PICTURE_SECONDS:g} seconds"
            raise LabelStudioError(told, passing=True) from error
        raise LabelStudioError(f"the picture is behind more than {MAX_REDIRECTS} redirects")

    async def project(self, number: int) -> Project:
        """Return a project.

        Raises:
            LabelStudioError: it cannot be read.
        """
        url = self._places.api(f"api/projects/{number}/")
        try:
            async with asyncio.timeout(CALL_SECONDS), self._answer(url, ours=True) as answer:
                _check(answer)
                body = b"".join([piece async for piece in _pieces(answer, MAX_CALL_BYTES)])
        except TimeoutError as error:
            told = f"the project did not come within {CALL_SECONDS:g} seconds"
            raise LabelStudioError(told, passing=True) from error
        found = _object(body)
        return Project(
            number, str(found.get("title", ""))[:200], str(found.get("label_config", ""))
        )

    async def export(self, number: int, out: BinaryIO) -> None:
        """Write a project's tasks with annotations to a file, as `exportType=JSON`.

        Raises:
            LabelStudioError: it cannot be read.
        """
        url = self._places.api(f"api/projects/{number}/export")
        url = url.copy_merge_params({"exportType": "JSON", "download_resources": "false"})
        try:
            async with (
                asyncio.timeout(EXPORT_SECONDS),
                self._answer(url, ours=True, seconds=EXPORT_SECONDS) as answer,
            ):
                _check(answer)
                async for piece in _pieces(answer, MAX_EXPORT_BYTES):
                    out.write(piece)
        except TimeoutError as error:
            told = f"the export did not come within {EXPORT_SECONDS:g} seconds"
            raise LabelStudioError(told, passing=True) from error

    @asynccontextmanager
    async def _answer(
        self, url: httpx.URL, *, ours: bool, seconds: float = CALL_SECONDS
    ) -> AsyncIterator[httpx.Response]:
        """Ask for a URL; where it is Label Studio's, with the token, renewed once if it is old."""
        for last in (False, True):
            timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
            try:
                headers = await self._authorization() if ours else {}
                request = self._client.build_request("GET", url, headers=headers, timeout=timeout)
                answer = await self._client.send(request, stream=True, follow_redirects=False)
                try:
                    renews = ours and answer.status_code == httpx.codes.UNAUTHORIZED and not last
                    if not (renews and self._forget(headers)):
                        yield answer
                        return
                finally:
                    await answer.aclose()
            except httpx.HTTPError as error:
                raise LabelStudioError(f"{_named(url)}: {_told(error)}", passing=True) from error

    def _forget(self, headers: dict[str, str]) -> bool:
        """Drop the access token that was refused; says whether there may be another one."""
        if not _is_refresh_token(self._key):
            return False
        if self._access is not None and headers == {"Authorization": f"Bearer {self._access}"}:
            self._access = None
        return True

    async def _authorization(self) -> dict[str, str]:
        if self._key is None:
            return {}
        key = self._key.get_secret_value()
        if not _is_refresh_token(self._key):
            return {"Authorization": f"Token {key}"}
        async with self._renewing:
            if self._access is None:
                self._access = await self._renewed(key)
            return {"Authorization": f"Bearer {self._access}"}

    async def _renewed(self, key: str) -> str:
        """Return an access token, good for minutes, for a personal one."""
        url = self._places.api("api/token/refresh/")
        async with self._client.stream(
            "POST", url, json={"refresh": key}, follow_redirects=False
        ) as answer:
            if answer.status_code in (400, 401, 403):
                raise LabelStudioError("Label Studio does not take SATS_LABEL_STUDIO_API_KEY")
            _check(answer)
            body = b"".join([piece async for piece in _pieces(answer, MAX_CALL_BYTES)])
        access = _object(body).get("access")
        if not isinstance(access, str) or not access.isascii() or not access.isprintable():
            raise LabelStudioError("Label Studio answers a token with something else")
        return access


def _is_refresh_token(key: SecretStr | None) -> bool:
    """Return whether a key is a personal access token: a JWT, which is good for another token."""
    return key is not None and key.get_secret_value().count(".") == 2


def _check(answer: httpx.Response, *, ours: bool = True) -> None:
    if ours and answer.status_code in (401, 403):
        told = "Label Studio does not let SATS_LABEL_STUDIO_API_KEY read it"
        raise LabelStudioError(f"{_named(answer.url)}: {told}")
    if answer.status_code != httpx.codes.OK:
        passing = answer.status_code in _PASSING
        told = f"{_named(answer.url)}: status {answer.status_code}"
        raise LabelStudioError(told, passing=passing)


async def _pieces(answer: httpx.Response, most: int) -> AsyncIterator[bytes]:
    """Yield a body as it comes, as long as it has no more than `most` bytes.

    Raises:
        LabelStudioError: it has, or it is compressed: nobody asked for that.
    """
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise LabelStudioError(f"{_named(answer.url)}: it is compressed")
    left = most
    async for piece in answer.aiter_raw():
        left -= len(piece)
        if left < 0:
            raise LabelStudioError(f"{_named(answer.url)}: it has more than {most} bytes")
        yield piece


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise LabelStudioError("Label Studio answers with something else than JSON") from error
    if not isinstance(found, dict):
        raise LabelStudioError("Label Studio answers with something else than an object")
    return found


def _named(url: httpx.URL) -> str:
    """Return what messages call a URL: a signed link's query is a secret."""
    return str(url.copy_with(query=None))[:300]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
