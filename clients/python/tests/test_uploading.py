"""Large data sets in parts, on a service that a test makes up."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import TASK, problem

from sats_client import BadAnswer, NotFound, Problem, Refused, Unreachable

UPLOAD = "5d3a9e0e-6a4c-4f0a-9a51-1f2f7c1c8f11"
DATA = bytes(range(256)) * 40
PART = 4096
STORE = "http://store:8333/sats/parts"


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sats_client._calls.LARGE_BYTES", PART)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "pets.zip"
    path.write_bytes(DATA)
    return path


class Service:
    """Takes parts, by itself or where a store is."""

    def __init__(self, elsewhere: bool = False) -> None:
        self.elsewhere = elsewhere
        self.asked: list[httpx.Request] = []
        self.parts: dict[int, bytes] = {}
        self.state = "none"
        self.error: Any = None
        self.looks = 0
        self.faults: dict[str, list[httpx.Response | Exception]] = {}

    def fail(self, what: str, *answers: httpx.Response | Exception) -> None:
        self.faults[what] = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        self.asked.append(request)
        call = f"{request.method} {request.url.host}{request.url.path}"
        for what, answers in self.faults.items():
            if what in call and answers:
                answer = answers.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return answer
        own = request.url.host == "sats"
        assert ("Authorization" in request.headers) == own, "the key is the service's alone"
        if request.method == "PUT":
            assert int(request.headers["Content-Length"]) == len(body)
            assert own or request.headers["x-kind"] == "block"
            self.parts[int(request.url.path.rpartition("/")[2])] = body
            return httpx.Response(204 if own else 200)
        if request.url.path == "/tasks":
            return httpx.Response(202, json=TASK)
        if request.url.path.endswith(":complete"):
            self.state = "checking"
        elif request.url.path == "/uploads":
            self.wish = json.loads(body)
            self.state = "open" if self.state == "none" else self.state
        elif self.state == "checking":
            self.looks += 1
            self.state = "done" if self.looks > 2 else "checking"
        return httpx.Response(202, json=self.told())

    def told(self) -> dict[str, Any]:
        place = f"{STORE}/{UPLOAD}" if self.elsewhere else f"/uploads/{UPLOAD}/parts"
        missing = [
            {
                "number": number,
                "offset": offset,
                "bytes": len(DATA[offset : offset + PART]),
                "url": f"{place}/{number}" + ("?X-Amz-Signature=abc" if self.elsewhere else ""),
                "headers": {"x-kind": "block"} if self.elsewhere else {},
            }
            for number, offset in enumerate(range(0, len(DATA), PART), start=1)
            if number not in self.parts and self.state == "open"
        ]
        told = {"upload": UPLOAD, "state": self.state, "missing": missing, "error": self.error}
        return told | {"later": "a field of another time"}

    def puts(self) -> list[str]:
        return [f"{one.url.host}{one.url.path}" for one in self.asked if one.method == "PUT"]

    def whole(self) -> bytes:
        return b"".join(self.parts[number] for number in sorted(self.parts))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_large_data_set_goes_in_parts(through, dataset, elsewhere):
    service, told = Service(elsewhere), list[tuple[int, int]]()
    task = through(
        service,
        lambda c: c.submit(dataset, classes=["cat"], progress=lambda *now: told.append(now)),
    )
    assert task.id == TASK["id"]
    assert service.whole() == DATA
    assert service.wish == {
        "bytes": len(DATA),
        "sha256": hashlib.sha256(DATA).hexdigest(),
        "name": "pets.zip",
    }
    assert len(service.puts()) == 3
    last = service.asked[-1]
    assert last.headers["Content-Type"].startswith("multipart/form-data")
    assert f'name="upload"\r\n\r\n{UPLOAD}\r\n'.encode() in last.content
    assert b'"classes": ["cat"]' in last.content
    assert last.headers["Idempotency-Key"]
    assert told[-1] == (len(DATA), len(DATA))


def test_what_is_small_goes_with_the_task(through, tmp_path):
    small = tmp_path / "small.zip"
    small.write_bytes(DATA[: PART - 1])
    service = Service()
    through(service, lambda c: c.submit(small))
    (only,) = service.asked
    assert only.url.path == "/tasks"
    assert b'filename="small.zip"' in only.content


def test_a_service_that_takes_no_parts_gets_it_whole(through, dataset):
    service = Service()
    service.fail("POST sats/uploads", problem(415, "unsupported-media-type"))
    through(service, lambda c: c.submit(dataset))
    assert [one.url.path for one in service.asked] == ["/uploads", "/tasks"]
    assert DATA in service.asked[-1].content


def test_only_what_is_missing_is_sent(through, dataset):
    service = Service()
    service.state, service.parts = "open", {1: DATA[:PART]}
    through(service, lambda c: c.submit(dataset))
    assert [one[-1] for one in service.puts()] == ["2", "3"]
    assert service.whole() == DATA


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_part_that_is_cut_off_is_sent_again(through, dataset, elsewhere):
    service = Service(elsewhere)
    service.fail("PUT", httpx.WriteError("cut"))
    through(service, lambda c: c.submit(dataset))
    assert service.whole() == DATA
    assert [one[-1] for one in service.puts()] == ["1", "1", "2", "3"]


def test_a_connection_that_stays_away_is_told_and_gone_on_with_later(through, dataset):
    service = Service()
    service.fail("parts/2", *[httpx.ConnectError("nobody")] * 3)
    with pytest.raises(Unreachable):
        through(service, lambda c: c.submit(dataset), tries=3)
    service.asked.clear()
    through(service, lambda c: c.submit(dataset))
    assert [one[-1] for one in service.puts()] == ["2", "3"]


def test_urls_that_have_expired_are_asked_for_anew(through, dataset, slept):
    service = Service(elsewhere=True)
    expired = httpx.Response(403, text="<Error><Code>AccessDenied</Code></Error>")
    service.fail("PUT store", *[expired] * 5)
    through(service, lambda c: c.submit(dataset))
    assert service.whole() == DATA
    looks = [one for one in service.asked if one.method == "GET"]
    assert len(looks) >= 6


def test_a_store_that_refuses_for_good_is_told(through, dataset):
    service = Service(elsewhere=True)
    service.fail("PUT store", *[httpx.Response(403)] * 99)
    with pytest.raises(Exception, match="403"):
        through(service, lambda c: c.submit(dataset))
    assert len(service.puts()) <= 6


def test_where_the_store_is_not_reached_the_service_takes_the_parts(through, dataset):
    service = Service(elsewhere=True)
    service.fail("PUT store", *[httpx.ConnectError("no such host")] * 99)
    through(service, lambda c: c.submit(dataset))
    assert service.whole() == DATA
    own = [one for one in service.puts() if one.startswith("sats/")]
    assert own == [f"sats/uploads/{UPLOAD}/parts/{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_part_that_is_taken_and_stays_missing_is_told(through, dataset, elsewhere):
    service = Service(elsewhere)
    took = service.__call__

    def forgets(request: httpx.Request) -> httpx.Response:
        answer = took(request)
        service.parts.pop(2, None)
        return answer

    with pytest.raises(BadAnswer, match="part 2 was sent and taken 5 times"):
        through(forgets, lambda c: c.submit(dataset))
    assert sum(one.endswith("/2") for one in service.puts()) == 5
    assert sum(one.endswith("/1") for one in service.puts()) == 1


def test_what_came_otherwise_is_refused(through, dataset):
    service = Service()
    service.state = "failed"
    service.error = json.loads(problem(422, "upload-damaged", detail="other bytes").content)
    with pytest.raises(Refused, match="other bytes") as refused:
        through(service, lambda c: c.submit(dataset))
    assert refused.value.slug == "upload-damaged"


def test_a_check_that_could_not_be_ended_is_asked_for_again(through, dataset):
    service = Service()
    service.state, service.parts = "open", {1: DATA, 2: b"", 3: b""}
    service.error = json.loads(problem(503, "unavailable", detail="no answer").content)
    through(service, lambda c: c.submit(dataset))
    assert service.asked[-1].url.path == "/tasks"


def test_one_that_never_ends_is_told(through, dataset, monkeypatch):
    service = Service()
    service.state, service.parts = "open", {1: DATA, 2: b"", 3: b""}
    service.error = json.loads(problem(507, "disk-full", detail="no room").content)
    service.fail(":complete", *[httpx.Response(202, json=service.told())] * 99)
    with pytest.raises(Exception, match="no room"):
        through(service, lambda c: c.submit(dataset))
    completes = [one for one in service.asked if one.url.path.endswith(":complete")]
    assert len(completes) == 5


def test_one_that_never_ends_and_says_nothing_is_told_too(through, dataset):
    service = Service()
    service.state, service.parts = "open", {1: DATA, 2: b"", 3: b""}
    service.fail(":complete", *[httpx.Response(202, json=service.told())] * 99)
    with pytest.raises(Problem, match="did not say why") as refused:
        through(service, lambda c: c.submit(dataset))
    assert refused.value.status == 503
    completes = [one for one in service.asked if one.url.path.endswith(":complete")]
    assert len(completes) == 5


def test_an_upload_that_went_meanwhile_is_told(through, dataset):
    service = Service()
    service.fail("PUT", problem(404, "not-found"))
    with pytest.raises(NotFound):
        through(service, lambda c: c.submit(dataset))


def test_a_signature_stands_in_no_error(through, dataset):
    service = Service(elsewhere=True)
    service.fail("PUT", *[httpx.ConnectError("no such host")] * 99)
    with pytest.raises(Unreachable) as lost:
        through(service, lambda c: c.submit(dataset), tries=2)
    told: BaseException | None = lost.value
    while told is not None:
        assert "Signature" not in str(told)
        told = told.__context__
