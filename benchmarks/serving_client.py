"""Sends requests that lie ready, notes when each answer came, and costs little itself.

    python -m benchmarks.serving_client < plan.json > report.json

Whole requests are written to kept connections as bytes; of an answer its status, its length and one
header are read. Closed loop: each client asks again when it has its answer. Open loop: requests
begin at a constant rate whatever becomes of them, and their time counts from when they were due.
It stands on the standard library alone.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

TIMEOUT_SECONDS = 60.0
STALE_SECONDS = 2.0
"""A connection that was not used for longer is not used again: servers close them."""
LOST = 0
"""Status of a request that was not answered."""


@dataclass(frozen=True)
class Plan:
    """What is asked.

    Attributes:
        port: of the server, on this machine.
        requests: files, each a whole request, sent in turns.
        seconds: how long what is asked counts.
        clients: of the closed loop; 0 for the open loop.
        rate: requests a second of the open loop.
        warm_up: seconds before, which do not count.
        tag: header of an answer that is noted.
    """

    port: int
    requests: list[str]
    seconds: float
    clients: int = 0
    rate: float = 0.0
    warm_up: float = 0.0
    tag: str = ""


@dataclass
class Report:
    """What was seen.

    Attributes:
        began: of each answer, seconds from the beginning of what counts; negative before.
        took: seconds until it was whole.
        status: its status; `LOST` where none came.
        tag: the header that was noted.
        zero: when what counts began, on the machine's monotonic clock.
        cpu_seconds: that this client took for it.
    """

    began: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    tag: list[str] = field(default_factory=list)
    zero: float = 0.0
    cpu_seconds: float = 0.0


class LostError(Exception):
    """The connection ended before the answer was whole."""


class Connection(asyncio.Protocol):
    """A connection, one request at a time.

    Args:
        tag: header of an answer that is noted, lower case with its colon; empty for none.
    """

    def __init__(self, tag: bytes) -> None:
        self._tag = tag
        self._waiting: asyncio.Future[tuple[int, str]] | None = None
        self._got = bytearray()
        self._whole = -1
        self.open = True
        self.used = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        self._transport = transport

    async def ask(self, request: bytes) -> tuple[int, str]:
        """Send a request; return the status of its answer, and the tag.

        Raises:
            LostError: the connection ended first.
        """
        self._waiting = asyncio.get_running_loop().create_future()
        self._got.clear()
        self._whole = -1
        self._transport.write(request)  # type: ignore[attr-defined]
        found = await self._waiting
        self.used = time.monotonic()
        return found

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer; the last one ends the wait."""
        self._got += data
        if self._whole < 0:
            end = self._got.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head = bytes(self._got[:end])
            length = _header(self._head, b"content-length:")
            self._whole = end + 4 + int(length)
        if len(self._got) >= self._whole and self._waiting and not self._waiting.done():
            tag = _header(self._head, self._tag) if self._tag else ""
            self._waiting.set_result((int(self._head[9:12]), tag))

    def connection_lost(self, _exc: Exception | None) -> None:
        """End the wait for an answer that will not come."""
        self.open = False
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(LostError())

    def close(self) -> None:
        """Give the connection back."""
        self._transport.close()


class Client:
    """Asks as a plan says."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = [Path(path).read_bytes() for path in plan.requests]
        self._idle: list[Connection] = []
        self._sent = 0
        self.report = Report()

    async def run(self) -> Report:
        """Ask until the time is over and every answer has come."""
        plan, cpu = self._plan, time.process_time()
        self.report.zero = time.monotonic() + plan.warm_up
        if plan.clients:
            await asyncio.gather(*(self._closed() for _ in range(plan.clients)))
        else:
            await self._open()
        for connection in self._idle:
            connection.close()
        self.report.cpu_seconds = time.process_time() - cpu
        return self.report

    async def _closed(self) -> None:
        end = self.report.zero + self._plan.seconds
        while (now := time.monotonic()) < end:
            await self._ask(now)

    async def _open(self) -> None:
        start = time.monotonic()
        whole = self._plan.warm_up + self._plan.seconds
        due = [start + n / self._plan.rate for n in range(int(whole * self._plan.rate))]
        asking = []
        for at in due:
            await asyncio.sleep(at - time.monotonic())
            asking.append(asyncio.create_task(self._ask(at)))
        await asyncio.gather(*asking)

    async def _ask(self, began: float) -> None:
        """Ask once, on a connection that is kept; note what came of it."""
        request = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                connection = await self._connection()
                status, tag = await connection.ask(request)
            self._idle.append(connection)
        except (OSError, LostError, TimeoutError):
            status, tag = LOST, ""
        self.report.took.append(time.monotonic() - began)
        self.report.began.append(began - self.report.zero)
        self.report.status.append(status)
        self.report.tag.append(tag)

    async def _connection(self) -> Connection:
        fresh = time.monotonic() - STALE_SECONDS
        while self._idle:
            kept = self._idle.pop()
            if kept.open and kept.used > fresh:
                return kept
            kept.close()
        tag = f"{self._plan.tag.lower()}:".encode() if self._plan.tag else b""
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(
            lambda: Connection(tag), "127.0.0.1", self._plan.port
        )
        return made


def _header(head: bytes, name: bytes) -> str:
    for line in head.split(b"\r\n"):
        if line[: len(name)].lower() == name:
            return line[len(name) :].strip().decode("latin-1")
    return "0" if name == b"content-length:" else ""


def request_bytes(
    path: str, body: bytes, content_type: str, headers: Sequence[tuple[str, str]] = ()
) -> bytes:
    """Return a whole POST request."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Accept: image/png",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def main() -> None:
    """Do what the plan on standard input says."""
    report = asyncio.run(Client(Plan(**json.load(sys.stdin))).run())
    json.dump(asdict(report), sys.stdout)


if __name__ == "__main__":
    main()
