"""How stored states are told, and asked for."""

import pytest
from sqlalchemy import update

from app.db import Task, TaskState, write_session
from app.tasks.states import TaskOutcome, TaskStateJson, standing, stored_states
from tests.app.tasks.posting import post

TOLD = {
    "queued": ("queued", None, None),
    "validating": ("running", "validating", None),
    "training": ("running", "training", None),
    "evaluating": ("running", "evaluating", None),
    "live": ("succeeded", None, "live"),
    "held": ("succeeded", None, "held"),
    "failed": ("failed", None, None),
    "cancelled": ("cancelled", None, None),
}
PROGRESS = {"phase": "training", "epoch": 3, "epochs": 9, "step": 1, "steps": 9}


def test_every_stored_state_is_told():
    assert {str(one): tuple(standing(one)) for one in TaskState} == TOLD
    with pytest.raises(ValueError, match="gone"):
        standing("gone")


def test_what_is_asked_for_is_found_in_the_table():
    assert stored_states([TaskStateJson.RUNNING], []) == ("validating", "training", "evaluating")
    assert stored_states([], [TaskOutcome.HELD]) == ("held",)
    assert stored_states([TaskStateJson.SUCCEEDED], [TaskOutcome.LIVE]) == ("live",)
    assert stored_states([TaskStateJson.FAILED], [TaskOutcome.LIVE]) == ()
    assert stored_states([], []) == tuple(TaskState)


@pytest.fixture
def tasks(client, engine, pets):
    """A task in each stored state, by its state."""
    made = {}
    for state in TOLD:  # of a model each: steps of one run one after another
        made[state] = post(client, pets, {"model": state}).json()["id"]
        with write_session(engine) as session:
            values = {"state": state, "progress": PROGRESS}
            session.execute(update(Task).where(Task.id == made[state]).values(**values))
    return made


def test_tasks_tell_their_state_phase_and_outcome(client, tasks):
    for state, told in TOLD.items():
        task = client.get(f"/tasks/{tasks[state]}").json()
        assert (task["state"], task["phase"], task["outcome"]) == told
    listed = client.get("/tasks", params={"view": "summary"}).json()["items"]
    found = {one["model"]: (one["state"], one["phase"], one["outcome"]) for one in listed}
    assert found == TOLD


def test_tasks_that_have_ended_have_no_progress(client, tasks):
    shown = {
        state: client.get(f"/tasks/{task}").json()["progress"] for state, task in tasks.items()
    }
    ended = ("live", "held", "failed", "cancelled")
    assert [state for state, progress in shown.items() if progress is None] == list(ended)
    assert shown["training"]["epoch"] == 3


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=running", {"validating", "training", "evaluating"}),
        ("state=succeeded", {"live", "held"}),
        ("state=queued&state=failed", {"queued", "failed"}),
        ("outcome=held", {"held"}),
        ("outcome=held&outcome=live", {"live", "held"}),
        ("state=succeeded&outcome=live", {"live"}),
        ("state=failed&outcome=live", set()),
        ("state=running&model=training", {"training"}),
    ],
)
def test_tasks_are_narrowed_by_what_is_told(client, tasks, query, found):
    listed = client.get(f"/tasks?{query}").json()["items"]
    assert {task["model"] for task in listed} == found


@pytest.mark.parametrize("query", ["state=live", "state=training", "outcome=failed"])
def test_words_of_the_table_are_none(client, query):
    answer = client.get(f"/tasks?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith(f"query.{query.split('=')[0]}")


def test_a_place_in_the_queue_counts_what_the_task_waits_for_alone(client, engine, pets):
    ids = [post(client, pets, {"model": "one"}).json()["id"] for _ in range(6)]
    other = post(client, pets, {"model": "other"}).json()["id"]
    ended = {ids[0]: "live", ids[1]: "training", ids[2]: "failed", ids[4]: "cancelled"}
    with write_session(engine) as session:
        for task_id, state in ended.items():
            session.execute(update(Task).where(Task.id == task_id).values(state=state))
    places = {task_id: client.get(f"/tasks/{task_id}").json()["queue_place"] for task_id in ids}
    assert list(places.values()) == [None, None, None, 1, None, 2]
    assert client.get(f"/tasks/{other}").json()["queue_place"] == 1
    listed = client.get("/tasks", params={"limit": 1, "model": "one"}).json()["items"]
    assert [task["queue_place"] for task in listed] == [2], "whatever the page holds"
    client.post(f"/tasks/{ids[2]}:retry")
    places = [client.get(f"/tasks/{ids[n]}").json()["queue_place"] for n in (2, 3, 5)]
    assert places == [1, 2, 3], "tried again, it has its old place"
