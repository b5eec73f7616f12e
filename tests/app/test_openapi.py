"""The OpenAPI document is complete: what a stranger reads at /docs."""

import json
import re

import pytest
from jsonschema import Draft202012Validator

from app.http.examples import with_examples
from app.http.schema_names import without_suffix
from app.integrations.protocols.refusals import OPEN_INFERENCE

METHODS = ("get", "post", "put", "patch", "delete")


def _operations(document):
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield f"{method} {path}", item[method]


def _resolve(document, schema):
    while "$ref" in schema:
        found = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def test_every_operation_says_what_it_does(document):
    tags = {tag["name"] for tag in document["tags"]}
    for name, operation in _operations(document):
        assert operation.get("summary"), name
        assert operation.get("description"), name
        assert set(operation["tags"]) <= tags, name
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])


def test_every_operation_has_an_id_that_generated_clients_can_use(document):
    ids = [operation["operationId"] for _, operation in _operations(document)]
    assert len(set(ids)) == len(ids)
    assert {"tasks_list", "versions_get", "segment"} <= set(ids)
    made_up = [one for one in ids if re.search(r"__|_(get|post|put|delete)_|_(post|put)$", one)]
    assert not made_up, "give these an `operation_id`"


WHOLE = {
    "/admin/metrics": "one curve a model; `next_before` leads to the versions before its points",
    "/admin/models/{model}": "steps under way and the few that ended last",
    "/admin/models/{model}/versions/{number}": "a record: its classes, files and lineage",
    "/admin/models/{model}/versions/{number}/confusion": "a matrix; `limit` cuts it",
    "/admin/models/{model}/versions/{number}/forgetting": "a record: a figure a stage",
    "/admin/overview": "one entry a model, counted by the database",
    "/classes": "256 at most: what a mask can hold",
    "/tasks/{task_id}": "a record: its warnings",
    "/uploads/{upload}": "a record: what was seen of an upload",
    "/uploads/{upload}/parts": "a record: the parts of a file",
}
"""What has a list in its answer and is none to be read by the page, and why."""
OTHERS = ("/hf", "/integrations", "/v2")
"""Prefixes of other people's contracts."""


def test_every_list_is_read_by_the_page(document):
    whole, pages = set(), 0
    for path, item in document["paths"].items():
        answer = item.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        if "application/json" not in answer or path.startswith(OTHERS):
            continue
        schema = _resolve(document, answer["application/json"]["schema"])
        fields = schema.get("properties", {})
        assert schema.get("type") != "array", path
        if "items" in fields:
            asked = {one["name"] for one in item["get"]["parameters"]}
            assert set(fields) == {"items", "next_cursor"}, path
            assert {"cursor", "limit"} <= asked, path
            pages += 1
        elif any(_resolve(document, one).get("type") == "array" for one in fields.values()):
            whole.add(path)
    assert pages >= 9
    assert whole == set(WHOLE)


def test_records_are_not_called_after_their_python_classes(document):
    schemas = document["components"]["schemas"]
    assert {"Task", "Version", "Problem"} <= set(schemas)
    assert not [name for name in schemas if name.endswith("Json") or "__" in name]
    assert not [name for name, schema in schemas.items() if schema.get("title", name) != name]
    with pytest.raises(ValueError, match="Task"):
        without_suffix({"components": {"schemas": {"Task": {}, "TaskJson": {}}}})


def test_enumerations_are_written_in_snake_case(document):
    def values(node):
        if isinstance(node, dict):
            yield from (value for value in node.get("enum", ()) if isinstance(value, str))
            for inner in node.values():
                yield from values(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from values(inner)

    of_ours = {"UINT8", "BYTES"}  # the Open Inference Protocol's own
    found = set(values(document)) - of_ours
    assert not [value for value in found if not re.fullmatch(r"-?[a-z0-9_]+(\.[a-z_]+)?", value)]


def test_a_class_is_called_class_and_a_version_version(document):
    schemas = document["components"]["schemas"]
    named = {name: schema.get("properties", {}) for name, schema in schemas.items()}
    assert not [name for name, fields in named.items() if "class_name" in fields]
    assert "class_name" not in json.dumps(document)
    assert "class" in named["Figure"]
    assert "class" in named["ErrorDetail"]
    assert "version" in schemas["Version"]["required"]
    numbered = {name: f["number"] for name, f in named.items() if "number" in f}
    assert not [
        name
        for name, field in numbered.items()
        if "version" in field["description"].lower() and not field.get("deprecated")
    ]


def test_every_field_is_described(document):
    missing = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, inner in schema.get("properties", {}).items()
        if not inner.get("description")
    ]
    assert not missing


def test_every_bound_is_said_as_json_schema_says_it(document):
    """pydantic writes `ge` where a bound stands behind a function that looks at the value."""

    def words(node):
        if isinstance(node, dict):
            yield from node
            for name, inner in node.items():
                yield from words(inner) if name != "properties" else words([*inner.values()])
        elif isinstance(node, list):
            for inner in node:
                yield from words(inner)

    assert not {"ge", "gt", "le", "lt", "multiple_of"} & set(words(document))


