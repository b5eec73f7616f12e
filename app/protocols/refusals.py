"""How refusals are spelled for tools that know no problems. Web-free."""

from http import HTTPStatus
from typing import Any

from app.errors import Problem

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


def path_speaks(prefix: str, path: str) -> bool:
    """Return whether a path is a prefix or lies under it."""
    return path == prefix or path.startswith(prefix + "/")


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
