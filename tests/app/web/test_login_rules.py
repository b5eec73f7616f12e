"""What decides about a login, by itself."""

import pytest

from app.http import sessions
from app.http.sessions import make_session, read_session
from app.web.attempts import MOST_FAILED, Attempts, TooManyAttemptsProblem
from app.web.login import own_path

SECRET = b"secret"


def test_paths_of_ours_are_kept() -> None:
    for path in ("/", "/ui/tasks?state=live&text=a%2Fb", "/ui/models/default/versions/3#files"):
        assert own_path(path) == path


def test_a_session_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    value = make_session(SECRET, "holder")
    assert read_session(SECRET, value) == "holder"
    ends = int(value.split(".")[0])
    monkeypatch.setattr(sessions.time, "time", lambda: ends + 1)
    assert read_session(SECRET, value) is None


def test_attempts_are_forgotten_in_time_and_in_number() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    for _ in range(MOST_FAILED):
        attempts.failed("a")
    attempts.check("b")
    with pytest.raises(TooManyAttemptsProblem):
        attempts.check("a")
    now[0] = 60.0
    attempts.check("a")
    for number in range(5000):
        attempts.failed(str(number))
    assert len(attempts._failed) == 4096
