"""A retirement from its row to its version, the child scripted."""

from dataclasses import replace

from app.admin.schemas import VersionJson
from app.admin.service import describe_versions
from app.audit.service import Wanted, list_entries
from app.db import TaskState, read_session
from app.doctor.examination import examine
from app.doctor.finding import Installation
from app.registry.gate import UNGUARDED
from app.registry.service import assign_indices, find_model
from app.storage.garbage import stores_of


def shown(bench, number) -> VersionJson:
    version = bench.versions()[number - 1]
    with read_session(bench.engine) as session:
        merged = session.merge(version, load=False)
        return describe_versions(session, merged.model, [merged])[0]


def learn(bench, **spec):
    """Versions 1 (cat), 2 (and dog), 3 (and cow), each with pictures of its own."""
    for seed, name in enumerate(("cat", "dog", "cow")):
        assert bench.run([name], seed=seed, **spec).state == TaskState.LIVE


def index(bench, *names):
    with read_session(bench.engine) as session:
        return assign_indices(session, find_model(session, "default").id, names)


def audit(bench):
    with read_session(bench.engine) as session:
        return list(list_entries(session, Wanted(), 100))


def assert_healthy(bench):
    stores = stores_of(bench.blobs, bench.settings, None)
    assert examine(Installation(bench.engine, stores, bench.settings)) == []


def test_a_class_is_taken_away_and_the_record_says_what_was_measured(bench):
    learn(bench)
    task = bench.retire(3, ["dog"], name="no dogs")
    assert (task.state, task.kind) == (TaskState.LIVE, "retire")
    assert [c["name"] for c in bench.versions()[3].classes] == ["background", "cat", "cow"]
    version = shown(bench, 4)
    assert (version.kind, version.parent, version.live) == ("retire", 3, True)
    assert (version.method, version.new_classes, version.origin) == (None, [], None)
    retirement = version.retirement
    assert (retirement.retired, retirement.indices, retirement.depth) == (["dog"], [2], "hide")
    assert retirement.proof.piggyback.gap_closed == 0.857
    assert (retirement.erasure, retirement.receipt) == (None, None)
    assert shown(bench, 3).retirement is None
    assert version.effective_settings["backbone"] == shown(bench, 3).effective_settings["backbone"]
    assert [entry.action for entry in audit(bench)][:2] == ["version.promote", "version.retire"]
    bench.assert_clean(task.id)
    assert_healthy(bench)


def test_the_job_says_what_was_asked_for_and_what_is_at_hand(bench):
    learn(bench, memory=10)
    bench.retire(3, ["cow", "dog"], "unlearn", dataset=["cow"], epochs=4, learning_rate=0.01)
    job = bench.control.starts()[-1].job
    assert (job.kind, job.classes, job.depth) == ("retire", ("dog", "cow"), "unlearn")
    assert (job.settings.epochs, job.settings.learning_rate) == (4, 0.01)
    assert [pictures.classes for pictures in job.earlier] == [("cat",), ("dog",), ("cow",)]
    assert None not in (job.memory, job.dataset, job.unaware)
    assert bench.control.seen() == {
        "old": "weights of ('cat', 'dog', 'cow')",
        "unaware": "weights of ('cat',)",
    }


def test_the_base_knows_its_classes_so_there_is_no_version_that_never_saw_them(bench):
    learn(bench)
    bench.retire(3, ["cat"])
    assert bench.control.starts()[-1].job.unaware is None


def test_forget_is_unlearn_to_the_core(bench):
    learn(bench)
    bench.retire(3, ["cow"], "forget")
    assert bench.control.starts()[-1].job.depth == "unlearn"


def test_its_index_is_never_given_again(bench):
    learn(bench)
    bench.retire(3, ["dog"])
    assert index(bench, "owl") == (4,)
    assert index(bench, "dog") == (4,)
    assert index(bench, "cat", "cow") == (1, 3)


def test_a_class_of_the_same_name_is_taught_again_under_another_index(bench):
    learn(bench)
    bench.retire(3, ["dog"])
    task = bench.run(["dog"], seed=7, classes=["dog"])
    assert task.state == TaskState.LIVE
    fifth = bench.versions()[4]
    assert [(c["name"], c["index"]) for c in fifth.classes][-1] == ("dog", 4)
    # Pictures from before it was taken away say nothing of the new one.
    earlier = [pictures.classes for pictures in bench.control.starts()[-1].job.earlier]
    assert earlier == [("cat",), ("cow",)]
    bench.run(["owl"], seed=8)
    earlier = [pictures.classes for pictures in bench.control.starts()[-1].job.earlier]
    assert earlier == [("cat",), ("cow",), ("dog",)]
    assert bench.retire(6, ["dog"]).state == TaskState.LIVE
    assert shown(bench, 7).retirement.indices == [4]
    assert index(bench, "dog") == (6,)
    assert_healthy(bench)


