"""The walk through the quickstart: which commands it takes, and what ends it."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.first_hour import (
    PAGE,
    README,
    ROOT,
    Step,
    Walk,
    WalkError,
    commands,
    stale,
    summary,
    walked,
)

RECORD = ROOT / "docs" / "results" / "first_hour.json"
WHOLE = (ROOT / PAGE).read_text()
EVENTS = "curl -N http://127.0.0.1:8000/tasks/ID-FROM-THE-ANSWER/events"


def test_the_page_leads_to_a_class_of_ones_own() -> None:
    assert commands(WHOLE) == [
        "make serve",
        ".venv/bin/sats import path/to/segformer",
        'curl -F dataset=@my-classes.zip -F \'spec={"name": "my first class"}\' '
        "http://127.0.0.1:8000/tasks",
        EVENTS,
        ".venv/bin/sats segment photo.jpg -o masks/ --overlay",
    ]


def test_the_readme_alone_leads_there_too() -> None:
    assert walked(ROOT) == commands(WHOLE)


@pytest.mark.parametrize("page", [README, PAGE])
def test_pages_that_say_different_things_are_not_walked(page: Path, tmp_path: Path) -> None:
    for one in (README, PAGE):
        (tmp_path / one).parent.mkdir(exist_ok=True)
        text = (ROOT / one).read_text()
        (tmp_path / one).write_text(text.replace("masks/ ", "out/ ") if one == page else text)
    with pytest.raises(WalkError, match=r"differ:\n(.|\n)* out/ --overlay"):
        walked(tmp_path)


@pytest.mark.parametrize(
    "gone", ["make serve ", "sats import", "dataset=@my-classes.zip", "/events", "photo.jpg"]
)
def test_a_page_without_one_of_them_leads_nowhere(gone: str) -> None:
    assert gone in WHOLE
    with pytest.raises(WalkError, match="no command of the page"):
        commands(WHOLE.replace(gone, "something else"))


@pytest.mark.parametrize("command", ["false", "sats-that-is-not-there", EVENTS])
def test_a_command_that_fails_ends_it(command: str, tmp_path: Path) -> None:
    walk = Walk(tmp_path)
    with pytest.raises(WalkError, match=r"exit status|no task was made"):
        walk.run(["true", command, "true"])
    assert [step.what for step in walk.steps] == ["true"]


def test_the_time_until_it_is_live_counts() -> None:
    said = summary([Step("git clone", 1.0), Step(EVENTS, 899.5), Step("segment", 50.0)])
    assert (said["seconds_until_live"], said["holds"]) == (900.5, False)
    assert summary([Step(EVENTS, 899.0), Step("segment", 50.0)])["holds"]


def test_the_record_is_of_commands_that_it_tells() -> None:
    record = json.loads(RECORD.read_text())
    waited = re.compile(r": (installed|ready)$")
    taken = [waited.sub("", step["what"]) for step in record["steps"]]
    assert list(dict.fromkeys(taken)) == ["git clone", *record["commands"]]
    again = summary([Step(**step) for step in record["steps"]])
    assert {name: record[name] for name in again} == again
    assert record["new_class"] in record["classes"]


def test_a_record_of_another_page_is_stale() -> None:
    record = {"commands": commands(WHOLE)}
    assert stale(record, WHOLE) == []
    other = WHOLE.replace("segment photo.jpg -o masks/ --overlay", "segment photo.jpg -o out/")
    gone, come = stale(record, other)
    assert (gone[0], come) == ("-", "+ .venv/bin/sats segment photo.jpg -o out/")


def test_the_record_is_of_the_page_as_it_is() -> None:
    """Taking it again takes a quarter of an hour: until then it is of an older page, and fine."""
    if told := stale(json.loads(RECORD.read_text()), WHOLE):
        pytest.skip("stale, the page has other commands since:\n" + "\n".join(told))
