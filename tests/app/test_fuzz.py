"""Whatever is sent, the service answers, and never with a 500."""

import json
import string
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.db import write_session
from app.tasks.schemas import TaskSpec
from tests.app.tasks.posting import drawn
from tests.fixtures.versions import add_version


def relaxed(examples):
    """Same examples every time: a failure belongs to the change that made it."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


OPERATIONS = [
    ("GET", "/tasks"),
    ("GET", "/tasks/{}"),
    ("GET", "/tasks/{}/events"),
    ("POST", "/tasks/{}:cancel"),
    ("POST", "/tasks"),
    ("POST", "/segment"),
    ("GET", "/classes"),
    ("GET", "/admin/models"),
    ("GET", "/admin/models/{}/versions"),
    ("POST", "/admin/models/{}/versions"),
    ("GET", "/admin/models/{}/versions/{}"),
    ("GET", "/admin/models/{}/versions/{}/files/{}"),
    ("GET", "/admin/models/{}/aliases/live"),
    ("POST", "/admin/models/{}/versions/{}:promote"),
    ("POST", "/admin/models/{}/versions/{}:rollback"),
    ("POST", "/tasks/{}/events/token"),
    ("POST", "/admin/webhooks"),
    ("DELETE", "/admin/webhooks/{}"),
    ("GET", "/admin/webhooks/{}/deliveries"),
    ("GET", "/admin/metrics"),
    ("GET", "/admin/keys"),
    ("DELETE", "/admin/keys/{}"),
    ("GET", "/admin/audit"),
]
SPEC_FIELDS = [*TaskSpec.model_fields, "unknown"]

operations = st.sampled_from(OPERATIONS)
words = st.one_of(
    st.text(max_size=30),
    st.text(string.printable, max_size=300),
    st.integers().map(str),
    st.sampled_from(["default", "1", "2", "\0", "..", "null", "true", "1e999", "[]", "'", "%"]),
    st.uuids().map(str),
)
header_values = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")),
    st.sampled_from(["", "image/png", "*/*;q=x", "multipart/form-data; boundary=", "-1", "0x1"]),
).map(lambda text: text.strip().encode("latin-1"))
headers = st.dictionaries(
    st.sampled_from(
        [
            "Accept",
            "Content-Type",
            "Idempotency-Key",
            "Last-Event-ID",
            "Range",
            "Host",
            "If-None-Match",
        ]
    ),
    header_values,
    max_size=3,
)
queries = st.dictionaries(
    st.sampled_from(
        ["model", "version", "limit", "state", "before", "since", "until", "format", "other"]
    ),
    words,
    max_size=3,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
specs = st.dictionaries(st.sampled_from(SPEC_FIELDS), json_values, max_size=6)


@pytest.fixture
def stocked(client, engine, blobs):
    """A service that knows something."""
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
    return client


def _check(answer):
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["detail"]


def test_any_path_query_header_and_body(stocked):
    @relaxed(250)
    @given(
        st.sampled_from(OPERATIONS), st.tuples(words, words, words), queries, headers, st.binary()
    )
    def ask(operation, parts, query, sent, body):
        method, path = operation
        filled = path.format(*(quote(part or "-", safe="") for part in parts))
        content = body if method == "POST" else None
        _check(stocked.request(method, filled, params=query, headers=sent, content=content))

    ask()


def test_any_spec(stocked, tmp_path):
    content = drawn(tmp_path, "cat", "dog").read_bytes()

    @relaxed(150)
    @given(specs | json_values, st.booleans())
    def ask(spec, named):
        if named and isinstance(spec, dict):
            spec = {"name": "x"} | spec
        files = {"dataset": ("d.zip", content)}
        answer = stocked.post("/tasks", files=files, data={"spec": json.dumps(spec)})
        _check(answer)
        if answer.status_code == 202:
            assert stocked.get(answer.headers["location"]).status_code == 200

    ask()


@relaxed(300)
@given(st.binary() | st.text() | specs.map(json.dumps))
def test_a_spec_is_read_or_refused(text):
    try:
        spec = TaskSpec.model_validate_json(text)
    except ValidationError:
        return
    again = TaskSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert spec.step_settings().for_method()


def test_any_data_set(stocked, tmp_path):
    whole = drawn(tmp_path, "dog").read_bytes()

    @relaxed(120)
    @given(st.data())
    def ask(data):
        broken = bytearray(whole)
        for _ in range(data.draw(st.integers(1, 6))):
            place = data.draw(st.integers(0, len(broken) - 1))
            broken[place] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(broken)))
        files = {"dataset": ("d.zip", bytes(broken[cut:] if cut % 2 else broken))}
        _check(stocked.post("/tasks", files=files, data={"spec": '{"name": "x"}'}))

    ask()


def test_any_key(client):
    @relaxed(100)
    @given(header_values)
    def ask(value):
        _check(client.get("/tasks", headers={"Authorization": value}))
        _check(client.get("/tasks", headers={"Authorization": b"Bearer " + value}))

    ask()
