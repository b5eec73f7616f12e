"""What a key may ask for: over HTTP, with real rows, and with a clock that the test holds."""

import io
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from app.db import ApiKey, HeldOutSet, Task, TaskState, read_session, utc_now, write_session
from app.errors import TooLargeProblem
from app.keys.last_use import LastUses
from app.keys.problems import PictureLimitProblem, RequestLimitProblem
from app.keys.quotas import stored_bytes
from app.keys.rates import Rates
from app.keys.secret import read_secret
from app.keys.service import Caller, KeyLimits, Scope, create_key, digest, list_keys
from tests.app.inference.colour_graph import RED
from tests.app.segmentation.conftest import register  # noqa: F401 - a fixture
from tests.app.segmentation.requests import as_files, encoded, left_red_right_green
from tests.app.tasks.posting import drawn, post
from tests.fixtures.clocks import set_ahead
from tests.fixtures.statements import Statements
from tests.fixtures.versions import add_version

PROBLEM = "urn:sats:problem:"


@pytest.fixture
def make(engine, settings):
    """Make a key with every scope but admin, and return its header."""
    secret = read_secret(settings)

    def make_one(name="app", scopes=(Scope.SEGMENT, Scope.SUBMIT), **rules):
        with write_session(engine) as session:
            key = create_key(session, secret, name, scopes, **rules)
        return {"Authorization": f"Bearer {key}"}

    return make_one


def set_columns(engine, **values):
    with write_session(engine) as session:
        for key in list_keys(session):
            for name, value in values.items():
                setattr(key, name, value)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def limited(**limits):
    return Caller("app", frozenset(Scope), key_id=1, limits=KeyLimits(**limits))


def test_a_minute_s_requests_come_back_evenly():
    clock = Clock()
    rates = Rates(clock)
    caller = limited(requests_per_minute=2)
    rates.request(caller)
    rates.request(caller)
    with pytest.raises(RequestLimitProblem, match="'app' may send 2 requests a minute") as refused:
        rates.request(caller)
    assert refused.value.headers == {
        "Retry-After": "30",
        "RateLimit-Policy": '"requests-per-minute";q=2;w=60',
        "RateLimit": '"requests-per-minute";r=0;t=30',
    }
    clock.now += 30
    rates.request(caller)
    with pytest.raises(RequestLimitProblem):
        rates.request(caller)
    clock.now += 1000
    rates.request(caller)
    rates.request(caller)
    with pytest.raises(RequestLimitProblem):
        rates.request(caller)


def test_more_is_never_said_to_come_at_once():
    rates, caller = Rates(Clock()), limited(requests_per_minute=100_000)
    assert rates.headers(caller)["RateLimit"] == '"requests-per-minute";r=100000;t=0', "it is full"
    rates.request(caller)
    assert rates.headers(caller)["RateLimit"] == '"requests-per-minute";r=99999;t=1'


def test_one_key_s_requests_are_not_another_s():
    rates = Rates(Clock())
    rates.request(limited(requests_per_minute=1))
    rates.request(Caller("b", frozenset(), key_id=2, limits=KeyLimits(requests_per_minute=1)))
    for _ in range(100):
        rates.request(Caller("", frozenset(Scope)))
        rates.request(limited(pictures_per_minute=1))


def test_pictures_are_counted_together():
    clock = Clock()
    rates = Rates(clock)
    caller = limited(pictures_per_minute=6)
    rates.first_picture(caller)
    rates.other_pictures(caller, 4)
    rates.first_picture(caller)
    with pytest.raises(PictureLimitProblem) as refused:
        rates.other_pictures(caller, 4)
    assert refused.value.retry_after == 20
    assert refused.value.headers["RateLimit"] == '"pictures-per-minute";r=1;t=20'
    rates.other_pictures(caller, 2)
    with pytest.raises(PictureLimitProblem):
        rates.first_picture(caller)
    with pytest.raises(TooLargeProblem, match=r"7 pictures; .* may send 6 a minute"):
        rates.other_pictures(caller, 7)


