"""The registry on a real SQLite database (the worker's and the HTTP tests run it on Postgres)."""

import pytest
from sqlalchemy.exc import IntegrityError

from app.db import AliasMove, Base, ModelClass, Task, make_engine, read_session, write_session
from app.errors import ConflictProblem, NotFoundProblem
from app.registry import moves, service
from app.registry.gate import GateSettings, judge
from sats_core.classes import Catalogue
from sats_core.errors import ClassError
from sats_core.evaluation.scores import Scores
from sats_core.job import StepResult
from sats_core.settings import StepSettings
from tests.fixtures.statements import Statements


@pytest.fixture
def engine(tmp_path):
    engine = make_engine(f"sqlite:///{tmp_path / 'sats.db'}")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def step_result(catalogue):
    iou = dict.fromkeys(catalogue.foreground, 0.5)
    return StepResult(
        classes=tuple(
            {"index": c.index, "name": c.name, "colour": c.colour, "step": c.step}
            for c in catalogue.classes
        ),
        scores=Scores(
            iou={"background": 0.9, **iou},
            introduced=iou,
            forgetting={},
            miou_old=None,
            miou_new=0.5,
            miou_all=0.7,
            mean_forgetting=None,
            pixel_accuracy=0.9,
            pictures=3,
        ),
        settings=StepSettings().as_run(base=True),
        backbone_start="scratch",
        trained_pictures=8,
        held_out_pictures=3,
        seconds=1.5,
    )


def learn(engine, *names, parent=None, model="default"):
    """Register one version that brought `names` after version number `parent`."""
    with write_session(engine) as session:
        line = service.ensure_model(session, model)
        task = Task(
            model_id=line.id,
            spec={},
            dataset="0" * 64,
            dataset_bytes=1,
            request_digest="",
            state="live",
        )
        session.add(task)
        service.lock_model(session, line.id)
        before = service.get_version(session, line.id, parent) if parent else None
        catalogue = Catalogue.empty()
        for number in service.lineage(session, before).values() if before else ():
            version = service.get_version(session, line.id, number)
            known = {c["name"]: c["index"] for c in version.classes}
            catalogue = catalogue.grow(
                version.new_classes, [known[name] for name in version.new_classes]
            )
        indices = service.assign_indices(session, line.id, names)
        result = step_result(catalogue.grow(names, indices))
        session.flush()
        return service.register_version(
            session,
            line,
            task_id=task.id,
            parent=before,
            new_classes=names,
            result=result,
            verdict=judge(GateSettings(), result.scores, None, list(names), False),
            files={"model.onnx": {"blob": "a" * 64, "bytes": 1}},
        )


def go(engine, action, number):
    with write_session(engine) as session:
        model = service.find_model(session, "default")
        assert model is not None
        if action is moves.go_live:
            return moves.go_live(session, service.get_version(session, model.id, number))
        return action(session, model, number)


def live(engine):
    with read_session(engine) as session:
        model = service.find_model(session, "default")
        version = service.live_version(session, model.id)
        return version.number if version else None


def test_versions_are_numbered_within_their_model(engine):
    assert learn(engine, "cat").number == 1
    assert learn(engine, "dog", parent=1).number == 2
    assert learn(engine, "car", model="street").number == 1
    with read_session(engine) as session:
        model = service.find_model(session, "default")
        last = service.get_version(session, model.id, 2)
        assert list(service.lineage(session, last).values()) == [1, 2]
        assert [v.number for v in service.list_versions(session, model.id)] == [2, 1]
        assert last.classes[2] == {"index": 2, "name": "dog", "colour": [0, 128, 0], "step": 1}
        with pytest.raises(NotFoundProblem):
            service.get_version(session, model.id, 3)


def test_an_index_is_given_once_also_on_branches(engine):
    learn(engine, "cat")
    learn(engine, "dog", parent=1)
    third = learn(engine, "cow", parent=1)
    assert [c["index"] for c in third.classes] == [0, 1, 3]
    fourth = learn(engine, "dog", parent=3)
    assert [c["index"] for c in fourth.classes] == [0, 1, 3, 2]


def test_lineages_of_several_versions_are_read_at_once(engine):
    for parent in (None, 1, 2, 1, 4):
        learn(engine, f"class {parent}", parent=parent)
    with read_session(engine) as session, Statements(engine) as sent:
        model = service.find_model(session, "default")
        versions = service.list_versions(session, model.id, limit=3)
        lines = service.lineages(session, versions)
        assert len([one for one in sent.seen if "RECURSIVE" in one[0]]) == 1
    assert [one.number for one in versions] == [5, 4, 3]
    assert lines == [[1, 4, 5], [1, 4], [1, 2, 3]]


def test_indices_run_out_with_a_clear_error(engine):
    learn(engine, "cat")
    with write_session(engine) as session:
        model = service.find_model(session, "default")
        session.add(ModelClass(model_id=model.id, name="last", index=254))
    with read_session(engine) as session:
        assert service.assign_indices(session, model.id, ["cat", "last"]) == (1, 254)
        with pytest.raises(ClassError, match="254"):
            service.assign_indices(session, model.id, ["one more"])


def test_a_model_is_made_once(engine):
    with write_session(engine) as session:
        first = service.ensure_model(session, "default")
        assert service.ensure_model(session, "default").id == first.id
        assert service.live_version(session, first.id) is None


def test_live_follows_gate_promotion_and_rollback(engine):
    learn(engine, "cat")
    learn(engine, "dog", parent=1)
    learn(engine, "cow", parent=1)
    go(engine, moves.go_live, 1)
    go(engine, moves.go_live, 2)
    go(engine, moves.promote, 3)
    assert live(engine) == 3
    go(engine, moves.rollback, 3)
    assert live(engine) == 2
    go(engine, moves.rollback, 2)
    assert live(engine) == 1
    with pytest.raises(ConflictProblem, match="nothing was live before"):
        go(engine, moves.rollback, 1)
    with read_session(engine) as session:
        model = service.find_model(session, "default")
        history = service.alias_history(session, model.id)
        assert [(m.sequence, m.kind, m.version.number) for m in history] == [
            (5, "rollback", 1),
            (4, "rollback", 2),
            (3, "promote", 3),
            (2, "gate", 2),
            (1, "gate", 1),
        ]


def test_what_cannot_be_promoted_or_rolled_back(engine):
    learn(engine, "cat")
    learn(engine, "dog", parent=1)
    with pytest.raises(ConflictProblem, match="not live"):
        go(engine, moves.rollback, 1)
    go(engine, moves.promote, 2)
    with pytest.raises(ConflictProblem, match="live already"):
        go(engine, moves.promote, 2)
    with pytest.raises(NotFoundProblem):
        go(engine, moves.promote, 9)
    with pytest.raises(ConflictProblem):
        go(engine, moves.rollback, 1)


def test_two_moves_with_one_number_collide(engine):
    first = learn(engine, "cat")
    go(engine, moves.go_live, 1)
    with pytest.raises(IntegrityError), write_session(engine) as session:
        session.add(
            AliasMove(model_id=first.model_id, sequence=1, version_id=first.id, kind="gate")
        )