def test_it_is_not_taught_again_by_a_task_that_does_not_name_it(bench):
    learn(bench)
    bench.retire(3, ["dog"])
    assert bench.run(["dog", "owl"], seed=7).state == TaskState.LIVE
    assert bench.control.starts()[-1].job.new_classes == ("owl",)
    refused = bench.run(["dog"], seed=8)
    assert refused.state == TaskState.FAILED
    assert "name it in `classes` to teach it again" in refused.error["detail"]


def test_what_came_before_goes_on_with_it_and_does_not_bring_it_back_by_itself(bench):
    learn(bench)
    bench.retire(3, ["dog"])
    task = bench.run(["owl"], seed=5, parent=3)
    assert task.state == TaskState.HELD
    assert shown(bench, 5).gate.reasons == [
        "'dog' was taken away before the live version, and this one knows it"
    ]
    fifth = bench.versions()[4]
    assert [c["name"] for c in fifth.classes] == ["background", "cat", "dog", "cow", "owl"]


def test_a_second_retirement_from_the_same_version_does_not_bring_the_first_class_back(bench):
    learn(bench)
    assert bench.retire(3, ["dog"]).state == TaskState.LIVE
    assert bench.retire(3, ["cow"]).state == TaskState.HELD
    assert shown(bench, 5).gate.reasons == [
        "'dog' was taken away before the live version, and this one knows it"
    ]
    assert bench.live() == 4
    assert bench.retire(3, ["dog", "cow"]).state == TaskState.LIVE


def test_what_stays_must_not_lose_much(bench):
    learn(bench)
    bench.control.plan(epochs=1, miou_lost=0.03)
    assert bench.retire(3, ["dog"]).state == TaskState.HELD
    reasons = shown(bench, 4).gate.reasons
    assert reasons[0] == "what stays lost 0.030 mIoU (0.800 to 0.770), more than 0.02"
    assert bench.live() == 3
    assert bench.retire(3, ["dog"], gate={"max_miou_drop": 0.03}).state == TaskState.LIVE


def test_what_nobody_measured_holds_it_unless_its_own_gate_waives_that(bench):
    settings = bench.settings.model_copy(update={"gate_hold_on_unmeasured": True})
    holding = replace(bench, settings=settings)
    holding.run_import(["background", "cat", "dog", "cow"])
    assert holding.retire(1, ["dog"]).state == TaskState.HELD
    gate = shown(holding, 2).gate
    assert gate.reasons == [UNGUARDED]
    assert {one.class_name for one in gate.figures if not one.passed} == {
        "background",
        "cat",
        "cow",
    }
    waiving = {"hold_on_unmeasured": False}
    assert holding.retire(1, ["dog"], gate=waiving).state == TaskState.LIVE
    assert shown(holding, 3).gate.waived == [
        "hold_on_unmeasured false is laxer than the model's floor, true"
    ]


def test_a_class_that_stays_is_guarded_as_ever_and_the_retired_one_is_not(bench):
    learn(bench)
    bench.control.plan(epochs=1, iou={"cow": 0.5})
    task = bench.retire(3, ["dog"])
    assert task.state == TaskState.HELD
    gate = shown(bench, 4).gate
    assert [figure.class_name for figure in gate.figures if not figure.passed] == ["cow"]
    assert "dog" not in [figure.class_name for figure in gate.figures]


def test_a_class_that_only_the_live_version_knows_holds_it(bench):
    learn(bench)
    bench.retire(2, ["dog"])
    gate = shown(bench, 4).gate
    assert not gate.passed
    assert gate.reasons[0] == "the live version knows 'cow' and this one does not"


def test_what_is_learned_on_top_says_which_version_brought_a_class(bench, client):
    learn(bench)
    bench.retire(3, ["cow"])
    bench.run(["owl"], seed=5)
    told = client.get("/classes", params={"version": 5}).json()["classes"]
    assert [(c["name"], c["index"], c["version"]) for c in told] == [
        ("background", 0, 1),
        ("cat", 1, 1),
        ("dog", 2, 2),
        ("owl", 4, 5),
    ]


def test_a_lost_one_goes_on(bench):
    learn(bench)
    bench.control.plan(epochs=3, crash_epoch=2, crash_starts=4)
    task_id = bench.post_retirement(3, ["dog"], "unlearn", dataset=["dog"])
    assert bench.supervisor().run(task_id) == TaskState.QUEUED
    assert bench.supervisor().run(task_id) == TaskState.LIVE
    assert bench.control.starts()[-1].epoch == 2
    bench.assert_clean(task_id)


def test_a_version_that_is_deleted_meanwhile_fails_it(bench, client):
    learn(bench)
    bench.control.plan(epochs=1, default_iou=0.0)
    assert bench.run(["owl"], seed=5).state == TaskState.HELD
    bench.control.plan(epochs=1)
    task_id = bench.post_retirement(4, ["owl"])
    refused = client.delete("/admin/models/default/versions/4")
    assert refused.status_code == 409, "a task that has not ended starts from it"
    bench.cancel(task_id)
    assert client.delete("/admin/models/default/versions/4").status_code == 200
    task = bench.retire(4, ["owl"])
    assert task.error["type"] == "urn:sats:problem:parent-deleted"