def test_pictures_that_are_named_count_like_those_that_are_sent():
    clock = Clock()
    rates = Rates(clock)
    caller = limited(pictures_per_minute=6)
    rates.named_pictures(caller, 5)
    with pytest.raises(PictureLimitProblem):
        rates.named_pictures(caller, 2)
    rates.first_picture(caller)
    with pytest.raises(PictureLimitProblem):
        rates.first_picture(caller)
    clock.now += 60
    rates.named_pictures(caller, 6)
    with pytest.raises(TooLargeProblem, match=r"7 pictures; .* may send 6 a minute"):
        rates.named_pictures(caller, 7)


def test_requests_over_the_limit_are_429_on_any_call(client, make):
    headers = make(limits=KeyLimits(requests_per_minute=3))
    answers = [client.get(path, headers=headers) for path in ("/tasks", "/classes", "/tasks")]
    assert [a.status_code for a in answers] == [200, 404, 200]
    refused = client.get("/tasks", headers=headers)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.headers["ratelimit-policy"] == '"requests-per-minute";q=3;w=60'
    assert refused.headers["ratelimit"].startswith('"requests-per-minute";r=0;t=')
    assert refused.json()["type"] == PROBLEM + "limit-requests-per-minute"
    other = make("other")
    assert client.get("/tasks", headers=other).status_code == 200


def test_pictures_over_the_limit_are_429(client, make, register):  # noqa: F811
    register()
    headers = make(limits=KeyLimits(pictures_per_minute=3))
    picture = encoded(left_red_right_green(8, 8))
    first = client.post("/segment", headers=headers, **as_files(picture, picture))
    assert first.status_code == 200, first.text
    assert RED.name in first.text
    refused = client.post("/segment", headers=headers, **as_files(picture, picture))
    assert refused.status_code == 429
    assert refused.json()["type"] == PROBLEM + "limit-pictures-per-minute"
    assert int(refused.headers["retry-after"]) >= 1
    fresh = make("other", limits=KeyLimits(pictures_per_minute=3))
    too_many = client.post("/segment", headers=fresh, **as_files(*[picture] * 4))
    assert too_many.status_code == 413, "no time will come when they may be sent at once"


def test_tasks_that_wait_are_counted_in_the_database(client, engine, make, tmp_path):
    headers = make(limits=KeyLimits(queued_tasks=1))
    cat = drawn(tmp_path, "cat")
    first = post(client, cat, **headers, **{"Idempotency-Key": "k"})
    assert first.status_code == 202
    refused = post(client, drawn(tmp_path, "dog"), **headers)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "60"
    assert refused.headers["ratelimit-policy"] == '"queued-tasks";q=1', "no window: a count"
    assert refused.headers["ratelimit"] == '"queued-tasks";r=0;t=60'
    assert refused.json()["type"] == PROBLEM + "limit-queued-tasks"
    again = post(client, cat, **headers, **{"Idempotency-Key": "k"})
    assert again.json()["id"] == first.json()["id"], "the same request asks for nothing more"
    assert post(client, drawn(tmp_path, "dog"), **make("other")).status_code == 202
    client.post(f"/tasks/{first.json()['id']}:cancel", headers=headers)
    assert post(client, drawn(tmp_path, "dog"), **headers).status_code == 202


@pytest.mark.races
def test_of_posts_at_once_no_more_are_queued_than_may(client, make, tmp_path):
    headers = make(limits=KeyLimits(queued_tasks=1))
    content = drawn(tmp_path, "cat").read_bytes()
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda _: post(client, content, **headers).status_code, range(4))
        assert sorted(answers) == [202, 429, 429, 429]


