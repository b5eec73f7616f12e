from contextlib import ExitStack
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient
from starlette.types import Message

from app.http.dependencies import require
from app.keys.service import Scope
from app.segmentation.direct import Direct, HoldingResponse
from app.segmentation.endpoints import router


async def nothing_comes() -> Message:
    raise AssertionError("a response reads nothing")


def sent(response: HoldingResponse, left: list[str], *, broken: bool = False) -> list[list[str]]:
    """Send a response; return what had been left when each part of it went out."""
    seen: list[list[str]] = []

    async def send(message: Message) -> None:
        seen.append(list(left))
        if broken and message["type"] == "http.response.body":
            raise BrokenPipeError

    anyio.run(response, {"type": "http"}, nothing_comes, send)
    return seen


def test_an_answer_holds_until_it_is_out() -> None:
    left: list[str] = []
    held = ExitStack()
    held.callback(left.append, "room")
    assert sent(HoldingResponse(held, content=b"mask"), left) == [[], []]
    assert left == ["room"]


def test_an_answer_that_does_not_go_out_lets_go() -> None:
    left: list[str] = []
    held = ExitStack()
    held.callback(left.append, "room")
    with pytest.raises(BrokenPipeError):
        sent(HoldingResponse(held, content=b"mask"), left, broken=True)
    assert left == ["room"]


def test_the_document_tells_what_the_endpoint_asks_itself(document: Any) -> None:
    (route,) = router.routes
    assert isinstance(route, Direct)
    declared = {each.call for each in route.dependant.dependencies[0].dependencies}
    assert declared == {require(Scope.SEGMENT)}
    assert document["paths"]["/segment"]["post"]["security"]


def test_who_may_not_call_hears_that_before_what_is_wrong(client: TestClient) -> None:
    refused = client.post("/segment?size=1&sizes=2", headers={"Via": "1.1 proxy"})
    assert refused.status_code == 403
    assert refused.json()["type"].endswith("local-callers-only")
    allowed = client.post("/segment?size=1")
    assert allowed.status_code == 422
    assert [error["field"] for error in allowed.json()["errors"]] == ["query.size"]
