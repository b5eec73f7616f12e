"""Whatever a tensor says of itself, it is refused as wrong, and takes no more room than it held."""

import gc
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json
from starlette.testclient import TestClient

from app.errors import BadRequestProblem, TooLargeProblem
from app.integrations.protocols.open_inference import HEADER_LENGTH
from app.integrations.protocols.tensors import MOST_WORK, Limits, json_cost, read
from app.main import create_app
from app.settings import MIB, Settings
from tests.app.segmentation.conftest import Register
from tests.fixtures.examples import examples

INFER = "/v2/models/default/infer"
RIGHT = {"name": "image", "datatype": "UINT8", "shape": [1, 1, 2, 3], "data": [0] * 6}
SERVE_BYTES = 8 * MIB

sides = st.sampled_from(
    [-1, 0, 1, 2, 3, 2**16, 2**31 - 1, 2**31, 2**32 + 1, 2**62, 2**63, 2**64 + 6, 1.0, True, None]
) | st.integers(-5, 9)
shapes = st.lists(sides, max_size=6) | st.sampled_from([None, 3, "1,1,2,3", {}, [[1, 1, 2, 3]]])
numbers = st.sampled_from(
    [0, 255, 256, -1, 2**63, 1.5, 1e300, "0", "\x00", None, True, [], {}, [0]]
)
elements = st.recursive(st.integers(0, 255) | numbers, lambda inner: st.lists(inner, max_size=4))
data = elements | st.lists(st.integers(0, 255), min_size=6, max_size=6)
sizes = st.none() | sides
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["image", "encoded", "other", None]),
        "datatype": st.sampled_from(["UINT8", "BYTES", "FP32", 1]),
        "shape": shapes,
    },
    optional={
        "data": data,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": sizes}),
    },
)
changes = st.fixed_dictionaries({}, optional={"shape": shapes, "data": data})
inputs = tensors | changes.map(lambda changed: RIGHT | changed)
blobs = st.binary(max_size=40) | st.just((2**32 - 1).to_bytes(4, "little") * 3)
lengths = st.none() | st.sampled_from(["-1", "0", "1e3", "9" * 11, "9" * 400, "\u0663", "", " 5"])


@pytest.fixture
def small(settings: Settings, register: Register) -> Iterator[tuple[FastAPI, TestClient]]:
    """A service with a version and little room."""
    register()
    app = create_app(settings.model_copy(update={"serve_bytes": SERVE_BYTES}))
    with TestClient(
        app,
        base_url="http://127.0.0.1",
        client=("127.0.0.1", 50000),
        raise_server_exceptions=False,
    ) as client:
        yield app, client


def check(small: tuple[FastAPI, TestClient], answer: Any, *allowed: int) -> None:
    assert answer.status_code in allowed, answer.text
    if answer.status_code != 200:
        assert list(answer.json()) == ["error"]
    inference = small[0].state.services.inference
    assert inference.memory.free == SERVE_BYTES
    assert inference.load.free == small[0].state.services.settings.serve_queue


def relaxed(most: int) -> settings:
    return settings(max_examples=most, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_any_tensor_in_json(small: tuple[FastAPI, TestClient]) -> None:
    @relaxed(examples(300))
    @given(st.lists(inputs, max_size=2))
    @example([RIGHT])
    @example([RIGHT | {"shape": [2**63, 2**63, 2**63, 3]}])
    @example([RIGHT | {"shape": [2**31 - 1, 2**31 - 1, 2**31 - 1, 3]}])
    @example([RIGHT | {"shape": [-1, -1, -2, 3]}])
    @example([RIGHT | {"shape": [17, 1, 1, 3], "data": [0] * 51}])
    @example([{"name": "encoded", "datatype": "BYTES", "shape": [2**31 - 1], "data": ["aGE="]}])
    def ask(tensors: list[Any]) -> None:
        answer = small[1].post(INFER, content=json.dumps({"inputs": tensors}).encode())
        right = tensors and all(
            one["name"] == "image" and one["shape"] in ([1, 1, 2, 3], [1, 2, 3]) for one in tensors
        )
        check(small, answer, 400, 413, *([200] if right else []))

    ask()


def test_any_bytes_behind_any_json(small: tuple[FastAPI, TestClient]) -> None:
    @relaxed(examples(300))
    @given(tensors, blobs, lengths, sizes)
    @example(RIGHT, b"", "5", None)
    def ask(tensor: Any, blob: bytes, length: str | None, size: Any) -> None:
        tensor = {key: value for key, value in tensor.items() if key != "data"}
        size = len(blob) if size is None else size
        text = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": size}}]})
        header = str(len(text)) if length is None else length
        headers = {HEADER_LENGTH.encode(): header.encode()}
        answer = small[1].post(INFER, content=text.encode() + blob, headers=headers)
        check(small, answer, 200, 400, 413)

    ask()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b'{"inputs": NaN}',
        b"[" * 100_000,
        b'{"inputs": ' + b"9" * 100_000 + b"}",
        b'{"id": "\\ud800", "inputs": []}',
    ],
)
def test_what_is_no_request(small: tuple[FastAPI, TestClient], text: bytes) -> None:
    check(small, small[1].post(INFER, content=text), 400, 413)


