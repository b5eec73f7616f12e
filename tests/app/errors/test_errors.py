"""What problems hold to themselves."""

import pytest
from pydantic import ValidationError

from app.errors import ConflictProblem, ErrorDetail, Problem, problem_of
from app.errors.codes import Code
from app.errors.fields import invalid_fields
from app.storage.garbage import ConflictProblem as Imported
from app.tasks.posted import PostedTask
from sats_core.errors import DatasetError, Issue


def test_the_root_of_conflicts_is_none_itself():
    assert Imported is ConflictProblem
    with pytest.raises(TypeError, match="case"):
        ConflictProblem("no")
    with pytest.raises(TypeError, match="has no slug"):
        type("SlugLess", (ConflictProblem,), {})


def test_names_that_strangers_choose_are_cut():
    name = "a" * 60_000 + ".jpg"
    body = Problem(f"{name}: no", [ErrorDetail(f"{name}: no", file=name, class_name=name)]).body()
    (fault,) = body["errors"]
    assert len(fault["file"]) == len(fault["class"]) == 200
    assert fault["file"].startswith("aaa")
    assert fault["file"].endswith("....jpg"[-4:])
    assert max(len(fault["message"]), len(body["detail"])) <= 2000
    short = ErrorDetail("no", file="b" * 200).body()
    assert short["file"] == "b" * 200


def test_what_no_file_is_to_blame_for_is_the_data_set_s_fault():
    (fault,) = problem_of(DatasetError("the data set is empty")).body()["errors"]
    assert (fault["field"], fault["message"]) == ("dataset", "the data set is empty")
    (fault,) = problem_of(DatasetError("bad", [Issue("bad", file="a.json")])).body()["errors"]
    assert (fault["file"], "field" in fault) == ("a.json", False)


@pytest.mark.parametrize(
    ("posted", "field", "said"),
    [
        ({"name": "pets", "model": "My model"}, "model", "small letters"),
        ({"name": "pe\u202ets"}, "name", "turns text round"),
        ({"name": "pets", "classes": ["c\u200bat"]}, "classes.0", "not seen"),
    ],
)
def test_what_a_name_may_not_have_is_said_in_words(posted, field, said):
    with pytest.raises(ValidationError) as wrong:
        PostedTask.model_validate(posted)
    (fault,) = invalid_fields(wrong.value.errors()).errors
    assert (fault.field, fault.code) == (field, Code.INVALID)
    assert said in fault.message
    assert "^" not in fault.message
