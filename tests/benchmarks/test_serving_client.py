"""The load client against real servers: what it sends, what it notes, and what it does not hide."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.serving_client import LOST, Client, Plan, Report, request_bytes

Answer = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


class Seen:
    """What a server saw."""

    def __init__(self) -> None:
        self.connections = 0
        self.bodies: list[bytes] = []


async def _ask(tmp_path: Path, answer: Answer, **plan: float | str) -> tuple[Report, Seen]:
    """Start a server, ask it as the plan says; a request's number says what it is answered."""
    seen = Seen()
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        writers.append(writer)
        while not reader.at_eof():
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            (line,) = [one for one in head.split(b"\r\n") if one.startswith(b"Content-Length")]
            seen.bodies.append(await reader.readexactly(int(line.split(b":")[1])))
            await answer(len(seen.bodies), writer)
        writer.close()

    paths = []
    for number, body in enumerate((b"one", b"two")):
        path = tmp_path / str(number)
        path.write_bytes(request_bytes("/segment", body, "image/jpeg"))
        paths.append(str(path))
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    report = await Client(Plan(port, paths, **plan)).run()  # type: ignore[arg-type]
    server.close()
    for writer in writers:
        writer.close()
    return report, seen


async def _good(_number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nX-Version: 7\r\n\r\n")
    await asyncio.sleep(0.001)
    writer.write(b"mask")


def test_clients_keep_their_connections_and_send_pictures_in_turns(tmp_path: Path) -> None:
    report, seen = asyncio.run(_ask(tmp_path, _good, seconds=0.2, clients=3, tag="x-version"))
    assert seen.connections == 3
    assert {*seen.bodies} == {b"one", b"two"}
    assert report.status == [200] * len(seen.bodies)
    assert {*report.tag} == {"7"}
    assert min(report.took) >= 0.001
    assert report.cpu_seconds > 0


def test_what_comes_before_does_not_count(tmp_path: Path) -> None:
    began = time.monotonic()
    report, _ = asyncio.run(_ask(tmp_path, _good, seconds=0.1, clients=1, warm_up=0.1))
    assert report.zero >= began + 0.1
    assert min(report.began) < 0 < max(report.began)


def test_an_open_loop_does_not_wait_for_answers(tmp_path: Path) -> None:
    async def late(number: int, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2 if number == 1 else 0.0)
        await _good(number, writer)

    report, seen = asyncio.run(_ask(tmp_path, late, seconds=0.5, rate=40))
    assert len(report.status) == 20
    assert seen.connections >= 2, "the second request did not wait for the first one's answer"
    assert max(report.took) >= 0.2
    due = sorted(report.began)
    assert max(abs(at - n / 40 - due[0]) for n, at in enumerate(due)) < 1e-6


def test_refusals_and_lost_requests_are_told(tmp_path: Path) -> None:
    async def seldom(number: int, writer: asyncio.StreamWriter) -> None:
        if number % 3 == 0:
            writer.close()
        elif number % 3 == 1:
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        else:
            await _good(number, writer)

    report, _ = asyncio.run(_ask(tmp_path, seldom, seconds=0.2, clients=1))
    assert {*report.status} == {200, 503, LOST}
    assert report.status[:3] == [503, 200, LOST]


def test_nobody_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "request"
    path.write_bytes(request_bytes("/segment", b"picture", "image/jpeg"))
    plan = Plan(1, [str(path)], seconds=0.05, clients=1)
    assert {*asyncio.run(Client(plan).run()).status} == {LOST}
