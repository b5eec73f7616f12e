"""Requests drawn from the OpenAPI document: every operation, every parameter, every field.

Nothing here names an operation or a field: what the document gains is tried from then on.
"""

import json
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

METHODS = ("get", "post", "put", "patch", "delete")
Schema = Mapping[str, Any]
Known = Mapping[str, Sequence[str]]
"""Values that exist, by the name of a parameter: without them nothing but 404 is ever tried."""

words = st.one_of(
    st.text(max_size=30),
    st.text(string.printable, max_size=300),
    st.integers().map(str),
    st.sampled_from(["1", "2", "\0", "..", "null", "true", "1e999", "[]", "'", "%", "\u202e"]),
    st.uuids().map(str),
)
header_values = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")),
    st.sampled_from(["", "image/png", "*/*;q=x", "multipart/form-data; boundary=", "-1", "0x1"]),
    st.sampled_from(["bytes=0-1", "bytes=1-0", "bytes=999999999-", "bytes=-0", "bytes=0-1,3-4"]),
).map(lambda text: text.strip().encode("latin-1"))
common_headers = st.dictionaries(
    st.sampled_from(["Accept", "Range", "Host", "If-None-Match", "Content-Type", "Expect"]),
    header_values,
    max_size=2,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@dataclass(frozen=True)
class Operation:
    """One call of the document."""

    method: str
    path: str
    said: Schema

    def allows(self, status: int, kind: str | None) -> bool:
        """Whether the document lists an answer of this status and content type."""
        answer = self.said["responses"].get(str(status))
        if answer is None:
            return False
        kinds = answer.get("content", {})
        return kind in kinds if kinds else kind is None


def operations(document: Schema) -> list[Operation]:
    """Return every operation of a document."""
    return [
        Operation(method, path, item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


def values(document: Schema, schema: Schema, depth: int = 3) -> st.SearchStrategy[Any]:
    """Return values of a schema, and at every level values that are none of it."""
    return st.one_of(_fitting(document, schema, depth), _fitting(document, schema, depth), _wrong)


_wrong = json_values | words | st.sampled_from([0, -1, 2**31, 2**63, 2**70, 1e308, "", [], {}])


def _fitting(document: Schema, schema: Schema, depth: int) -> st.SearchStrategy[Any]:
    schema = resolved(document, schema)
    if depth == 0 or not schema:
        return json_values
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return st.one_of(*(_fitting(document, part, depth) for part in schema[key]))
    match schema.get("type"):
        case "object":
            return _objects(document, schema, depth)
        case "array":
            return st.lists(values(document, schema.get("items", {}), depth - 1), max_size=3)
        case "integer":
            least, most = schema.get("minimum", -5), schema.get("maximum", 2**40)
            return st.integers(int(least), int(most)) | st.sampled_from([least, most])
        case "number":
            return st.floats(0, 1) | st.sampled_from(
                [schema.get("minimum", 0.0), schema.get("maximum", 1.0)]
            )
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return st.sampled_from(["default", "cat", "a", "1"]) | st.uuids().map(str) | words


def _objects(document: Schema, schema: Schema, depth: int) -> st.SearchStrategy[Any]:
    fields = {
        name: values(document, inner, depth - 1)
        for name, inner in schema.get("properties", {}).items()
    }
    needed = {name: fields[name] for name in schema.get("required", ()) if name in fields}
    chosen = st.sets(st.sampled_from(sorted(fields)), max_size=4) if fields else st.just(set())
    right = st.fixed_dictionaries(
        {name: _fitting(document, schema["properties"][name], depth - 1) for name in needed}
    )
    changed = chosen.flatmap(lambda names: st.fixed_dictionaries({n: fields[n] for n in names}))
    strange = st.just({}) | st.dictionaries(words, json_values, max_size=1)
    return st.tuples(right, changed, strange).map(lambda parts: parts[0] | parts[1] | parts[2])


def resolved(document: Schema, schema: Schema) -> Schema:
    """Follow a schema's references."""
    while "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


@st.composite
def requests(
    draw: st.DrawFn, document: Schema, operation: Operation, known: Known, files: Sequence[bytes]
) -> dict[str, Any]:
    """Draw the arguments of one `client.request`."""
    path, query, headers = operation.path, {}, dict(draw(common_headers))
    for parameter in operation.said.get("parameters", ()):
        name, place = parameter["name"], parameter["in"]
        if place == "header":
            if draw(st.booleans()):
                headers[name] = draw(header_values)
            continue
        if not parameter.get("required") and draw(st.booleans()):
            continue
        value = _text(draw(_named(document, parameter, known)))
        if place == "path":
            path = path.replace("{" + name + "}", quote(_segment(value), safe=""))
        else:
            query[name] = value
    if draw(st.booleans()) and draw(st.booleans()):
        query[draw(words)] = draw(words)
    body = _body(draw, document, operation, files)
    if "files" in body:  # the frame's boundary is in it
        headers.pop("Content-Type", None)
    return {
        "method": operation.method.upper(),
        "url": path,
        "params": query,
        "headers": headers | body.pop("headers", {}),
        **body,
    }


def _named(document: Schema, parameter: Schema, known: Known) -> st.SearchStrategy[Any]:
    drawn = values(document, parameter["schema"])
    there = known.get(parameter["name"])
    return st.one_of(st.sampled_from(there), st.sampled_from(there), drawn) if there else drawn


def _segment(value: str) -> str:
    """Return what stays one part of a path: a slash, even quoted, leads to another call."""
    return value.replace("/", "").strip(".") or "-"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _body(
    draw: st.DrawFn, document: Schema, operation: Operation, files: Sequence[bytes]
) -> dict[str, Any]:
    content = operation.said.get("requestBody", {}).get("content", {})
    if not content or draw(st.integers(0, 5)) == 0:
        wanted = operation.method != "get" and draw(st.booleans())
        return {"content": draw(st.binary(max_size=100))} if wanted else {}
    kind = draw(st.sampled_from(sorted(content)))
    binary = st.sampled_from(files) | st.binary(max_size=200)
    if kind == "multipart/form-data":
        schema = resolved(document, content[kind]["schema"])
        return {"files": list(_parts(draw, document, schema, binary))}
    if kind == "application/json":
        data = json.dumps(draw(values(document, content[kind]["schema"]))).encode()
    else:
        data = draw(binary)
    return {"content": data, "headers": {"Content-Type": kind.replace("*", "png")}}


def _parts(
    draw: st.DrawFn, document: Schema, schema: Schema, binary: st.SearchStrategy[bytes]
) -> Iterator[tuple[str, Any]]:
    for name, inner in schema.get("properties", {}).items():
        field = resolved(document, inner)
        one = resolved(document, field.get("items", field))
        required = name in schema.get("required", ())
        if draw(st.integers(0, 9)) < (1 if required else 5):
            continue
        if one.get("format") == "binary":
            for _ in range(draw(st.integers(1, 3)) if "items" in field else 1):
                yield name, (draw(st.sampled_from(["a.zip", "..", "\u202e.png"])), draw(binary))
        else:
            yield name, (None, _text(draw(values(document, field))))
    if draw(st.integers(0, 9)) == 0:
        yield "other", (None, "text")
