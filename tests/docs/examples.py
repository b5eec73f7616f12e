"""The examples of `docs/calls.md`: found, run against a service, compared with what stands there.

An example is a command in a ```console block: a line that starts with `$ `, with its continuation
lines (each but the last ends in a backslash), and under it what the command printed. JSON is pasted
indented; the service sends it on one line.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CALLS = ROOT / "docs" / "calls.md"
"""Every call of the HTTP API, as it answers."""
SETTINGS = ROOT / "docs" / "settings.md"
CALLS_URL = "http://127.0.0.1:8000"
WIDTH = 96
SECONDS = 900

_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
_GIVEN_BY_THE_SERVICE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\bsats_[A-Za-z0-9_-]{16,}"
    r"|\b[0-9a-f]{64}\.\d+\.\d+\.[0-9a-f]{64}\b"
)
_SAME_EVERYWHERE = {"status", "number", "version", "parent", "live", "type", "title", "state"}


@dataclass(frozen=True)
class Example:
    """One command, what the page says that it prints, and where that stands in the text."""

    command: str
    answer: str
    start: int
    end: int


def find_examples(text: str) -> list[Example]:
    """Return the examples of a Markdown text, in order."""
    found = []
    for block in _BLOCK.finditer(text):
        command: list[str] = []
        start = end = block.start(1)
        for line in block.group(1).splitlines(keepends=True):
            opens = line.startswith("$ ")
            if opens and command:
                found.append(_example(text, command, start, end))
            if opens:
                command = [line[2:]]
                start = end + len(line)
            elif command and command[-1].endswith("\\\n") and start == end:
                command.append(line)
                start = end + len(line)
            end += len(line)
        if command:
            found.append(_example(text, command, start, end))
    return found


def _example(text: str, command: list[str], start: int, end: int) -> Example:
    return Example("".join(command).rstrip("\n"), text[start:end], start, end)


def calls_of(example: Example) -> list[tuple[str, str]]:
    """Return method and path of every call that a command makes."""
    paths = re.findall(r"http://127\.0\.0\.1:8000(/[^\s'\"?]*)", example.command)
    return [(_method(example.command), path) for path in paths]


def _method(command: str) -> str:
    if " -I " in command:
        return "head"
    if " -X DELETE" in command:
        return "delete"
    if " -X PUT" in command:
        return "put"
    return "post" if re.search(r" -(F|X POST|-data)", command) else "get"


@dataclass
class Session:
    """Runs commands one after another, as a reader would in one folder.

    Attributes:
        url: where the service is, in place of the page's address.
        folder: where the commands run.
        environment: on top of this process's own.
        quick: texts of a command and what stands for them here, so that a run takes less time.
        given: ids and keys of the page and what this service gave in their place.
    """

    url: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    quick: dict[str, str] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)

    def run(self, example: Example) -> str:
        """Run one example's command and return what it printed, with the page's address."""
        command = example.command
        for old, new in (self.quick | self.given | {CALLS_URL: self.url}).items():
            command = command.replace(old, new)
        programs = str(Path(sys.executable).parent)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={
                **os.environ,
                "NO_PROXY": "127.0.0.1",
                **self.environment,
                "PATH": programs + os.pathsep + os.environ["PATH"],
            },
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command}\nexit status {done.returncode}\n{done.stderr}")
        before, now = (_GIVEN_BY_THE_SERVICE.findall(t) for t in (example.answer, done.stdout))
        self.given |= dict(zip(before, now, strict=False))
        return done.stdout.replace(self.url, CALLS_URL)


def pasted(printed: str) -> str:
    """Return a command's output as it stands in the page."""
    try:
        return pretty(json.loads(printed)) + "\n"
    except ValueError:
        return printed if printed.endswith("\n") or not printed else printed + "\n"


def pretty(value: Any, indent: int = 0) -> str:
    """Write JSON indented, but what fits on a line on one line."""
    line = json.dumps(value, ensure_ascii=False)
    if indent + len(line) <= WIDTH or not isinstance(value, dict | list) or not value:
        return line
    inner = " " * (indent + 2)
    if isinstance(value, list):
        parts = [inner + pretty(item, indent + 2) for item in value]
        return "[\n" + ",\n".join(parts) + "\n" + " " * indent + "]"
    parts = [f"{inner}{json.dumps(k)}: {pretty(v, indent + 2)}" for k, v in value.items()]
    return "{\n" + ",\n".join(parts) + "\n" + " " * indent + "}"


def differences(said: str, printed: str, varying: Collection[str] = ()) -> list[str]:
    """Return where two answers differ in shape: keys, types, lengths, lines; not in their numbers.

    Null is like null alone, and a list like one of the same length, but for the places in
    `varying`, named from the answer's top: `answer.progress`, `answer[].live`, `data.version`.
    """
    try:
        return _json_differences(json.loads(said), json.loads(printed), "answer", varying)
    except ValueError:
        pass
    then, now = said.strip().splitlines(), printed.strip().splitlines()
    if len(then) != len(now):
        return [f"{len(then)} lines, now {len(now)}: {printed!r}"]
    return [d for pair in zip(then, now, strict=True) for d in _line_differences(*pair, varying)]


def _line_differences(said: str, printed: str, varying: Collection[str]) -> list[str]:
    if said.startswith("data: ") and printed.startswith("data: "):
        return _json_differences(json.loads(said[6:]), json.loads(printed[6:]), "data", varying)
    if _without_numbers(said) == _without_numbers(printed):
        return []
    return [f"{said!r}, now {printed!r}"]


def _without_numbers(line: str) -> str:
    status = re.match(r"\d{3}(?= |$)", line)  # of HTTP, as `curl -w '%{http_code} ...'` prints it
    if status:
        return line
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "0", _GIVEN_BY_THE_SERVICE.sub("given", line))


def _json_differences(said: Any, printed: Any, where: str, varying: Collection[str]) -> list[str]:
    if where in varying and (said is None or printed is None):
        return []
    if isinstance(said, dict) and isinstance(printed, dict):
        found = [f"{where}.{key} is only in one" for key in said.keys() ^ printed.keys()]
        for key in said.keys() & printed.keys():
            found += _json_differences(said[key], printed[key], f"{where}.{key}", varying)
        return found
    if isinstance(said, list) and isinstance(printed, list):
        found = []
        if len(said) != len(printed) and where not in varying:
            found.append(f"{where} has {len(printed)} items, not {len(said)}")
        for pair in zip(said, printed, strict=False):
            found += _json_differences(*pair, f"{where}[]", varying)
        return found
    if _kind(said) != _kind(printed):
        return [f"{where} is {printed!r}, not like {said!r}"]
    if where.rsplit(".", 1)[-1] in _SAME_EVERYWHERE and said != printed:
        return [f"{where} is {printed!r}, not {said!r}"]
    return []


def _kind(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if is_number else type(value).__name__
