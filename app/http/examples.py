"""Examples of answers in the OpenAPI document: what a service has answered."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.resources import files
from typing import Any

METHODS = ("get", "put", "post", "delete", "patch")
JSON = "application/json"
_PREFIX = "#/components/schemas/"


def with_examples(document: dict[str, Any]) -> dict[str, Any]:
    """Give an example to every answer with JSON of an OpenAPI document that has none of its own.

    It is what its record's class says, what the operation answered once, or another operation with
    the same record; what is in no example at all is put together of its fields' examples.
    """
    written: dict[str, Any] = json.loads((files("app.http") / "examples.json").read_text("utf-8"))
    known = dict(written)
    contents = [*_answers(document)]
    for name, content in contents:
        if name in written and "$ref" in content["schema"]:
            known.setdefault(content["schema"]["$ref"], written[name])
    for name, content in contents:
        if not content.keys() & {"example", "examples"}:
            own = _resolved(document, content["schema"]).get("examples")
            found = own[0] if own else written.get(name)
            with suppress(LookupError):  # a test names what is left without one
                if found is None:
                    found = _composed(document, content["schema"], known)
                content["example"] = found
    return document


def _answers(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every answer with JSON that is no refusal, by what its operation is called."""
    for path, item in document["paths"].items():
        for method in METHODS:
            for status, answer in item.get(method, {}).get("responses", {}).items():
                if status.startswith("2") and JSON in answer.get("content", {}):
                    yield f"{method} {path}", answer["content"][JSON]


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in schema:
        found: Mapping[str, Any] = document["components"]["schemas"][
            schema["$ref"].removeprefix(_PREFIX)
        ]
        return found
    return schema


def _composed(
    document: Mapping[str, Any], schema: Mapping[str, Any], known: Mapping[str, Any]
) -> Any:
    """Return a value of a schema, of the examples of its parts.

    Raises:
        LookupError: a part that may not be null has none.
    """
    if schema.get("$ref") in known:
        return known[schema["$ref"]]
    schema = _resolved(document, schema)
    if "examples" in schema:
        return schema["examples"][0]
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _one_of(document, schema["anyOf"], known)
    kind = schema.get("type")
    if kind == "object":
        parts = schema.get("properties", {})
        return {name: _composed(document, part, known) for name, part in parts.items()}
    if kind == "array":
        return [_composed(document, schema["items"], known)]
    if kind == "null":
        return None
    raise LookupError(f"no example of {schema.get('title', schema)!r}: give its field one")


def _one_of(
    document: Mapping[str, Any], schemas: list[dict[str, Any]], known: Mapping[str, Any]
) -> Any:
    for schema in schemas[:-1]:
        try:
            return _composed(document, schema, known)
        except LookupError:
            continue
    return _composed(document, schemas[-1], known)
