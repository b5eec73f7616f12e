"""How refusals are spelled for tools that know no problems."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from app.errors import Problem
from app.http.problems import MEDIA_TYPE, Spelled, Spelling

OPEN_INFERENCE = "/v2"
"""Path under which everything speaks the Open Inference Protocol, and nothing else."""
HUGGING_FACE = "/hf"
"""Path under which problems have an `error` too, of which Hugging Face's clients tell."""

_WRONG_INPUT = (
    HTTPStatus.NOT_ACCEPTABLE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
_MOST_TOLD = 5


def status_of(status: int) -> int:
    """Return a problem's status as the Open Inference Protocol has it: wrong input is 400."""
    return HTTPStatus.BAD_REQUEST if status in _WRONG_INPUT else status


def body_of(problem: Problem) -> dict[str, Any]:
    """Return a problem as the Open Inference Protocol spells it: one text, for people."""
    told = [
        f"{error.field}: {error.message}" if error.field else error.message
        for error in problem.errors[:_MOST_TOLD]
        if error.message not in problem.detail
    ]
    return {"error": ": ".join([problem.detail, *(["; ".join(told)] if told else [])])}


def _open_inference(problem: Problem, _: dict[str, Any]) -> Spelled:
    return Spelled(status_of(problem.status), body_of(problem), "application/json")


def _hugging_face(problem: Problem, body: dict[str, Any]) -> Spelled:
    return Spelled(problem.status, {**body, "error": problem.detail}, MEDIA_TYPE)


SPELLINGS: Mapping[str, Spelling] = MappingProxyType(
    {OPEN_INFERENCE: _open_inference, HUGGING_FACE: _hugging_face}
)
"""How refusals are spelled under these paths."""
