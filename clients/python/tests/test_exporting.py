"""A version's files: checked, and taken up where they were cut off."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Body, problem

from sats_client import AsyncClient, BadAnswer, Damaged, Overloaded, Unreachable

DATA = bytes(range(256)) * 40
HERE = "/admin/models/default/versions/2"
VERSION: dict[str, Any] = {
    "model": "default",
    "version": 2,
    "number": 2,
    "kind": "step",
    "created_at": "2026-11-21T16:51:04Z",
    "live": True,
    "parent": 1,
    "lineage": [1, 2],
    "classes": [{"index": 0, "name": "background", "color": "#000000", "step": 0}],
    "new_classes": [],
    "method": "frozen",
    "backbone": "mit_b0",
    "task": "x",
    "scores": {
        "pictures": 2,
        "iou": {"background": 1, "sheep": None},
        "introduced": {},
        "forgetting": {},
        "miou_all": None,
        "miou_old": None,
        "miou_new": None,
        "mean_forgetting": None,
    },
    "gate": None,
    "seconds": 1.5,
}


def file(name: str, data: bytes = DATA) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    return {"name": name, "bytes": len(data), "sha256": digest, "href": f"{HERE}/files/{name}"}


class Service:
    """Sends files in pieces of so many bytes, and cuts every one off behind so many pieces."""

    def __init__(
        self, *files: dict[str, Any], data: bytes = DATA, until: int | None = None
    ) -> None:
        self.files, self.data, self.until = files, data, until
        self.ranges: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == HERE:
            return httpx.Response(200, json=VERSION | {"files": list(self.files)})
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        pieces = [self.data[at : at + 1000] for at in range(start, len(self.data), 1000)]
        cut = self.until is not None and self.until < len(pieces)
        body = Body(*pieces[: self.until], cut=cut)
        return httpx.Response(206 if asked else 200, stream=body)


def test_files_are_taken_up_where_they_were_cut_off(through, tmp_path: Path):
    service = Service(file("model.onnx"), file("empty.txt", b""), until=4)
    service.files = (file("model.onnx"),)
    found = through(service, lambda c: c.export("default", 2, tmp_path / "a" / "b"))
    assert found.number == 2
    assert (tmp_path / "a" / "b" / "model.onnx").read_bytes() == DATA
    assert service.ranges == [None, "bytes=4000-", "bytes=8000-"]
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("unsaid", ["version", "number"])
def test_a_version_has_its_number_from_services_of_every_time(through, unsaid: str):
    told = {name: value for name, value in VERSION.items() if name != unsaid} | {"files": []}
    found = through(lambda _: httpx.Response(200, json=told), lambda c: c.version("default", 2))
    assert (found.version, found.number) == (2, 2)


def test_a_version_without_a_number_is_none(through):
    told = {name: value for name, value in VERSION.items() if name not in ("version", "number")}
    with pytest.raises(BadAnswer, match="Version"):
        through(lambda _: httpx.Response(200, json=told), lambda c: c.version("default", 2))


def test_an_empty_file(through, tmp_path: Path):
    through(Service(file("a", b""), data=b""), lambda c: c.export("default", 2, tmp_path))
    assert (tmp_path / "a").read_bytes() == b""


def test_what_is_there_is_not_fetched_again_and_what_is_damaged_is(through, tmp_path: Path):
    service = Service(file("a"), file("b"))
    (tmp_path / "a").write_bytes(DATA)
    (tmp_path / "b").write_bytes(DATA[:-1] + b"x")
    (tmp_path / "b.part").write_bytes(DATA[:3000])
    through(service, lambda c: c.export("default", 2, tmp_path))
    assert (tmp_path / "b").read_bytes() == DATA
    assert service.ranges == ["bytes=3000-"]


def test_the_event_loop_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch):
    writers = set()

    class Watched(BufferedWriter):
        def write(self, data: Any) -> int:
            writers.add(threading.current_thread())
            return super().write(data)

    really = Path.open

    def opened(path: Path, mode: str = "r", *how: Any, **more: Any) -> Any:
        written = mode in ("ab", "wb")
        return Watched(FileIO(path, mode)) if written else really(path, mode, *how, **more)

    monkeypatch.setattr("pathlib.Path.open", opened)

    async def export() -> None:
        transport = httpx.MockTransport(Service(file("a"), until=4))
        async with AsyncClient("http://sats", transport=transport) as client:
            await client.export("default", 2, tmp_path)

    asyncio.run(export())
    assert (tmp_path / "a").read_bytes() == DATA
    assert writers
    assert threading.current_thread() not in writers


@pytest.mark.parametrize("rest", [b"of another version", b"x" * 99_999])
def test_a_rest_of_something_else_is_no_beginning(through, tmp_path: Path, rest: bytes):
    (tmp_path / "a.part").write_bytes(rest)
    through(Service(file("a")), lambda c: c.export("default", 2, tmp_path))
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_file_that_is_not_what_its_checksum_says(through, tmp_path: Path):
    with pytest.raises(Damaged, match=r"model\.onnx"):
        through(
            Service(file("model.onnx"), data=DATA[::-1]),
            lambda c: c.export("default", 2, tmp_path),
        )
    assert not list(tmp_path.iterdir())


class Endless(Body):
    """A body that would fill any disk, and counts the pieces that were taken."""

    taken = 0

    def __iter__(self) -> Iterator[bytes]:
        while self.taken < 100_000:
            self.taken += 1
            yield b"x" * 1000


def test_no_more_is_read_than_was_announced(through, tmp_path: Path):
    body = Endless()

    def service(request: httpx.Request) -> httpx.Response:
        if request.url.path == HERE:
            return httpx.Response(200, json=VERSION | {"files": [file("a", b"little")]})
        return httpx.Response(200, stream=body)

    with pytest.raises(Damaged):
        through(service, lambda c: c.export("default", 2, tmp_path))
    assert body.taken < 100


def test_a_service_that_sends_nothing(through, tmp_path: Path):
    service = Service(file("a"), until=0)
    with pytest.raises(Unreachable, match="a: "):
        through(service, lambda c: c.export("default", 2, tmp_path))
    assert len(service.ranges) == 5


def test_a_service_that_restarts_behind_a_proxy(through, tmp_path: Path):
    service, answers = Service(file("a")), iter([httpx.Response(502), httpx.Response(504)])

    def restarting(request: httpx.Request) -> httpx.Response:
        away = None if request.url.path == HERE else next(answers, None)
        return away or service(request)

    through(restarting, lambda c: c.export("default", 2, tmp_path))
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize("told", [{}, {"Retry-After": "3600"}])
def test_a_limit_in_the_midst_of_an_export_is_told(through, tmp_path: Path, told, slept):
    asked = []

    def limited(request: httpx.Request) -> httpx.Response:
        if request.url.path == HERE:
            return httpx.Response(200, json=VERSION | {"files": [file("a")]})
        asked.append(request)
        return problem(429, "rate-limit", headers=told)

    with pytest.raises(Overloaded):
        through(limited, lambda c: c.export("default", 2, tmp_path))
    assert (len(asked), slept) == (1, [])


@pytest.mark.parametrize("name", ["../a", "/etc/a", "..", "", "a\\b"])
def test_names_that_lead_elsewhere(through, tmp_path: Path, name: str):
    with pytest.raises(BadAnswer, match="no name"):
        through(Service(file(name)), lambda c: c.export("default", 2, tmp_path))


def test_a_refusal_of_a_file_is_told(through, tmp_path: Path):
    def refuse(request: httpx.Request) -> httpx.Response:
        if request.url.path == HERE:
            return httpx.Response(200, json=VERSION | {"files": [file("a")]})
        return problem(500, "damaged-version", detail="it is gone")

    with pytest.raises(Exception, match="it is gone"):
        through(refuse, lambda c: c.export("default", 2, tmp_path))
