"""Whatever is done to an upload in parts, in whatever order, it becomes what was announced."""

import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.settings import Settings
from tests.app.uploads.sending import announce, complete, look
from tests.fixtures.examples import examples

PART, COUNT = 4096, 3
DATA = bytes(range(251)) * 40
DATA = DATA[: 2 * PART + 77]
ENDS = {"done", "failed", "gone"}

pytestmark = pytest.mark.parametrize("database_url", ["embedded"], indirect=True)

numbers = st.integers(0, COUNT + 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), numbers, st.sampled_from(["right", "other", "short", "long"])),
        st.tuples(st.just("complete")),
        st.tuples(st.just("announce")),
        st.tuples(st.just("abort")),
    ),
    max_size=12,
)


@pytest.fixture
def settings_of_parts(settings):
    return Settings(**settings.model_dump(exclude_unset=True) | {"upload_part_bytes": PART})


@pytest.fixture
def service(settings_of_parts):
    from app.main import create_app

    return create_app(settings_of_parts)


def body_of(number: int, kind: str) -> bytes:
    right = DATA[(number - 1) * PART : number * PART] if number else b"\0" * PART
    return {
        "right": right,
        "other": bytes(len(right)),
        "short": right[:-1],
        "long": right + b"\0",
    }[kind]


class Expected:
    """What an upload is, as whoever sends it knows."""

    def __init__(self) -> None:
        self.parts: dict[int, bytes] = {}
        self.state = "open"

    def put(self, number: int, kind: str) -> set[int]:
        if self.state == "gone" or not 1 <= number <= COUNT:
            return {404, 422}
        if self.state != "open":
            return {409}
        if kind == "long":
            return {413}
        if kind == "short":
            return {422}
        self.parts[number] = body_of(number, kind)
        return {204}

    def complete(self) -> set[int]:
        if self.state == "gone":
            return {404}
        if self.state != "open":
            return {202}
        if len(self.parts) < COUNT:
            return {409}
        whole = b"".join(self.parts[number] for number in sorted(self.parts))
        self.state = "done" if whole == DATA else "failed"
        return {202}


@settings(
    max_examples=examples(60),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=steps)
def test_any_sequence(client, steps):
    upload = announce(client, DATA).json()["upload"]
    expected = Expected()
    for name, *given_ in steps:
        if name == "put":
            number, kind = given_
            status = expected.put(number, kind)
            body = body_of(number, kind)
            answer = client.put(f"/uploads/{upload}/parts/{number}", content=body)
            assert answer.status_code in status, answer.text
        elif name == "complete":
            (status,) = expected.complete()
            if status == 202:
                assert complete(client, upload)["state"] == expected.state
            else:
                assert client.post(f"/uploads/{upload}:complete").status_code == status
        elif name == "abort":
            status = 404 if expected.state == "gone" else 204
            assert client.delete(f"/uploads/{upload}").status_code == status
            expected = Expected()
            expected.state = "gone"
        else:
            same = announce(client, DATA).json()["upload"]
            assert (same == upload) == (expected.state in ("open", "done"))
            if same != upload:
                client.delete(f"/uploads/{same}")
        if expected.state == "open":
            assert look(client, upload)["stored"] == sorted(expected.parts)
    if expected.state == "done":
        blob = client.app.state.services.blobs.path(hashlib.sha256(DATA).hexdigest())
        assert blob.read_bytes() == DATA
    client.delete(f"/uploads/{upload}")
    blobs = client.app.state.services.blobs
    assert [*blobs.entries(), *blobs.unfinished()] == []
