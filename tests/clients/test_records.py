"""Every record of the client is one that the service's contract has."""

import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from sats_client import errors, models, records
from sats_client._reading import read
from tests.app.contract import DOCS

SCHEMAS = json.loads((DOCS / "openapi.json").read_text())["components"]["schemas"]
CALLED: dict[type, str] = {
    records.TaskRecord: "Task",
    records.Failure: "Problem",
    records.Event: "TaskStateEvent",  # every kind has its own, in the same envelope
}
"""What the contract calls a record by another name."""
OURS_ALONE = {(models.Move, "etag")}
"""Fields that come from a header."""


def defined(module: Any) -> Iterator[type]:
    for one in vars(module).values():
        if isinstance(one, type) and one.__module__ == module.__name__:
            yield one


RECORDS = [
    one for module in (records, models, errors) for one in defined(module) if is_dataclass(one)
]


def schema_of(record: type) -> dict[str, Any]:
    return SCHEMAS[CALLED.get(record, record.__name__)]


def differences(hint: Any, schema: dict[str, Any], where: str) -> Iterator[str]:
    """Say where what we read is not what the contract says that comes."""
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rsplit("/", 1)[1]] | {"called": schema["$ref"]}
    if "anyOf" in schema:
        yield from _union(hint, schema["anyOf"], where)
        return
    inner = get_args(hint)
    kind = schema.get("type")
    if get_origin(hint) in (Union, types.UnionType):
        enum = next((one for one in inner if isinstance(one, type) and issubclass(one, Enum)), None)
        if enum is None:
            rest = [one for one in inner if one is not type(None)]
            yield from differences(rest[0], schema, where)
        elif unknown := {one.value for one in enum} ^ set(schema.get("enum", ())):
            yield f"{where}: {sorted(unknown)} are values on one side alone"
    elif get_origin(hint) is tuple:
        yield from _if(kind == "array", hint, schema, where)
        yield from differences(inner[0], schema.get("items", {}), where + "[]")
    elif get_origin(hint) is Mapping:
        yield from _if(kind == "object", hint, schema, where)
        if inner[1] is not Any:
            yield from differences(inner[1], schema.get("additionalProperties", {}), where + "{}")
    elif is_dataclass(hint):
        name = CALLED.get(hint, hint.__name__)
        yield from _if(schema.get("called", "").endswith("/" + name), hint, schema, where)
    elif hint is datetime:
        yield from _if(schema.get("format") == "date-time", hint, schema, where)
    elif hint is not Any:
        known = {str: ["string"], int: ["integer"], float: ["number"], bool: ["boolean"]}
        yield from _if(kind in known[hint], hint, schema, where)


def _union(hint: Any, offers: list[dict[str, Any]], where: str) -> Iterator[str]:
    inner = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if any(one.get("type") == "null" for one in offers) and type(None) not in inner:
        yield f"{where}: it may be null"
    rest = [one for one in offers if one.get("type") != "null"]
    ours = [one for one in inner if one is not type(None)]
    wanted = Union[tuple(ours)] if len(ours) > 1 else ours[0]  # noqa: UP007 - of a tuple
    if len(rest) == 1:
        yield from differences(wanted, rest[0], where)
    else:
        yield f"{where}: it is one of several things"


def _if(holds: bool, hint: Any, schema: dict[str, Any], where: str) -> Iterator[str]:
    if not holds:
        yield f"{where}: {hint} is not {json.dumps(schema)[:200]}"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_is_there_with_its_type(record: type) -> None:
    schema = schema_of(record)
    hints = get_type_hints(record)
    wrong: list[str] = []
    for one in fields(record):  # type: ignore[arg-type]
        key = one.name.removesuffix("_")
        if (record, one.name) in OURS_ALONE:
            continue
        if key not in schema["properties"]:
            wrong.append(f"{key} is not there")
        else:
            wrong += differences(hints[one.name], schema["properties"][key], key)
            needed = one.default is MISSING and one.default_factory is MISSING
            if needed and key not in schema.get("required", ()):
                wrong.append(f"{key} may be missing")
    assert not wrong


def test_the_check_finds_what_is_wrong() -> None:
    found = list(differences(int, {"type": "string"}, "a"))
    found += differences(str, {"anyOf": [{"type": "string"}, {"type": "null"}]}, "b")
    found += differences(records.State | str, {"enum": ["queued"], "type": "string"}, "c")
    found += differences(records.Actor, {"$ref": "#/components/schemas/Task"}, "d")
    assert [one[0] for one in found] == ["a", "b", "c", "d"]
    assert len(RECORDS) > 15


def test_what_a_later_service_adds_is_no_error() -> None:
    later = {"type": "robot", "name": "r2", "mood": "good"}
    assert read(records.Actor, later) == records.Actor("robot", "r2")
    assert read(records.Actor, later | {"type": "key"}).type is records.ActorType.KEY
