"""One delivery over HTTP: signed, to a checked address, with an end to everything.

Headers and signature are those of the Standard Webhooks specification (standardwebhooks.com).
"""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from app.db.base import JsonObject
from app.webhooks.addresses import RefusedAddressError, resolve
from app.webhooks.secrets import SECRET_PREFIX

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: the answer's; None where there was none.
        error: why it does not count as delivered; None where it does.
    """

    status: int | None
    error: str | None


def sign(secret: str, number: str, timestamp: int, body: bytes) -> str:
    """Return the HMAC-SHA256 over id, time and body, as the header has it."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    said = f"{number}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()


def send(
    url: str, secret: str, number: str, timestamp: int, payload: JsonObject, private: bool
) -> Answer:
    """Deliver once; whatever goes wrong is in the answer.

    Args:
        url: where to.
        secret: the webhook's.
        number: the delivery's id, the same at every attempt.
        timestamp: of this attempt, seconds since 1970.
        payload: what to say, as JSON.
        private: whether addresses that are not public are allowed.
    """
    body = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "sats-webhooks",
        "webhook-id": number,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret, number, timestamp, body),
    }
    try:
        status = asyncio.run(_post(url, headers, body, private))
    except TimeoutError:
        return Answer(None, f"no answer within {TIMEOUT_SECONDS:g} seconds")
    except (OSError, httpx.HTTPError, httpx.InvalidURL, RefusedAddressError, ValueError) as error:
        return Answer(None, f"{type(error).__name__}: {error}"[:500])
    if 200 <= status < 300:
        return Answer(status, None)
    return Answer(status, f"answered with status {status}")


async def _post(url: str, headers: Mapping[str, str], body: bytes, private: bool) -> int:
    """Post to the first address that answers the call; return the status, read no body."""
    parsed = httpx.URL(url)
    host = parsed.raw_host.decode()
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    async with (
        asyncio.timeout(TIMEOUT_SECONDS),
        # No proxies: one would look the name up again.
        httpx.AsyncClient(trust_env=False, transport=httpx.AsyncHTTPTransport()) as client,
    ):
        addresses = await resolve(host, port, private)
        patience = httpx.Timeout(TIMEOUT_SECONDS, connect=TIMEOUT_SECONDS / len(addresses))
        for place, address in enumerate(addresses):
            request = client.build_request(
                "POST",
                parsed.copy_with(host=address),
                headers={**headers, "Host": parsed.netloc.decode()},
                content=body,
                timeout=patience,
                extensions={"sni_hostname": host},
            )
            try:
                answer = await client.send(request, stream=True, follow_redirects=False)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if place + 1 == len(addresses):
                    raise
                continue
            await answer.aclose()
            return answer.status_code
    raise RefusedAddressError(f"{host} has no address")
