"""Whatever is sent, the service answers as its OpenAPI document says, and never with a 500.

Schemathesis asks what the document knows; what it cannot know is below: broken zips, specs that are
half right, headers and paths that nobody would write.

`SATS_FUZZ_CASES=10000` tries that many requests in place of a few of each operation;
`SATS_FUZZ_REPORT` names the file that gets a record of them, `SATS_HYPOTHESIS_SEED` draws others.
"""

import json
import os
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.db import write_session
from app.http.problems import path_speaks
from app.integrations.protocols.refusals import OPEN_INFERENCE
from app.tasks.schemas import TaskSpec
from benchmarks.machine import commit
from tests.app import fuzzing
from tests.app.fuzzed import files, stocked, there
from tests.app.tasks.posting import drawn
from tests.fixtures.examples import examples
from tests.fixtures.versions import add_version

CASES = int(os.environ.get("SATS_FUZZ_CASES", "150"))
SEED = int(os.environ.get("SATS_HYPOTHESIS_SEED", "1"))
WHOLE = CASES >= 10_000
"""Whether examples and bounds are tried too: minutes, not seconds."""
NOT_DRAWN = 2000 if WHOLE else 0
"""Cases that come of the schemas' bounds, and of asking three times what reads most, at least."""
COMMAND = "SATS_FUZZ_CASES={} pytest -n 0 tests/app/test_fuzz.py -k 'any_request_of and embedded'"


def relaxed(most):
    return settings(max_examples=most, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def stock(service, settings, engine, blobs, tmp_path):
    """A client of a service that knows something, and what it knows."""
    with stocked(service, settings, engine, blobs, tmp_path) as client:
        yield client, there(client, engine, tmp_path, service.openapi())


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of a case that holds a zip
@pytest.mark.timeout(max(1800, CASES))
def test_any_request_of_the_document(stock, service, tmp_path):
    client, known = stock
    begun = time.monotonic()
    config = fuzzing.configured(
        known,
        client.headers["Authorization"],
        (CASES - NOT_DRAWN) // len([*fuzzing.operations(service.openapi())]),
        SEED,
        whole=WHOLE,
    )
    outcome = fuzzing.run(fuzzing.loaded(service, config, files(tmp_path)))
    record = outcome.record(COMMAND.format(CASES), SEED, time.monotonic() - begun)
    if "SATS_FUZZ_REPORT" in os.environ:
        text = json.dumps(record, indent=1) + "\n"
        Path(os.environ["SATS_FUZZ_REPORT"]).write_text(text)
    if outcome.failures:
        pytest.fail("\n\n".join(outcome.failures.values()), pytrace=False)
    assert outcome.operations == set(fuzzing.operations(service.openapi()))
    # No Label Studio is there to answer for.
    ours = {operation for operation in outcome.operations if "label-studio" not in operation}
    assert len(outcome.served & ours) > (0.95 if WHOLE else 0.75) * len(ours), record["never_2xx"]
    if WHOLE:
        assert record["cases"] >= CASES


def test_a_record_names_the_code_that_was_asked():
    record = fuzzing.Outcome().record("pytest", 1, 0.0)
    assert (record["commit"], record["seed"]) == (commit(), 1)


header_values = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")),
    st.sampled_from(["", "image/png", "*/*;q=x", "multipart/form-data; boundary=", "-1", "0x1"]),
    st.sampled_from(["bytes=0-1", "bytes=1-0", "bytes=999999999-", "bytes=-0", "bytes=0-1,3-4"]),
).map(lambda text: text.strip().encode("latin-1"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
SPEC_FIELDS = [*TaskSpec.model_fields, "unknown"]
specs = st.dictionaries(st.sampled_from(SPEC_FIELDS), json_values, max_size=6)
any_path = st.text(st.characters(codec="utf-8", exclude_characters="?#"), max_size=40)


def _refused_well(answer):
    """Whether an answer is none, or a refusal in the form that its path speaks."""
    assert answer.status_code < 500, answer.text
    if answer.status_code < 400:
        return
    kind = answer.headers["content-type"].partition(";")[0]
    if path_speaks(OPEN_INFERENCE, answer.request.url.path):
        assert kind == "application/json"
        assert list(answer.json()) == ["error"]
    else:
        assert kind == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["detail"]


@pytest.fixture
def taught(client, engine, blobs):
    """A client of a service that has a model."""
    with write_session(engine) as session:
        add_version(session, blobs, ["red"])
    return client


def test_any_path_and_method(client):
    @relaxed(examples(100))
    @given(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "X"]), any_path)
    def ask(method, path):
        answer = client.request(method, "/" + quote(path.replace("health", ""), safe="/:"))
        if method == "HEAD":
            assert answer.status_code < 500
        else:
            _refused_well(answer)

    ask()


def test_any_spec(taught, tmp_path):
    content = drawn(tmp_path, "cat", "dog").read_bytes()

    @relaxed(examples(150))
    @given(specs | json_values, st.booleans())
    def ask(spec, named):
        if named and isinstance(spec, dict):
            spec = {"name": "x"} | spec
        files = {"dataset": ("d.zip", content)}
        answer = taught.post("/tasks", files=files, data={"spec": json.dumps(spec)})
        _refused_well(answer)
        if answer.status_code == 202:
            assert taught.get(answer.headers["location"]).status_code == 200

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


def test_any_data_set(taught, tmp_path):
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
        _refused_well(taught.post("/tasks", files=files, data={"spec": '{"name": "x"}'}))

    ask()


def test_any_key(client):
    @relaxed(examples(100))
    @given(header_values)
    def ask(value):
        _refused_well(client.get("/tasks", headers={"Authorization": value}))
        _refused_well(client.get("/tasks", headers={"Authorization": b"Bearer " + value}))

    ask()