def test_a_retry_is_one_more_that_waits(client, engine, make, tmp_path):
    headers = make(limits=KeyLimits(queued_tasks=1))
    failed = post(client, drawn(tmp_path, "cat"), **headers).json()["id"]
    with write_session(engine) as session:
        session.get_one(Task, failed).state = TaskState.FAILED
    waiting = post(client, drawn(tmp_path, "dog"), **headers).json()["id"]
    refused = client.post(f"/tasks/{failed}:retry", headers=headers)
    assert refused.json()["type"] == PROBLEM + "limit-queued-tasks"
    client.post(f"/tasks/{waiting}:cancel", headers=headers)
    assert client.post(f"/tasks/{failed}:retry", headers=headers).status_code == 202


def test_bytes_that_tasks_keep_are_counted_in_the_database(client, engine, make, tmp_path):
    cat, dog = (drawn(tmp_path, name).read_bytes() for name in ("cat", "dog"))
    headers = make(limits=KeyLimits(stored_bytes=max(len(cat), len(dog))))
    task = post(client, cat, **headers).json()["id"]
    with read_session(engine) as session:
        (key,) = list_keys(session)
        assert stored_bytes(session, key.id) == len(cat)
    refused = post(client, dog, **headers)
    assert refused.status_code == 429
    assert refused.json()["type"] == PROBLEM + "limit-stored-bytes"
    assert str(len(cat)) in refused.json()["detail"]
    client.post(f"/tasks/{task}:cancel", headers=headers)
    assert post(client, dog, **headers).status_code == 202


def test_what_can_never_be_kept_is_too_large(client, make, tmp_path):
    refused = post(client, drawn(tmp_path, "cat"), **make(limits=KeyLimits(stored_bytes=10)))
    assert refused.status_code == 413
    assert "retry-after" not in refused.headers


def test_what_is_deleted_counts_no_more(client, engine, blobs, make):
    admin = make(scopes=(Scope.ADMIN,))
    with write_session(engine) as session:
        kept = add_version(session, blobs, ["cat"])
        gone = add_version(session, blobs, ["dog"], live=False)
        for version in (kept, gone):
            session.get_one(Task, version.task_id).key_id = 1
            held_out = blobs.put(io.BytesIO(b"x" * (1000 + version.number)))
            rows = {"version_id": version.id, "blob": held_out.key, "bytes": held_out.size}
            session.add(HeldOutSet(**rows, classes=[], pictures=1))
        session.flush()
        of_gone = sum(file["bytes"] for file in gone.files.values()) + 1002
        bytes_kept = sum(file["bytes"] for file in kept.files.values()) + 1001
        assert stored_bytes(session, 1) == bytes_kept + of_gone
    gone = client.delete("/admin/models/default/versions/2", headers=admin)
    assert gone.status_code == 200
    with read_session(engine) as session:
        assert stored_bytes(session, 1) == bytes_kept


def test_an_expired_key_says_so(client, engine, make):
    headers = make(expires_at=utc_now() + timedelta(hours=1))
    assert client.get("/tasks", headers=headers).status_code == 200
    set_columns(engine, expires_at=utc_now() - timedelta(seconds=1))
    client.app.state.services.callers.clear()
    refused = client.get("/tasks", headers=headers)
    assert refused.status_code == 401
    assert refused.json()["type"] == PROBLEM + "key-expired"
    assert "'app' expired at" in refused.json()["detail"]


def test_a_mistyped_key_asks_no_database(client, service, make):
    (key,) = make().values()
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    with Statements(service.state.services.engine) as asked:
        refused = client.get("/tasks", headers={"Authorization": wrong})
    assert refused.status_code == 401
    assert refused.json()["type"] == PROBLEM + "key-mistyped"
    assert not asked.seen


def test_a_key_from_before_there_were_checksums_works(client, engine, settings):
    old = "sats_" + "aB3_" * 10 + "-_x"
    with write_session(engine) as session:
        row = ApiKey(name="old", digest=digest(read_secret(settings), old), scopes=["submit"])
        row.models = None  # as its row was before keys were bound to any
        session.add(row)
    assert client.get("/tasks", headers={"Authorization": f"Bearer {old}"}).status_code == 200


