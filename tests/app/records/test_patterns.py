"""Whatever a posted text must look like is said in words."""

import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import app.web
from app.errors.fields import invalid_fields
from app.records.patterns import IN_WORDS


def _patterns(document: Any, node: Any, seen: set[str]) -> Iterator[str]:
    """Yield every pattern below a node, behind references too."""
    if isinstance(node, list):
        for inner in node:
            yield from _patterns(document, inner, seen)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("pattern"), str):
        yield node["pattern"]
    named = node.get("$ref")
    if isinstance(named, str) and named not in seen:
        seen.add(named)
        schema = document["components"]["schemas"][named.rpartition("/")[2]]
        yield from _patterns(document, schema, seen)
    for inner in node.values():
        yield from _patterns(document, inner, seen)


def test_every_pattern_of_the_contract_has_words(document: Any) -> None:
    asked = [
        [operation.get("parameters", []), operation.get("requestBody", {})]
        for item in document["paths"].values()
        for operation in item.values()
    ]
    found = set(_patterns(document, asked, set()))
    assert len(found) > 4
    assert found <= IN_WORDS.keys()


def test_every_pattern_of_a_page_has_words() -> None:
    found = {
        constraint.pattern
        for module in iter_modules(app.web.__path__, "app.web.")
        for route in getattr(getattr(import_module(module.name), "router", None), "routes", ())
        for parameter in (*route.dependant.query_params, *route.dependant.path_params)
        for constraint in parameter.field_info.metadata
        if getattr(constraint, "pattern", None)
    }
    assert len(found) > 3
    assert found <= IN_WORDS.keys()


def test_words_hold_no_regular_expression() -> None:
    assert not [said for said in IN_WORDS.values() if re.search(r"[\\^$]|\[.*\]|\{\d", said)]
    assert all(re.compile(one) for one in IN_WORDS)


def test_a_pattern_without_words_is_not_shown() -> None:
    wrong = {
        "type": "string_pattern_mismatch",
        "loc": ("query", "colour"),
        "msg": "String should match pattern '^[a-z]+$'",
        "ctx": {"pattern": "^[a-z]+$"},
    }
    (fault,) = invalid_fields([wrong]).errors
    assert (fault.field, fault.message) == ("query.colour", "it does not look as it should")


def test_no_description_prints_one(document: Any) -> None:
    def texts(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (node[key] for key in ("description", "summary") if key in node)
            for inner in node.values():
                yield from texts(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from texts(inner)

    said = [text for text in texts(document) if isinstance(text, str)]
    assert len(said) > 500
    assert not [text for text in said if re.search(r"\[[a-z0-9]-[a-z0-9]|\\[dwx]|\.\*\)", text)]
