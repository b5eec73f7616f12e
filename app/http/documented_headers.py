"""Headers that answers carry whatever they answer, in the OpenAPI document."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

METHODS: Final = ("get", "head", "put", "post", "delete", "patch")
LIMITED: Final = "429"
_HEADERS: dict[str, tuple[str, str]] = {
    "Request-Id": (
        "The request's id: the one that it was sent with, if that is a good one. The log and the "
        "audit log tell of it by this.",
        "0f5b2d6c9a4e4f0bb7d1a3c85e6f7a21",
    ),
    "Retry-After": ("In how many seconds to come back; of most 503, not of all.", "2"),
    "RateLimit-Policy": (
        "How much a key may (`q`) in how many seconds (`w`); of keys with limits alone.",
        '"requests-per-minute";q=60;w=60',
    ),
    "RateLimit": (
        "What is left of it (`r`), and in how many seconds there may be more (`t`).",
        '"requests-per-minute";r=59;t=1',
    ),
    "Deprecation": ("Since when the call is to be avoided (RFC 9745).", "@1795305600"),
    "Link": (
        'What takes its place, with `rel="successor-version"`.',
        '</admin/models/default/aliases/live>; rel="successor-version"',
    ),
}


def with_headers(document: dict[str, Any]) -> dict[str, Any]:
    """Say of every answer in an OpenAPI document which headers it carries.

    What an operation says of its own headers stays. An answer to HEAD has headers alone.
    """
    document["components"]["headers"] = {
        name: {"description": told, "schema": {"type": "string"}, "example": example}
        for name, (told, example) in _HEADERS.items()
    }
    for item in document["paths"].values():
        for method in METHODS:
            for status, answer in item.get(method, {}).get("responses", {}).items():
                if method == "head":
                    answer.pop("content", None)
                headers = answer.setdefault("headers", {})
                for name in _carried(item[method], status):
                    headers.setdefault(name, {"$ref": f"#/components/headers/{name}"})
    return document


def _carried(operation: Mapping[str, Any], status: str) -> Iterator[str]:
    yield "Request-Id"
    if status in (LIMITED, "503"):
        yield "Retry-After"
    if LIMITED in operation["responses"]:
        yield from ("RateLimit-Policy", "RateLimit")
    if operation.get("deprecated"):
        yield from ("Deprecation", "Link")
