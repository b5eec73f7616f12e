"""The floor of a model's gate when a version is registered."""

import pytest

from app.admin.service import set_gate
from app.db import TaskState, write_session
from app.registry.floor import ModelGate
from app.registry.moves import promote
from app.registry.service import ensure_model


def floor(bench, **limits):
    with write_session(bench.engine) as session:
        set_gate(session, ensure_model(session, "default"), ModelGate(**limits))


def test_a_floor_that_was_raised_since_the_post_holds(bench):
    floor(bench, min_iou=0)
    bench.control.plan(iou={"cat": 0.2})
    task_id = bench.post(["cat"], by_admin=False, gate={"min_iou": 0.1})
    floor(bench, min_iou=0.5)
    assert bench.supervisor().run(task_id) == TaskState.HELD
    (version,) = bench.versions()
    assert version.gate["reasons"] == ["new class 'cat' reached 0.200 IoU, less than 0.5"]
    assert version.gate["settings"]["min_iou"] == 0.5
    assert version.gate["waived"] == []


def test_an_older_parent_is_no_way_round_the_floor(bench):
    bench.run(["cat"])
    bench.run(["dog"], seed=1)
    bench.control.plan(iou={"dog": 0.31})
    task = bench.run(["dog"], seed=2, parent=1, by_admin=False)
    assert task.state == TaskState.HELD
    assert bench.versions()[-1].gate["reasons"] == [
        "old class 'dog' lost 0.490 IoU against the live version (0.800 to 0.310), more than 0.05"
    ]
    assert bench.live() == 2


def test_nor_is_a_preview_from_an_older_parent(bench):
    bench.run(["cat"])
    bench.run(["dog"], seed=1)
    how = {"method": "sats_plus", "preview": True}
    task_id = bench.post(["dog"], seed=2, parent=1, by_admin=False, **how)
    bench.control.plan(iou={"dog": 0.76})
    assert bench.supervisor().run(bench.preview(task_id).id) == TaskState.LIVE
    bench.control.plan(iou={"dog": 0.72})
    assert bench.supervisor().run(task_id) == TaskState.HELD
    assert bench.versions()[-1].gate["reasons"] == [
        "old class 'dog' lost 0.080 IoU against the live version (0.800 to 0.720), more than 0.05"
    ]


def test_an_admin_s_laxer_task_goes_live_and_the_record_says_so(bench):
    bench.control.plan(iou={"cat": 0.2})
    assert bench.run(["cat"], gate={"min_iou": 0.1}).state == TaskState.LIVE
    (version,) = bench.versions()
    assert version.gate["waived"] == ["min_iou 0.1 is laxer than the model's floor, 0.3"]
    assert version.gate["settings"] == {
        "max_drop": 0.05,
        "min_iou": 0.1,
        "promote": True,
        "approval": "none",
        "hold_on_warnings": False,
        "hold_on_unmeasured": False,
    }


def test_a_version_that_awaits_approval_goes_live_when_an_admin_promotes_it(bench):
    floor(bench, approval="required")
    assert bench.run(["cat"]).state == TaskState.HELD
    (version,) = bench.versions()
    assert version.gate["reasons"] == ["awaits approval"]
    assert all(figure["passed"] for figure in version.gate["figures"])
    assert bench.live() is None
    with write_session(bench.engine) as session:
        promote(session, session.merge(version).model, 1)
    assert bench.live() == 1
    bench.control.plan(iou={"cat": 0.5})
    bench.run(["dog"], seed=1)
    second = bench.versions()[1]
    assert second.gate["reasons"] == [
        "old class 'cat' lost 0.300 IoU (0.800 to 0.500), more than 0.05"
    ], "only what passes awaits approval"


@pytest.mark.parametrize("asked", [True, False])
def test_an_import_awaits_approval_too(bench, asked):
    floor(bench, approval="required")
    assert bench.run_import(["background", "cat"], promote=asked).state == TaskState.HELD
    (version,) = bench.versions()
    assert (version.gate or {}).get("reasons") == (["awaits approval"] if asked else None)
    assert bench.live() is None
