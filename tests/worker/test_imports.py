"""An import from its row to its version, the child scripted."""

import pytest

from app.admin.schemas import VersionJson
from app.admin.service import describe_versions
from app.db import Task, TaskState, read_session, write_session
from app.registry.service import alias_history, assign_indices, find_model
from tests.worker.bench import EVA, eventually, running
from worker.tidying import tidy

PETS = ("background", "cat", "dog")


def shown(bench, number=1) -> VersionJson:
    version = bench.versions()[number - 1]
    with read_session(bench.engine) as session:
        merged = session.merge(version, load=False)
        return describe_versions(session, merged.model, [merged])[0]


def moves(bench):
    with read_session(bench.engine) as session:
        found = alias_history(session, find_model(session, "default").id)
        return [(move.kind, move.version.number, move.actor) for move in found[::-1]]


def test_an_import_makes_a_version_and_goes_live(bench):
    task = bench.run_import(PETS)
    assert task.state == TaskState.LIVE
    assert bench.states(task.id) == [
        "queued",
        "validating",  # claimed
        "validating",  # the child says so too
        "training",
        "evaluating",
        "live",
    ]
    version = shown(bench)
    assert (version.number, version.kind, version.parent, version.lineage) == (
        1,
        "import",
        None,
        [1],
    )
    assert (version.gate, version.method, version.memory) == (None, None, None)
    assert version.origin.source == "pets.zip"
    assert (version.backbone, version.backbone_start) == ("mit_b0", "imported: pets.zip")
    assert version.effective_settings == {"backbone": "mit_b0", "size": 512}
    assert version.new_classes == ["cat", "dog"]
    assert version.scores.miou_all is None
    assert moves(bench) == [("import", 1, EVA)]
    assert bench.held_out() == []
    bench.assert_clean(task.id)


def test_the_job_says_what_was_asked_for(bench):
    bench.run_import(PETS, background="background", evaluate=["cat"])
    task_id = bench.post_import(("wall", "cat", "cow"), background="wall")
    bench.supervisor().run(task_id)
    first, second = (start.job for start in bench.control.starts())
    assert (first.kind, first.source_name, first.background) == (
        "import",
        "pets.zip",
        "background",
    )
    assert (first.allow_pickle, first.threads, first.limits) == (False, 1, bench.settings.limits)
    assert first.evaluate is not None
    assert (second.classes, second.evaluate) == (("cat", "cow"), None)


def test_promote_false_holds_it(bench):
    task = bench.run_import(PETS, promote=False)
    assert task.state == TaskState.HELD
    assert bench.live() is None
    assert moves(bench) == []
    bench.move_live(bench.versions()[0])
    assert bench.live() == 1


def test_labelled_pictures_are_scored_and_kept_for_their_classes(bench):
    task = bench.run_import(PETS, evaluate=["cat", "cow"])
    assert task.state == TaskState.LIVE
    [kept] = bench.held_out()
    assert (kept.classes, kept.pictures, kept.version_id) == (["cat"], 1, bench.versions()[0].id)
    assert shown(bench).scores.iou == {"background": 0.9, "cat": 0.8, "dog": None}
    bench.run(["sheep"], seed=1)
    assert [e.classes for e in bench.control.starts()[1].job.earlier] == [("cat",)]
    bench.assert_clean(task.id)


def test_a_step_on_an_unscored_import_goes_live_and_the_gate_says_what_it_cannot(bench):
    bench.run_import(PETS)
    bench.control.plan(iou={"cat": 0.1})
    task = bench.run(["sheep"], seed=1)
    assert task.state == TaskState.LIVE
    second = shown(bench, 2)
    assert (second.parent, second.lineage) == (1, [1, 2])
    assert second.gate.reasons == [
        "no old class is guarded: the version before was never scored, so nobody can say what it "
        "lost"
    ]
    assert [(f.class_name, f.kind, f.before, f.passed) for f in second.gate.figures] == [
        ("cat", "old", None, True),
        ("dog", "old", None, True),
        ("sheep", "new", None, True),
    ]