def used(engine):
    with read_session(engine) as session:
        return session.scalars(select(ApiKey.last_used_at)).one()


def test_the_last_use_is_written_once_a_minute(engine, make):
    make()
    clock = Clock()
    uses = LastUses(engine, clock)
    uses.note(1)
    uses.note(None)
    uses.close()
    first = used(engine)
    assert utc_now() - first < timedelta(minutes=1)
    other = LastUses(engine, clock)  # of another process, which does not know of the first
    other.note(1)
    set_by_other = used(engine)
    assert set_by_other == first
    set_columns(engine, last_used_at=utc_now() - timedelta(seconds=61))
    other.note(1)  # it has noted a use within this minute
    clock.now += 60
    other.note(1)
    other.close()
    assert used(engine) > first


def test_a_use_that_a_host_whose_clock_is_ahead_noted_keeps_no_later_one_out(
    engine, make, monkeypatch
):
    make()
    for ahead in (timedelta(days=1), timedelta()):
        with monkeypatch.context() as patch:
            set_ahead(patch, ahead)
            uses = LastUses(engine)
            uses.note(1)
            uses.close()
    assert used(engine) <= utc_now()


def test_noting_a_use_waits_for_no_database(engine, make):
    """A writer holds the only lock there is; whoever notes goes on."""
    make()
    uses = LastUses(engine)
    with write_session(engine) as session:
        session.scalars(select(ApiKey).with_for_update()).all()
        uses.note(1)
        uses.note(1)
        assert used(engine) is None
    uses.close()
    assert used(engine) is not None


def test_calls_with_a_key_note_its_use(client, service, engine, make):
    assert client.get("/tasks", headers=make()).status_code == 200
    service.state.services.last_uses.close()
    assert used(engine) is not None


def test_what_is_left_is_told_before_it_is_used_up():
    clock = Clock()
    rates = Rates(clock)
    caller = limited(requests_per_minute=4, pictures_per_minute=2)
    assert rates.headers(caller) == {
        "RateLimit-Policy": '"requests-per-minute";q=4;w=60, "pictures-per-minute";q=2;w=60',
        "RateLimit": '"requests-per-minute";r=4;t=0, "pictures-per-minute";r=2;t=0',
    }
    rates.request(caller)
    rates.first_picture(caller)
    clock.now += 5
    left = '"requests-per-minute";r=3;t=10, "pictures-per-minute";r=1;t=25'
    assert rates.headers(caller)["RateLimit"] == left
    assert rates.headers(limited(queued_tasks=1)) == {}
    assert rates.headers(Caller("", frozenset(Scope))) == {}


def test_answers_to_a_limited_key_say_what_is_left(client, make, register):  # noqa: F811
    register()
    headers = make(limits=KeyLimits(requests_per_minute=9, pictures_per_minute=5))
    picture = encoded(left_red_right_green(8, 8))
    answers = [
        client.post("/segment", headers=headers, **as_files(picture, picture)),
        client.get("/tasks", headers=headers),
        client.get("/classes?model=none", headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 404]
    for used, answer in enumerate(answers, 1):
        policies = '"requests-per-minute";q=9;w=60, "pictures-per-minute";q=5;w=60'
        assert answer.headers["ratelimit-policy"] == policies
        requests, pictures = answer.headers["ratelimit"].split(", ")
        assert requests.startswith(f'"requests-per-minute";r={9 - used};t=')
        assert pictures.startswith('"pictures-per-minute";r=3;t=')
    free = client.get("/tasks", headers=make("free", limits=KeyLimits(queued_tasks=1)))
    assert "ratelimit" not in free.headers


def test_the_limit_that_is_used_up_is_told_alone(client, make):
    headers = make(limits=KeyLimits(requests_per_minute=2, pictures_per_minute=5))
    refused = [client.get("/tasks", headers=headers) for _ in range(3)][-1]
    assert refused.status_code == 429
    assert refused.headers["ratelimit-policy"] == '"requests-per-minute";q=2;w=60'
