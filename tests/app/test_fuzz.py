"""Whatever is sent, the service answers as its OpenAPI document says, and never with a 500.

`SATS_FUZZ_CASES=10000` tries that many requests in place of a few hundred.
"""

import json
import os
from collections import Counter
from io import BytesIO
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from sqlalchemy import select

from app.admin.aliases import MOVES
from app.admin.endpoints import MODELS, VERSIONS
from app.db import LargeUpload, Task, read_session, write_session
from app.protocols.refusals import OPEN_INFERENCE, path_speaks
from app.tasks.listing import TASKS
from app.tasks.schemas import TaskSpec
from sats_core.classes import ClassInfo
from tests.app.from_openapi import (
    header_values,
    json_values,
    operations,
    requests,
)
from tests.app.inference.colour_graph import write_version
from tests.app.tasks.posting import drawn
from tests.fixtures.checkpoints import checkpoint_zip
from tests.fixtures.examples import examples
from tests.fixtures.versions import add_version

CASES = int(os.environ.get("SATS_FUZZ_CASES", "350"))
READY = ("/health/ready", "/v2/health/ready")
"""The calls that may answer 503 here: no worker runs, and nothing else is overloaded or down."""


def relaxed(most):
    return settings(max_examples=most, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def stocked(client, engine, blobs, tmp_path):
    """A service that knows something: two versions whose graphs can be run, their tasks ended."""
    with write_session(engine) as session:
        for number, name in enumerate(["red", "green"]):
            version = add_version(session, blobs, [name])
            classes = [ClassInfo(**entry) for entry in version.classes]
            files = write_version(tmp_path / str(number), classes)
            version.files = {
                file.name: {"blob": blobs.put_file(file).key, "bytes": file.stat().st_size}
                for file in files
            }
    client.post("/uploads", json={"bytes": 5}).raise_for_status()
    return client


def _check(answer, operation=None):
    """Hold an answer to the document, or, of a request that is to no operation, to being one."""
    status, kind = answer.status_code, answer.headers.get("content-type")
    kind = kind.partition(";")[0] if kind else None
    assert status < 500 or (status == 503 and answer.request.url.path in READY), answer.text
    if status >= 400 and path_speaks(OPEN_INFERENCE, answer.request.url.path):
        assert kind == "application/json"
        assert list(answer.json()) == ["error"]
    elif status >= 400:
        assert kind == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status
        assert problem["detail"]
    if operation is not None:
        assert operation.allows(status, kind), (operation.method, operation.path, status, kind)


def _schema(client):
    return client.app.openapi()


def _known(engine):
    with read_session(engine) as session:
        tasks = [str(task) for task in session.scalars(select(Task.id))]
        uploads = list(session.scalars(select(LargeUpload.id)))
    return {
        "model": ["default"],
        "version": ["1", "2"],
        "number": ["1", "2"],
        "task_id": tasks,
        "upload": uploads,
        "cursor": [TASKS.cursor(2), VERSIONS.cursor(2), MODELS.cursor("a"), MOVES.cursor(2)],
        "name": ["config.json", "model.onnx", "card.md"],
    }


def _files(tmp_path):
    picture = BytesIO()
    Image.new("RGB", (32, 24), "red").save(picture, "PNG")
    sets = drawn(tmp_path, "red", "dog").read_bytes(), checkpoint_zip(["background", "cat"])
    return [picture.getvalue(), *sets]


@pytest.mark.timeout(max(600, CASES))
def test_any_request_of_the_document(stocked, engine, tmp_path):
    document = _schema(stocked)
    known, files = _known(engine), _files(tmp_path)
    every = operations(document)
    each = CASES // len(every) + 1
    answered = Counter()

    def exercise(operation):
        @relaxed(each)
        @given(requests(document, operation, known, files))
        def ask(request):
            answer = stocked.request(**request)
            answered[operation.path, answer.status_code // 100] += 1
            _check(answer, operation)

        ask()

    for operation in every:
        exercise(operation)
    statuses = Counter(hundred for _, hundred in answered.elements())
    print(f"{sum(answered.values())} requests of {len(every)} operations: {dict(statuses)}")  # noqa: T201
    asked_well = {path for path, hundred in answered if hundred == 2}
    # No Label Studio is there to answer for.
    paths = {operation.path for operation in every if "label-studio" not in operation.path}
    assert len(asked_well & paths) > 0.4 * len(paths)


SPEC_FIELDS = [*TaskSpec.model_fields, "unknown"]
specs = st.dictionaries(st.sampled_from(SPEC_FIELDS), json_values, max_size=6)
any_path = st.text(st.characters(codec="utf-8", exclude_characters="?#"), max_size=40)


def test_any_path_and_method(stocked):
    @relaxed(examples(100))
    @given(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "X"]), any_path)
    def ask(method, path):
        answer = stocked.request(method, "/" + quote(path.replace("health", ""), safe="/:"))
        assert answer.status_code < 500
        if method != "HEAD" and answer.status_code >= 400:
            _check(answer)

    ask()


def test_any_spec(stocked, tmp_path):
    content = drawn(tmp_path, "cat", "dog").read_bytes()

    @relaxed(examples(150))
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


@relaxed(examples(300))
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

    @relaxed(examples(120))
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
    @relaxed(examples(100))
    @given(header_values)
    def ask(value):
        _check(client.get("/tasks", headers={"Authorization": value}))
        _check(client.get("/tasks", headers={"Authorization": b"Bearer " + value}))

    ask()
