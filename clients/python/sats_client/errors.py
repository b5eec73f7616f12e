"""What can go wrong: all of it is a `SatsError`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sats_client.records import TaskRecord

PREFIX = "urn:sats:problem:"


class SatsError(Exception):
    """Root of everything that this package raises on purpose."""


class Unreachable(SatsError):
    """The service does not answer, or a proxy says so for it (502, 504)."""


class BadAnswer(SatsError):
    """What answers is no SATS service, or one of another time."""


class Damaged(SatsError):
    """A downloaded file is not what the service says that it has."""


class TimedOut(SatsError, TimeoutError):
    """A task has not ended within the time that its caller gave it. It goes on."""


@dataclass(frozen=True)
class ErrorDetail:
    """One thing at fault.

    Attributes:
        message: what is wrong, one sentence, for people.
        code: the same for programs: `missing`, `unknown`, `too_large`, ...
        file: of the posted data set or request.
        field: of the request.
        class_: of the data set.
    """

    message: str
    code: str = "invalid"
    file: str | None = None
    field: str | None = None
    class_: str | None = None

    def __str__(self) -> str:
        place = self.file or self.field or self.class_
        return self.message if place is None else f"{place}: {self.message}"


class Problem(SatsError):
    """The service refused (RFC 9457).

    Attributes:
        status: of HTTP.
        type: URN of the kind of problem; never changes its meaning.
        slug: its last part; empty where it was not the service that refused.
        title: the kind of problem in words.
        detail: what is wrong this time.
        errors: every file, field or class at fault that is known.
        request_id: under which the service's log tells more.
        retry_after: seconds after which to come back; None where the answer does not say.
    """

    def __init__(
        self,
        status: int,
        type: str,
        title: str,
        detail: str,
        errors: tuple[ErrorDetail, ...] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(status, type, title, detail, errors, request_id, retry_after)
        self.status = status
        self.type = type
        self.title = title
        self.detail = detail
        self.errors = errors
        self.request_id = request_id
        self.retry_after = retry_after

    @property
    def slug(self) -> str:
        """The kind of problem in one word."""
        return self.type.removeprefix(PREFIX) if self.type.startswith(PREFIX) else ""

    def __str__(self) -> str:
        said = [f"{self.detail} (HTTP {self.status})"]
        told = (str(error) for error in self.errors)
        return "\n  ".join([*said, *(line for line in told if line not in self.detail)])


class Refused(Problem):
    """The request, or what came with it, is wrong: sent again it is refused again."""


class AccessDenied(Problem):
    """No key, a wrong one, or one that does not allow this (401, 403)."""


class NotFound(Problem):
    """There is no such task, model, version or file (404)."""


class Conflict(Problem):
    """It cannot be done as things stand (409), or they have changed meanwhile (412)."""


class Overloaded(Problem):
    """There is more to do than can be done now, or than the key may ask for (429, 503)."""


_MEANINGS: dict[int, type[Problem]] = {
    **dict.fromkeys((401, 403), AccessDenied),
    404: NotFound,
    **dict.fromkeys((409, 412), Conflict),
    **dict.fromkeys((429, 503), Overloaded),
}


def problem_class(status: int) -> type[Problem]:
    """Return the class that says what a status means."""
    return _MEANINGS.get(status, Refused if 400 <= status < 500 else Problem)


class TaskEnded(SatsError):
    """Root of the ends of a task that leave no version.

    Attributes:
        task: as it ended.
    """

    def __init__(self, task: "TaskRecord") -> None:
        super().__init__(task)
        self.task = task


class TaskFailed(TaskEnded):
    """The task has failed; `task.error` says why, and names every file or class at fault."""

    def __str__(self) -> str:
        error = self.task.error
        if error is None:
            return f"task {self.task.id} failed"
        return "\n  ".join([f"task {self.task.id} failed: {error.detail}", *map(str, error.errors)])


class TaskCancelled(TaskEnded):
    """Somebody has cancelled the task."""

    def __str__(self) -> str:
        return f"task {self.task.id} was cancelled"
