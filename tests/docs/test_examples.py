"""The tools that check the examples, checked."""

import json

import pytest

from tests.docs.examples import Example, Session, differences, find_examples, pasted, pretty

TEXT = """\
Words.

```console
$ echo '{"a": 1}'
{"a": 1}
$ echo one \\
    two
one two
$ true
```

```bash
$ not an example
```

```console
$ echo last
last
```
"""


def test_examples_are_found_in_order():
    found = find_examples(TEXT)
    assert [e.command for e in found] == [
        "echo '{\"a\": 1}'",
        "echo one \\\n    two",
        "true",
        "echo last",
    ]
    assert [e.answer for e in found] == ['{"a": 1}\n', "one two\n", "", "last\n"]
    assert all(TEXT[e.start : e.end] == e.answer for e in found)


def test_running_them_prints_what_stands_there(tmp_path):
    session = Session("http://127.0.0.1:9", tmp_path)
    for example in find_examples(TEXT):
        assert differences(example.answer, session.run(example)) == []


def test_addresses_and_ids_are_those_of_this_service(tmp_path):
    old, new = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-2222-3333-4444-555555555555"
    session = Session("http://127.0.0.1:9", tmp_path, quick={"slow": new})
    session.run(Example("echo slow", old, 0, 0))
    said = session.run(Example(f"echo http://127.0.0.1:8000/tasks/{old}", "", 0, 0))
    assert session.given == {old: new}
    assert said == f"http://127.0.0.1:8000/tasks/{new}\n"


def test_a_command_that_fails_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="exit status 3"):
        Session("http://127.0.0.1:9", tmp_path).run(Example("false | exit 3", "", 0, 0))


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        ('{"a": 1}', '{"a": 2.5}'),
        ('{"a": null}', '{"a": null}'),
        ('{"a": [1, 2]}', '{"a": [3, 4]}'),
        ("took 0.5 s", "took 12 s"),
        ('event: state\ndata: {"a": 1}', 'event: state\ndata: {"a": 2}'),
    ],
)
def test_the_same_shape_is_no_difference(said, printed):
    assert differences(said, printed) == []


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        ('{"a": 1}', '{"b": 1}'),
        ('{"a": 1}', '{"a": "1"}'),
        ('{"a": 1}', '{"a": true}'),
        ('{"status": 422}', '{"status": 500}'),
        ('{"a": [{"b": 1}]}', '{"a": [{"c": 1}]}'),
        ('{"a": [{"b": 1}, {"b": 1}]}', '{"a": [{"b": 1}, {"c": 1}]}'),
        ('{"a": [1]}', '{"a": []}'),
        ('{"a": []}', '{"a": [1]}'),
        ('{"a": [1]}', '{"a": [1, 2]}'),
        ('{"a": null}', '{"a": 1}'),
        ('{"a": {"b": 1}}', '{"a": null}'),
        ('data: {"a": null}', 'data: {"a": 1}'),
        ("one", "two"),
        ("200 image/png", "500 image/png"),
        ("one", "one\ntwo"),
        ('data: {"a": 1}', 'data: {"b": 1}'),
    ],
)
def test_another_shape_is_a_difference(said, printed):
    assert differences(said, printed)


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        ('{"a": [{"b": null}]}', '{"a": [{"b": 1}, {"b": 2}]}'),
        ('{"a": [{"b": 1}]}', '{"a": []}'),
    ],
)
def test_what_varies_is_named(said, printed):
    assert differences(said, printed, {"answer.a", "answer.a[].b"}) == []
    assert differences(said, printed, {"answer.a[].b"})
    assert differences('{"a": 1}', '{"a": "1"}', {"answer.a"}), "null or not, but nothing else"


def test_json_is_pasted_readably():
    value = {"short": [1, 2], "long": [{"name": "x" * 60, "n": n} for n in range(2)], "none": []}
    text = pasted(json.dumps(value))
    assert json.loads(text) == value
    assert '"short": [1, 2],' in text
    assert text.count("\n") == 8
    assert pretty({}) == "{}"


def test_text_is_pasted_as_it_is():
    assert pasted("one\ntwo") == "one\ntwo\n"
    assert pasted("") == ""