@pytest.mark.parametrize(
    ("inner", "times"),
    [
        (b"1,", MOST_WORK),
        (b"[1],", 600_000),
        (b"[],", 600_000),
        (b"[[[[1]]]],", 150_000),
        (b'{"a":1},', 400_000),
        (b'"a",', 500_000),
        (b"100000000000000000000000000000,", 700_000),
        (b'"\\n",', 500_000),
        (b"\\n", 3_300_000),
    ],
)
def test_what_keeps_everybody_waiting_is_not_read(
    client: TestClient, register: Register, inner: bytes, times: int
) -> None:
    register()
    refused = client.post(INFER, content=b"[" + inner * times + b"1]")
    assert refused.status_code == 413
    assert "as bytes" in refused.json()["error"]


@pytest.mark.parametrize(
    "data",
    [
        json.dumps([[[[100] * 3] * 512] * 512]),
        json.dumps([100] * (760 * 760 * 3)),
        json.dumps(["Q" * (32 * MIB)] * 1),
    ],
    ids=["nested", "flat", "base64"],
)
def test_what_people_send_in_json_may_be_read(data: str) -> None:
    json_cost(json.dumps({"inputs": [RIGHT]}).replace("[0, 0, 0, 0, 0, 0]", data).encode())


@pytest.mark.parametrize("end", ["", "]"], ids=["json", "no-json"])
def test_garbage_is_not_collected_while_lists_are_made(end: str) -> None:
    lists = 100_000
    tensor = RIGHT | {"shape": [lists, 1, 1, 3], "data": [[[[0, 0, 0]]]] * lists}
    text = json.dumps({"inputs": [tensor]}).encode() + end.encode()
    begun: list[str] = []
    gc.collect()
    gc.callbacks.append(lambda phase, _: begun.append(phase))
    try:
        with suppress(BadRequestProblem, TooLargeProblem):
            read(text, memoryview(b""), Limits(pictures=1, bytes=0, pixels=1))
    finally:
        gc.callbacks.pop()
    assert gc.isenabled()
    assert len(begun) < 20, "lists of four levels make garbage collected 500 times"


@pytest.mark.parametrize("inner", [b"[]", b"{}", b'{"":0}', b"1", b'""'])
def test_what_would_take_more_than_there_is_is_not_read(
    small: tuple[FastAPI, TestClient], inner: bytes
) -> None:
    times = SERVE_BYTES // json_cost(inner + b",") + 1
    text = b'{"inputs": [%s0]}' % ((inner + b",") * times)
    assert len(text) < SERVE_BYTES / 4
    refused = small[1].post(INFER, content=text)
    check(small, refused, 413)
    assert "memory" in refused.json()["error"]


@pytest.mark.parametrize(
    "inner",
    [
        b"[]",
        b"[1,2,3]",
        b"{}",
        b'{"a":[0]}',
        b"1.5",
        b"100000000000000000000",
        b'"\\u00e9\\ud83d\\ude00"',
        '"\U0001f600"'.encode(),
    ],
)
def test_json_takes_no_more_than_is_held_for_it(inner: bytes) -> None:
    text = b"[" + b",".join([inner] * 20_000) + b"]"
    tracemalloc.start()
    try:
        kept = from_json(text, allow_inf_nan=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(kept) == 20_000
    assert peak <= json_cost(text)