def test_a_model_with_versions_keeps_the_indices_of_its_names(bench):
    bench.run(["dog"])
    bench.run(["cow"], seed=1)
    task = bench.run_import(PETS)
    assert task.state == TaskState.LIVE
    third = bench.versions()[2]
    assert (third.number, third.parent_id) == (3, None)
    assert [(c["name"], c["index"]) for c in third.classes] == [
        ("background", 0),
        ("cat", 3),
        ("dog", 1),
    ]
    assert moves(bench)[-1] == ("import", 3, EVA)
    said = "version 2, live until now, knew 'cow' and this import does not"
    assert task.warnings == [said]
    assert [e.data["message"] for e in bench.events(task.id, "warning")] == [said]
    bench.run(["sheep"], seed=2)
    fourth = bench.versions()[3]
    assert fourth.parent_id == third.id
    with read_session(bench.engine) as session:
        model = find_model(session, "default")
        assert assign_indices(session, model.id, ["dog", "cow", "cat", "sheep"]) == (1, 2, 3, 4)


def test_an_import_that_lost_its_child_starts_again(bench):
    bench.control.plan(crash_epoch=1)
    task_id = bench.post_import(PETS, evaluate=["cat"])
    assert bench.supervisor().run(task_id) == TaskState.QUEUED
    assert bench.supervisor().run(task_id) == TaskState.LIVE
    task = bench.task(task_id)
    assert (task.tries, task.parent_id) == (0, None)
    assert len(bench.versions()) == 1
    bench.assert_clean(task_id)


@pytest.mark.parametrize("lost_at", ["hold", "go_live", "end"])
def test_a_loss_during_registration_registers_all_or_nothing(bench, monkeypatch, lost_at):
    task_id = bench.post_import(PETS, evaluate=["cat"])
    with monkeypatch.context() as patch:
        patch.setattr(f"worker.registering.{lost_at}", lambda *_args, **_kw: 1 / 0)
        assert bench.supervisor().run(task_id) == TaskState.QUEUED
    assert (bench.versions(), bench.live(), bench.held_out()) == ([], None, [])
    assert bench.supervisor().run(task_id) == TaskState.LIVE
    assert len(bench.control.starts()) == 1, "the result was there: nothing was done again"
    assert (len(bench.versions()), len(bench.held_out())) == (1, 1)
    bench.assert_clean(task_id)


def test_a_wrong_checkpoint_fails_the_task_and_leaves_nothing(bench):
    bench.control.plan(fail="the weights do not fit")
    task = bench.run_import(PETS)
    assert task.state == TaskState.FAILED
    assert task.error["detail"] == "the weights do not fit"
    assert bench.versions() == []
    bench.assert_clean(task.id)


def test_an_import_is_cancelled_while_it_runs(bench):
    bench.control.plan(epoch_seconds=30)
    task_id = bench.post_import(PETS)
    with running(bench.supervisor(), task_id) as left:
        eventually(lambda: bench.state(task_id) == TaskState.TRAINING)
        bench.cancel(task_id)
        eventually(lambda: bool(left))
    assert left == [TaskState.CANCELLED]
    bench.assert_clean(task_id)


def test_an_upload_that_a_version_consists_of_stays(bench):
    """Somebody posts the very bytes that a version keeps: blobs are named by their content."""
    bench.run_import(PETS, evaluate=["cat"])
    [kept] = bench.held_out()
    weights = bench.versions()[0].files["model.safetensors"]["blob"]
    for key in (kept.blob, weights):
        other = bench.post_import(("background", "cow"), model="other")
        with write_session(bench.engine) as session:
            session.get_one(Task, other).evaluation = key
        bench.cancel(other)
        tidy(bench.engine, bench.blobs, bench.settings, other)
        assert bench.has_blob(key)
        assert not bench.has_blob(bench.task(other).dataset)


def test_only_an_import_that_goes_live_and_lacks_a_class_warns(bench):
    assert bench.run_import(PETS).warnings == []
    assert bench.run_import(("background", "cow"), promote=False).warnings == []
    assert bench.run_import((*PETS, "cow")).warnings == []
