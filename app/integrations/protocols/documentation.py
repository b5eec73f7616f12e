"""What the OpenAPI document says of the protocols, beside what FastAPI reads off the code."""

from typing import Any

from pydantic import BaseModel

from app.errors import Problem
from app.http.problems import Responses
from app.integrations.protocols.refusals import status_of
from app.integrations.protocols.schemas import (
    REQUEST_EXAMPLE,
    InferAnswerJson,
    InferRequestJson,
    RefusalJson,
)
from app.registry.schemas import MAX_NUMBER

NUMBER: dict[str, Any] = {
    "parameters": [
        {
            "name": "number",
            "in": "path",
            "required": True,
            "description": "The version's number.",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_NUMBER},
        }
    ]
}


def body_schema(record: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a body that FastAPI does not read, its parts inside it."""
    schema = record.model_json_schema()
    parts = schema.pop("$defs", {})

    def whole(node: Any) -> Any:
        if isinstance(node, list):
            return [whole(one) for one in node]
        if not isinstance(node, dict):
            return node
        part = parts[node["$ref"].rpartition("/")[2]] if "$ref" in node else {}
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return {key: whole(value) for key, value in (part | rest).items()}

    found: dict[str, Any] = whole(schema)
    return found


_BINARY: dict[str, Any] = {
    "schema": {
        "type": "string",
        "format": "binary",
        "description": "JSON, as long as `Inference-Header-Content-Length` says, then bytes.",
    }
}
INFER: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Pictures as a tensor, in JSON or as bytes behind it.",
        "content": {
            "application/json": {
                "schema": body_schema(InferRequestJson),
                "example": REQUEST_EXAMPLE,
            },
            "application/octet-stream": _BINARY,
        },
    }
}
INFER_ANSWER: Responses = {
    200: {
        "description": "What the pictures show. Where an output is asked for as bytes, they follow "
        "the JSON, which is as long as `Inference-Header-Content-Length` says.",
        "model": InferAnswerJson,
        "content": {"application/octet-stream": _BINARY},
    }
}


def refusals(*kinds: type[Problem]) -> Responses:
    """Return the `responses=` of an operation of the Open Inference Protocol."""
    grouped: dict[int, dict[str, str]] = {}
    for kind in kinds:
        same = grouped.setdefault(status_of(kind.status), {})
        same.setdefault(kind.title, (kind.__doc__ or kind.title).strip())
    said: Responses = {
        status: _refusal("; ".join(same), next(iter(same.values())))
        for status, same in sorted(grouped.items())
    }
    # FastAPI would list 422, in a form of its own, where neither it nor `default` is.
    return said | {"default": _refusal("Any other refusal", "the log of the service says more")}


def _refusal(description: str, error: str) -> dict[str, Any]:
    content = {"application/json": {"example": {"error": error}}}
    return {"description": description, "model": RefusalJson, "content": content}
