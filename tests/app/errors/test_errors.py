"""What problems hold to themselves."""

import pytest

from app.errors import ConflictProblem, ErrorDetail, Problem, problem_of
from app.storage.garbage import ConflictProblem as Imported
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