def test_a_file_that_is_json_is_no_string(document):
    path = document["paths"]["/admin/models/{model}/versions/{number}/files/{name}"]
    content = path["get"]["responses"]["200"]["content"]
    assert content["application/json"]["schema"]["type"] == "object"
    assert content["application/octet-stream"]["schema"]["type"] == "string"


def test_every_record_is_described(document):
    schemas = document["components"]["schemas"]
    assert not [name for name, schema in schemas.items() if not schema.get("description")]


def test_every_refusal_is_a_listed_problem(document):
    for name, operation in _operations(document):
        for status, answer in operation["responses"].items():
            assert answer.get("description"), (name, status)
            if name.split(" ")[1].startswith(OPEN_INFERENCE):  # it has a form of its own
                if status != "200":
                    schema = answer["content"]["application/json"]["schema"]
                    assert schema["$ref"] == "#/components/schemas/Refusal", (name, status)
            elif status.startswith(("4", "5")):
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
                schema = answer["content"]["application/problem+json"]["schema"]
                assert schema["$ref"] == "#/components/schemas/Problem"
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_every_guarded_operation_lists_what_a_key_can_do_wrong(document):
    for name, operation in _operations(document):
        if operation["tags"] != ["probes"]:
            wrong = "400" if name.split(" ")[1].startswith(OPEN_INFERENCE) else "422"
            assert {"401", "403", wrong, "503"} <= set(operation["responses"]), name
            assert operation["security"], name


def test_every_reference_leads_somewhere(document):
    def walk(node):
        if isinstance(node, dict):
            if "$ref" in node:
                _resolve(document, node)
            for inner in node.values():
                walk(inner)
        elif isinstance(node, list):
            for inner in node:
                walk(inner)

    walk(document)


def _examples(document):
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            yield name, schema, example
        for field, inner in schema.get("properties", {}).items():
            for example in inner.get("examples", []):
                yield f"{name}.{field}", inner, example
    for name, operation in _operations(document):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for body in bodies:
            for kind, content in body.get("content", {}).items():
                if kind.endswith("json") or kind == "multipart/form-data":
                    for example in content.get("examples", {}).values():
                        yield f"{name} {kind}", content["schema"], example["value"]
                    if "example" in content:
                        yield f"{name} {kind}", content["schema"], content["example"]


def test_every_example_is_valid(document):
    found = list(_examples(document))
    assert len(found) > 20
    for name, schema, example in found:
        whole = schema | {"components": document["components"]}
        errors = [error.message for error in Draft202012Validator(whole).iter_errors(example)]
        assert not errors, (name, example, errors)


def test_every_answer_in_json_has_an_example(document):
    bare = [
        f"{name} {status}"
        for name, operation in _operations(document)
        for status, answer in operation["responses"].items()
        for kind, content in answer.get("content", {}).items()
        if kind in ("application/json", "application/problem+json")
        and not content.keys() & {"example", "examples"}
    ]
    assert not bare, "give the record's fields `examples=`, or show the call in docs/calls.md whole"


def test_every_answer_in_text_has_an_example(document):
    """Pictures, arrays, weights and zips say nothing to a reader."""
    bare = [
        f"{name} {status} {kind}"
        for name, operation in _operations(document)
        for status, answer in operation["responses"].items()
        for kind, content in answer.get("content", {}).items()
        if (kind.startswith("text/") or kind == "application/jsonl")
        and not content.keys() & {"example", "examples"}
    ]
    assert not bare


def test_what_is_in_no_example_is_put_together_of_its_fields():
    schemas = {
        "Kind": {"enum": ["step", "import"]},
        "Part": {
            "type": "object",
            "properties": {"name": {"type": "string", "examples": ["sheep"]}},
        },
        "Whole": {
            "type": "object",
            "properties": {
                "part": {"$ref": "#/components/schemas/Part"},
                "kind": {"$ref": "#/components/schemas/Kind"},
                "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}},
                "at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
                "tries": {"type": "integer", "default": 0},
            },
        },
        "Bare": {"type": "object", "properties": {"size": {"type": "integer"}}},
    }
    paths = {
        path: {"get": {"responses": {"200": {"content": {"application/json": content}}}}}
        for path, content in {
            "/whole": {"schema": {"$ref": "#/components/schemas/Whole"}},
            "/bare": {"schema": {"$ref": "#/components/schemas/Bare"}},
            "/own": {"schema": {"$ref": "#/components/schemas/Bare"}, "example": {"size": 3}},
        }.items()
    }
    made = with_examples({"paths": paths, "components": {"schemas": schemas}})
    answers = {
        path: item["get"]["responses"]["200"]["content"]["application/json"].get("example")
        for path, item in made["paths"].items()
    }
    part = {"name": "sheep"}
    whole = {"part": part, "kind": "step", "parts": [part], "at": None, "tries": 0}
    assert answers == {"/whole": whole, "/bare": None, "/own": {"size": 3}}


def test_the_document_is_plain_json(document):
    assert json.loads(json.dumps(document)) == document
