"""Schemathesis, told where a request may name what there is, and what came of its cases.

Its engine is asked, not its pytest plugin: with pytest 9.2 that one takes no schema that a fixture
has (4.32.5 reads a name of pytest's own that is gone).
"""

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import schemathesis
from fastapi import FastAPI
from hypothesis import strategies as st
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events
from schemathesis.schemas import BaseSchema

from benchmarks.machine import commit
from tests.app.fuzzed import Values

EVENT_STREAM = "text/event-stream"
METHODS = ("get", "head", "post", "put", "patch", "delete")
UPLOAD = "/uploads/{upload}"
READY = ("/health/ready", "/v2/health/ready")
"""The calls that may answer 503: no worker runs, and nothing else is overloaded or down."""
POSTED = (
    "POST /segment",
    "POST /tasks",
    "POST /hf/{model}",
    "POST /v2/models/{model}/infer",
    "POST /v2/models/{model}/versions/{number}/infer",
    "POST /admin/models/{model}/versions",
    "POST /admin/models/{model}/versions/{number}:retire",
)
"""What reads most: they are asked three times as often."""
ACCEPTED = "Schema-violating request accepted"
VERSIONS = ("schemathesis", "hypothesis", "fastapi", "pydantic", "starlette")


def operations(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield every operation of a document, as `GET /tasks`."""
    for path, item in document["paths"].items():
        yield from (f"{method.upper()} {path}" for method in METHODS if method in item)


@schemathesis.check
def problem_names_its_status(_context: Any, response: Any, _case: Any) -> None:
    """A problem's `status` is the answer's, and it says something."""
    kind = (response.headers.get("content-type") or [""])[0]
    if kind.startswith("application/problem+json") and response.request.method != "HEAD":
        problem = response.json()
        assert problem["status"] == response.status_code
        assert problem["detail"]


def configured(
    known: Values, key: str, cases: int, seed: int, *, whole: bool
) -> SchemathesisConfig:
    """Return what Schemathesis is told.

    Args:
        known: what there is, by the names of parameters; `cursor GET /tasks` is that call's.
        key: the `Authorization` header.
        cases: how many are drawn of each operation.
        seed: of what is drawn.
        whole: whether the document's examples and every bound of every schema are tried too.
    """
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "headers": {"Authorization": key},
            "request-timeout": 120,
            "continue-on-failure": True,
            "suppress-health-check": ["all"],
            "generation": {"max-examples": cases, "database": "none", "no-shrink": True},
            "phases": {phase: {"enabled": whole} for phase in ("examples", "coverage", "stateful")},
            "analysis": {"constants": {"enabled": False}},
            "dictionaries": {name: {"values": list(values)} for name, values in known.items()},
            "parameters": _everywhere(),
            "operations": [*_of_operations(known, cases)],
            "checks": {
                # A document cannot say which ids there are, nor what a picture is.
                "positive_data_acceptance": {"enabled": False},
                # tests/app/test_access.py tries every key on every operation.
                "ignored_auth": {"enabled": False},
            },
        }
    )


def _drawn(name: str, probability: float = 0.9) -> dict[str, object]:
    return {"dictionary": name, "probability": probability}


def _everywhere() -> dict[str, object]:
    in_path = ("task_id", "key_id", "webhook_id", "name")
    return {
        **{f"path.{name}": _drawn(name) for name in in_path},
        # Answers say these again, in headers too: so they are often drawn freely.
        **{f"path.{name}": _drawn(name, 0.7) for name in ("model", "number")},
        "path.upload": _drawn("large"),
        **{f"query.{name}": _drawn(name, 0.7) for name in ("model", "version")},
        "body.version": _drawn("version"),
        "body.url": _drawn("url", 0.5),
        "body.classes[*]": _drawn("class", 0.7),
        "body.image": _drawn("picture"),
        "body.images[*]": _drawn("picture"),
        "body.inputs": _drawn("picture"),
    }


def _of_operations(known: Values, cases: int) -> list[dict[str, object]]:
    unlike = [
        *(
            {"include-name": f"GET {UPLOAD}{below}", "parameters": {"path.upload": _drawn("zip")}}
            for below in ("", "/sheet")
        ),
        {
            "include-name": f"PUT {UPLOAD}/parts/{{number}}",
            "parameters": {"path.number": _drawn("part")},
        },
        *(
            {
                "include-path": path,
                "checks": {"not_a_server_error": {"expected-statuses": ["2xx", "4xx", 503]}},
            }
            for path in READY
        ),
        {
            "include-name": list(POSTED),
            "generation": {"max-examples": 3 * cases, "database": "none", "no-shrink": True},
        },
        # `/tasks/{task_id}` matches there too, and what it is asked for is no id.
        {
            "include-path-regex": "}:[a-z]+$",
            "checks": {
                "unsupported_method": {"enabled": False},
                "allow_header_conformance": {"enabled": False},
            },
        },
    ]
    cursors = [
        {
            "include-name": name.removeprefix("cursor "),
            "parameters": {"query.cursor": _drawn(name)},
        }
        for name in known
        if name.startswith("cursor ")
    ]
    return unlike + cursors


def loaded(service: FastAPI, config: SchemathesisConfig, files: Mapping[str, bytes]) -> BaseSchema:
    """Return the service's document; where it asks for files they are some that can be read."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", service, config=config)
    schema.hook("flatmap_body")(_with_files(files))
    schema.hook("flatmap_headers")(_with_accept)
    schema.hook("filter_failure")(_is_told_by(files))
    return schema


def _is_told_by(files: Mapping[str, bytes]) -> Callable[[Any, Any, Any, Any], bool]:
    """Tell what no document says, and what was made right here, apart from what does not hold."""
    ours = [*files.values()]

    def holds(_context: Any, failure: Any, case: Any, _response: Any) -> bool:
        # OpenAPI 3.1 has a schema of a whole stream, and no word for that of an event.
        if failure.title == "SSE event violates schema":
            return False
        if failure.title != ACCEPTED:
            return True
        # A body that begins as a picture is one, whatever its content type; a form that has got
        # our files may have got the rest right too; and what a header says arrives as text.
        parts = case.body.values() if isinstance(case.body, dict) else [case.body]
        return not any(part in ours for part in parts) and " in header - " not in failure.message

    return holds


def _with_files(files: Mapping[str, bytes]) -> Callable[[Any, Any], st.SearchStrategy[Any]]:
    octets = {f"PUT {UPLOAD}/parts/{{number}}": b"12345"}

    def choose(context: Any, body: Any) -> st.SearchStrategy[Any]:
        drawn = st.just(body)
        if isinstance(body, bytes) or hasattr(body, "data"):
            return drawn | st.just(octets.get(context.operation.label, files["picture"]))
        if not isinstance(body, dict):
            return drawn
        parts = {name: files[name] for name in body.keys() & files.keys()}
        if not parts:
            return drawn
        small = {"spec": {"name": "x"}} if "spec" in body else {}
        return drawn | st.just(body | parts) | st.just(parts | small) | st.just(parts | small)

    return choose


def _with_accept(context: Any, headers: Any) -> st.SearchStrategy[Any]:
    """Ask for one of the answer's forms now and then; a stream would not end."""
    said = context.operation.definition.raw["responses"].get("200", {}).get("content", {})
    kinds = [kind for kind in said if kind != EVENT_STREAM] + ["", "*/*;q=x", "image/*, */*;q=0.1"]
    return st.none().map(lambda _: headers) | st.sampled_from(kinds).map(
        lambda kind: {**(headers or {}), "Accept": kind}
    )


@dataclass
class Outcome:
    """What was asked, what was answered, and what was not as the document says.

    Attributes:
        phases: cases by phase.
        answers: cases by operation and status.
        checked: checks that held, by name.
        failures: what did not hold, with the command that asks for it again; each once.
    """

    phases: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    failures: dict[tuple[str, str, str], str] = field(default_factory=dict)

    @property
    def operations(self) -> set[str]:
        """Return which operations were asked."""
        return {operation for operation, _ in self.answers}

    @property
    def served(self) -> set[str]:
        """Return which operations did what they are for at least once."""
        return {operation for operation, status in self.answers if status < 300}

    def record(self, command: str, seed: int, seconds: float) -> dict[str, object]:
        """Return what is kept of a run, as JSON."""
        statuses = Counter[str]()
        for (_, status), count in self.answers.items():
            statuses[str(status)] += count
        return {
            "command": command,
            "commit": commit(),
            "seed": seed,
            "cases": sum(self.answers.values()),
            "phases": dict(sorted(self.phases.items())),
            "operations": len(self.operations),
            "answered_2xx": len(self.served),
            "never_2xx": sorted(self.operations - self.served),
            "statuses": dict(sorted(statuses.items())),
            "checks_that_held": dict(sorted(self.checked.items())),
            "failures": sorted(self.failures.values()),
            "seconds": round(seconds),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in VERSIONS},
        }


def run(schema: BaseSchema) -> Outcome:
    """Ask everything, and judge every answer.

    Raises:
        Exception: Schemathesis itself has failed.
    """
    outcome = Outcome()
    for event in engine.from_schema(schema).execute():
        if isinstance(event, events.FatalError):
            raise event.exception
        if isinstance(event, events.NonFatalError):
            raise event.value
        if isinstance(event, events.ScenarioFinished):
            _add(outcome, event)
    return outcome


def _add(outcome: Outcome, event: events.ScenarioFinished) -> None:
    cases, answers = event.recorder.cases, event.recorder.interactions
    for key, exchange in answers.items():
        if exchange.response is not None:
            outcome.phases[event.phase.value] += 1
            operation, status = cases[key].value.operation.label, int(exchange.response.status_code)
            outcome.answers[operation, status] += 1
    for key, checks in event.recorder.checks.items():
        operation = cases[key].value.operation.label
        for check in checks:
            if check.failure_info is None:
                outcome.checked[check.name] += 1
                continue
            found = check.failure_info.failure
            told = f"{operation}: {check.name}: {found.title}\n{found.message}"
            outcome.failures.setdefault(
                (operation, check.name, found.title), f"{told}\n{check.failure_info.code_sample}"
            )
