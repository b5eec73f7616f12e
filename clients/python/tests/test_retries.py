"""What is sent again, and what never is."""

from pathlib import Path

import httpx
import pytest
from conftest import TASK, problem

from sats_client import Client, Overloaded, Refused, Unreachable

BUSY = {"Retry-After": "7"}


class Script:
    """Answers one request after another, and remembers them."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def ok() -> httpx.Response:
    return httpx.Response(200, json=TASK)


def look(client):
    return client.task(TASK["id"])


def test_a_lost_connection_and_a_busy_service_are_tried_again(through, slept):
    script = Script(httpx.ConnectError("nobody"), problem(503, headers=BUSY), ok())
    assert through(script, look).id == TASK["id"]
    assert 0.25 <= slept[0] <= 0.5
    assert 7 <= slept[1] <= 8.75, "as it says, and a little apart from others"


def test_waits_grow_and_end(through, slept):
    script = Script(*[httpx.ReadTimeout("slow") for _ in range(4)])
    with pytest.raises(Unreachable, match="slow"):
        through(script, look, tries=4)
    assert len(script.asked) == 4
    assert slept == sorted(slept)


def test_what_is_busy_for_long_says_so(through):
    with pytest.raises(Overloaded) as refused:
        through(Script(*[problem(503, headers=BUSY) for _ in range(2)]), look, tries=2)
    assert (refused.value.slug, refused.value.retry_after) == ("overloaded", 7)


def test_patience_ends_what_tries_do_not(through, slept):
    script = Script(*[problem(503, headers={"Retry-After": "1"}) for _ in range(8)], ok())
    assert through(script, look, tries=None, patience=60).id == TASK["id"]
    assert len(slept) == 8, "more often than by default"
    script = Script(problem(503, headers=BUSY), ok())
    with pytest.raises(Overloaded):
        through(script, look, tries=None, patience=5)
    with pytest.raises(Unreachable, match="nobody"):
        through(Script(httpx.ConnectError("nobody"), ok()), look, patience=0)


def test_a_limit_that_does_not_say_when_is_no_matter_of_waiting(through):
    script = Script(problem(429, "limit-stored-bytes"), ok())
    with pytest.raises(Overloaded):
        through(script, look)
    assert len(script.asked) == 1
    assert through(Script(problem(429, headers={"Retry-After": "1"}), ok()), look)


def no_service(status: int) -> httpx.Response:
    """What a proxy says while nobody is behind it."""
    return httpx.Response(status, html="<html>\n<h1>not now</h1>\n</html>")


def test_a_proxy_without_a_service_behind_it_is_tried_again(through, slept):
    script = Script(no_service(502), no_service(504), ok())
    assert through(script, look).id == TASK["id"]
    assert slept == sorted(slept)


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxy_without_a_service_behind_it_for_long(through, status):
    script = Script(*[no_service(status) for _ in range(3)])
    with pytest.raises(Unreachable, match=f"{status}") as told:
        through(script, look, tries=3)
    assert "\n" not in str(told.value)
    assert script.answers == []


def test_a_limit_is_not_asked_again_before_its_time(through, slept):
    script = Script(problem(429, "rate-limit", headers={"Retry-After": "61"}), ok())
    with pytest.raises(Overloaded) as refused:
        through(script, look)
    assert (len(script.asked), slept) == (1, [])
    assert refused.value.retry_after == 61


@pytest.mark.parametrize("slug", ["task-limit", "byte-limit"])
def test_files_are_sent_once_where_the_key_is_at_its_limit(through, slept, tmp_path: Path, slug):
    (tmp_path / "a.zip").write_bytes(b"PK")
    script = Script(problem(429, slug, headers={"Retry-After": "60"}), ok())
    with pytest.raises(Overloaded) as refused:
        through(script, lambda c: c.submit(tmp_path / "a.zip"))
    assert (len(script.asked), slept) == (1, [])
    assert refused.value.slug == slug


@pytest.mark.parametrize(
    "deed",
    [
        lambda c: c.rollback("default", 2),
        lambda c: c.task("1").retry(),
        lambda c: c.task("1").cancel(),
    ],
    ids=["rollback", "retry", "cancel"],
)
def test_what_has_a_key_is_sent_again_under_it(deed, slept):
    move = {"sequence": 4, "version": 1, "kind": "rollback", "moved_at": TASK["created_at"]}
    answer = httpx.Response(200, json=TASK | move | {"by": TASK["submitted_by"]})
    cut = iter([httpx.ReadError("cut"), problem(503, headers=BUSY)])
    asked = []

    def service(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return ok()
        asked.append(request)
        found = next(cut, answer)
        if isinstance(found, Exception):
            raise found
        return found

    with Client("http://sats", transport=httpx.MockTransport(service)) as client:
        deed(client)
    assert len({request.headers["Idempotency-Key"] for request in asked}) == 1
    assert len(asked) == 3


def test_a_data_set_is_sent_again_whole_and_with_the_same_key(through, tmp_path: Path):
    dataset = tmp_path / "a.zip"
    dataset.write_bytes(b"PK" + bytes(200_000))
    told: list[tuple[int, int]] = []
    script = Script(
        httpx.WriteError("cut"), problem(503, headers=BUSY), httpx.Response(202, json=TASK)
    )
    task = through(
        script,
        lambda client: client.submit(
            dataset, model="farm", classes=["sheep"], progress=lambda *at: told.append(at)
        ),
    )
    assert task.name == "sheep"
    keys = {request.headers["Idempotency-Key"] for request in script.asked}
    assert len(keys) == 1
    assert len(keys.pop()) >= 32
    bodies = {
        request.content.split(b"\r\n", 1)[1].replace(b"\r\n", b"") for request in script.asked
    }
    sizes = {len(request.content) for request in script.asked}
    assert len(sizes) == 1
    assert min(sizes) > 200_000
    assert all(b'{"name": "a", "model": "farm", "classes": ["sheep"]}' in body for body in bodies)
    assert told[-1] == (200_002, 200_002)


def test_every_submission_has_a_key_of_its_own(through, tmp_path: Path):
    dataset = tmp_path / "a.zip"
    dataset.write_bytes(b"PK")
    script = Script(*[httpx.Response(202, json=TASK) for _ in range(3)])
    through(script, lambda c: c.submit(dataset))
    through(script, lambda c: c.submit(dataset))
    through(script, lambda c: c.submit(dataset, idempotency_key="mine"))
    first, second, third = [request.headers["Idempotency-Key"] for request in script.asked]
    assert first != second
    assert third == "mine"


def test_what_is_wrong_is_not_sent_again(through):
    script = Script(problem(422, "invalid"), ok())
    with pytest.raises(Refused):
        through(script, look)
    assert len(script.asked) == 1


def test_waits_are_not_longer_than_a_minute_whatever_is_asked(through, slept):
    through(Script(problem(503, headers={"Retry-After": "86400"}), ok()), look)
    assert slept[0] <= 75
