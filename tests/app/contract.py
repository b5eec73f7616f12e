"""`make contract`: write the pages of docs/ that the code says itself; a test holds them.

A change of the HTTP contract is then a change of a file that a reviewer reads.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jsonschema import Draft202012Validator

import worker.failures  # noqa: F401 - its problems stand in a failed task's `error`
from app.errors import TYPE_PREFIX, Problem
from app.errors.codes import MEANINGS
from app.main import create_app
from app.settings import Settings
from tests.docs.examples import CALLS, calls_of, find_examples

DOCS = Path(__file__).parents[2] / "docs"


def openapi() -> str:
    """Return the OpenAPI document, keys sorted: in which order routers stand says nothing."""
    document = create_app(Settings()).openapi()
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def problem_kinds() -> list[type[Problem]]:
    """Return every kind of problem that an answer, or a failed task's `error`, may be."""
    found = [kind for kind in _tree(Problem) if "slug" in vars(kind)]
    return sorted(found, key=lambda kind: (kind.status, kind.slug))


def _tree(kind: type[Problem]) -> Iterator[type[Problem]]:
    # Those of the command line, and of tests, no client ever sees.
    if kind.__module__.startswith(("app.", "worker.")) and ".cli." not in kind.__module__:
        yield kind
    for inner in kind.__subclasses__():
        yield from _tree(inner)


def problems() -> str:
    """Return the catalogue of problems, as Markdown."""
    kinds = [
        f"| {kind.status} | `{kind.slug}` | {kind.title} | {_first_sentence(kind)} |"
        for kind in problem_kinds()
    ]
    codes = [f"| `{code}` | {meaning} |" for code, meaning in MEANINGS.items()]
    return _CATALOGUE.format(prefix=TYPE_PREFIX, kinds="\n".join(kinds), codes="\n".join(codes))


def _first_sentence(kind: type[Problem]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


_CATALOGUE = """\
<!-- Written by `make contract` from the code. -->
# Problems

Every refusal is `application/problem+json` (RFC 9457). `type` is `{prefix}` and a slug of
this table, and never changes its meaning; `title`, `detail` and `message` are for people.
`request_id` is the answer's `Request-Id`, under which the log tells more. A failed task's `error`
is a problem too, without `instance` and `request_id`. Under `/v2` refusals have the form of the
Open Inference Protocol instead.

A 429 and most of 503 say in `Retry-After` after how many seconds to come back. A 429 says too which
limit of the key is used up: `RateLimit-Policy: "requests-per-minute";q=60;w=60` is how much may be
(`q`) in how many seconds (`w`; none where the limit counts what there is),
`RateLimit: "requests-per-minute";r=0;t=20` what is left (`r`) and in how many
seconds there may be more (`t`). Limits per minute are said with every other answer to the key too.

| status | slug | title | when |
|---|---|---|---|
{kinds}

## Things at fault

`errors` names every file, field or class at fault that is known, with a `code`:

| code | meaning |
|---|---|
{codes}
"""


def answers() -> str:
    """Return the answers of `docs/calls.md` that can be examples of the OpenAPI document, as JSON.

    The first answer of each operation that is whole, in JSON and as the document says.
    """
    document = create_app(Settings()).openapi()
    shown = [(calls_of(one), _read(one.answer)) for one in find_examples(CALLS.read_text())]
    said = [(calls[0], answer) for calls, answer in shown if len(calls) == 1]
    found = {}
    for path, item in document["paths"].items():
        pattern = re.compile(re.sub(r"\{[^}]+\}", "[^/:]+", path))
        for method, operation in item.items():
            mine = (body for (how, to), body in said if how == method and pattern.fullmatch(to))
            for body in mine:
                if _fits(document, operation, body):
                    found.setdefault(f"{method} {path}", body)
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _read(answer: str) -> Any:
    try:
        return json.loads(answer)
    except ValueError:
        return None


def _fits(document: Mapping[str, Any], operation: Mapping[str, Any], answer: Any) -> bool:
    """Whether an answer is what an operation answers where it does not refuse."""
    for status, said in operation["responses"].items():
        schema = said.get("content", {}).get("application/json", {}).get("schema")
        if schema is not None and status.startswith("2") and isinstance(answer, dict | list):
            whole = Draft202012Validator(schema | {"components": document["components"]})
            return "urn:sats:problem" not in str(answer)[:60] and whole.is_valid(answer)
    return False


PAGES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "../app/http/examples.json": answers,  # first: the document is made with it
        "openapi.json": openapi,
        "problems.md": problems,
    }
)
"""What each page says now, by its place from docs/."""


def main() -> None:
    """Write every page anew."""
    for name, text in PAGES.items():
        (DOCS / name).write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
