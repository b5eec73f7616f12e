"""A result that lies in the work folder counts for the very job that it was made for, or not."""

import errno

import pytest

from app.db import TaskState
from worker.folder import WorkFolder


@pytest.fixture
def lose(bench, monkeypatch):
    """Post a task and let it fail between its result and its version; returns its id."""

    def full(*_args):
        raise OSError(errno.ENOSPC, "no room")

    def post(labelled, **posted):
        task_id = bench.post(labelled, **posted)
        with monkeypatch.context() as patch:
            patch.setattr(bench.blobs, "stage", full)
            assert bench.supervisor().run(task_id) == TaskState.FAILED
        assert folder_of(bench, task_id).result_file.exists()
        return task_id

    return post


def folder_of(bench, task_id):
    return WorkFolder(bench.settings.work_dir, task_id)


def again(bench, task_id):
    bench.retry(task_id)
    return bench.supervisor().run(task_id)


def classes(version):
    return [(entry["name"], entry["index"]) for entry in version.classes[1:]]


def test_a_result_that_could_not_be_stored_is_kept(bench, lose):
    assert again(bench, lose(["cat"])) == TaskState.LIVE
    assert len(bench.control.starts()) == 1


def test_another_class_that_was_learned_since_has_taken_the_index(bench, lose):
    bench.run(["cat"])
    task_id = lose(["dog"], seed=1)
    bench.run(["cow"], seed=2)
    assert again(bench, task_id) == TaskState.HELD, "live has moved on"
    assert len(bench.control.starts()) == 4, "it was trained again"
    base, cow, dog = bench.versions()
    assert (cow.parent_id, dog.parent_id) == (base.id, base.id)
    assert classes(cow) == [("cat", 1), ("cow", 2)]
    assert classes(dog) == [("cat", 1), ("dog", 3)]


def test_the_same_class_that_was_learned_since_has_the_same_index(bench, lose):
    bench.run(["cat"])
    task_id = lose(["dog"], seed=1)
    bench.run(["dog"], seed=2)
    assert again(bench, task_id) == TaskState.HELD
    assert len(bench.control.starts()) == 3, "the job is the same: its result counts"
    base, *dogs = bench.versions()
    assert [dog.parent_id for dog in dogs] == [base.id, base.id]
    assert [classes(dog) for dog in dogs] == [[("cat", 1), ("dog", 2)]] * 2


def test_a_base_step_that_is_none_any_more_is_run_as_what_it_is(bench, lose):
    task_id = lose(["dog", "ant"])
    bench.run(["dog"], seed=1)
    assert again(bench, task_id) == TaskState.LIVE
    assert len(bench.control.starts()) == 3, "it was trained again"
    first, second = bench.versions()
    assert second.parent_id == first.id
    assert second.new_classes == ["ant"]
    assert classes(second) == [("dog", 1), ("ant", 2)]


def test_a_base_step_that_has_nothing_to_learn_any_more_fails(bench, lose):
    task_id = lose(["cat"])
    bench.run(["cat"], seed=1)
    assert again(bench, task_id) == TaskState.FAILED
    assert "knows every class" in bench.task(task_id).error["detail"]
    assert len(bench.versions()) == 1


@pytest.mark.parametrize("file", ["result_file", "job"])
def test_a_file_that_a_crash_cut_off_says_that_nothing_is_done(bench, lose, file):
    folder = folder_of(bench, task_id := lose(["cat"]))
    job = bench.control.starts()[0].job
    assert folder.is_done_for(job)
    path = getattr(folder, file)
    whole = path.read_bytes()
    for cut in (0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert not folder.is_done_for(job), f"{cut} of {len(whole)} bytes"
    assert again(bench, task_id) == TaskState.LIVE
    assert len(bench.control.starts()) == 2
