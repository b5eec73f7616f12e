"""What the service refuses, as exceptions. Web-free: the worker and the services raise them too.

`app.http.problems` turns them into `application/problem+json` (RFC 9457).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.errors.codes import Code
from sats_core.errors import CoreError, DatasetError
from sats_core.events import Fault

TYPE_PREFIX = "urn:sats:problem:"
_LONGEST_NAME = 200
_LONGEST_TEXT = 2000
"""Characters of names and sentences in an answer; strangers choose the names of files."""
DATASET = "dataset"


@dataclass(frozen=True)
class ErrorDetail:
    """One thing at fault, as it stands in a problem's `errors`.

    Attributes:
        message: what is wrong, one sentence.
        file: file of the posted data set.
        field: field, header or parameter of the request, dots between levels.
        class_name: class at fault; `class` in JSON.
        code: what is wrong in one word, for programs.
    """

    message: str
    file: str | None = None
    field: str | None = None
    class_name: str | None = None
    code: str = Code.INVALID

    def body(self) -> dict[str, str]:
        """Return the JSON object, without what is not known."""
        named = {"file": self.file, "field": self.field, "class": self.class_name}
        known = {name: _cut(value, _LONGEST_NAME) for name, value in named.items() if value}
        return known | {"code": str(self.code), "message": _cut(self.message, _LONGEST_TEXT)}


def _cut(text: str, most: int) -> str:
    """Return a text, of one that is longer its beginning and its end."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}...{text[3 - half :]}"


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """A fault of the service's own, and root of everything that is refused on purpose.

    The detail is written for the caller.
    """

    status: int = 500
    slug: str = "internal"
    title: str = "Something went wrong on our side"

    def __init__(self, detail: str, errors: Sequence[ErrorDetail] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)

    @property
    def headers(self) -> dict[str, str]:
        """Headers that go with the answer."""
        return {}

    def body(self) -> dict[str, Any]:
        """Return the problem as RFC 9457 spells it."""
        return {
            "type": TYPE_PREFIX + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": _cut(self.detail, _LONGEST_TEXT),
            "errors": [error.body() for error in self.errors],
        }


class BadRequestProblem(Problem):
    """The request cannot be read at all."""

    status = 400
    slug = "bad-request"
    title = "The request cannot be read"


class UnauthorizedProblem(Problem):
    """No key, or one that is not known."""

    status = 401
    slug = "unauthorized"
    title = "A valid API key is needed"

    @property
    def headers(self) -> dict[str, str]:
        """Name the scheme, as RFC 9110 asks."""
        return {"WWW-Authenticate": "Bearer"}


class ForbiddenProblem(Problem):
    """The key does not have the scope."""

    status = 403
    slug = "forbidden"
    title = "The API key does not allow this"


class NotFoundProblem(Problem):
    """No such thing."""

    status = 404
    slug = "not-found"
    title = "Not found"


class MethodNotAllowedProblem(Problem):
    """The path is known, the method is not."""

    status = 405
    slug = "method-not-allowed"
    title = "Method not allowed"


class NotAcceptableProblem(Problem):
    """Nothing that `Accept` names can be made."""

    status = 406
    slug = "not-acceptable"
    title = "No such representation"


class ConflictProblem(Problem):
    """Root of what is right in itself, but not in the present state.

    Each case is a class of its own, with a slug; this one is no case.
    """

    status = 409

    def __init_subclass__(cls) -> None:
        """Refuse a case without a slug of its own."""
        if "slug" not in vars(cls):
            raise TypeError(f"{cls.__name__} has no slug")

    def __init__(self, detail: str, errors: Sequence[ErrorDetail] = ()) -> None:
        if type(self) is ConflictProblem:
            raise TypeError("raise a case of it")
        super().__init__(detail, errors)


class NoLiveVersionProblem(ConflictProblem):
    """The model has no live version yet."""

    slug = "no-live-version"
    title = "The model has no live version"


class TooLargeProblem(Problem):
    """More bytes, pixels or pictures than the settings allow."""

    status = 413
    slug = "too-large"
    title = "Too large"


class UnsupportedMediaProblem(Problem):
    """The content type is none that the call reads."""

    status = 415
    slug = "unsupported-media-type"
    title = "Unsupported content type"


class InvalidProblem(Problem):
    """Readable, but wrong; `errors` names every file, field or class at fault."""

    status = 422
    slug = "invalid"
    title = "The request is not valid"


class InvalidDatasetProblem(InvalidProblem):
    """The posted data set cannot be used."""

    slug = "invalid-dataset"
    title = "The data set cannot be used"


class IdempotencyKeyReusedProblem(InvalidProblem):
    """The same Idempotency-Key came with another request."""

    slug = "idempotency-key-reused"
    title = "The Idempotency-Key was used for another request"


class BusyProblem(Problem):
    """There is more to do than can be done now; try again after `Retry-After` seconds."""

    status = 503
    slug = "overloaded"
    title = "Too much at once, try again later"

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Say when to come back."""
        return {"Retry-After": str(self.retry_after)}


class StoppingProblem(BusyProblem):
    """The service is being stopped; another process of it, or the next one, may answer."""

    slug = "stopping"
    title = "The service is being stopped"

    def __init__(self) -> None:
        super().__init__("the service is being stopped; come back in a second")


class UnavailableProblem(BusyProblem):
    """The database or the blob store does not answer; try again after `Retry-After` seconds."""

    slug = "unavailable"
    title = "A part of the service does not answer"


class DiskFullProblem(Problem):
    """Nothing can be written any more, or a task's step would not fit."""

    status = 507
    slug = "disk-full"
    title = "The disk is full"


class NotReadyProblem(Problem):
    """A part that the service stands on does not answer."""

    status = 503
    slug = "not-ready"
    title = "The service is not ready"

    @property
    def headers(self) -> dict[str, str]:
        """Say when to come back: what could not be loaded is tried again after as long."""
        return {"Retry-After": "5"}


def problem_of(error: CoreError) -> InvalidProblem:
    """Turn an error of the core, which is always wrong input, into a problem."""
    if isinstance(error, DatasetError):
        faults = [ErrorDetail(i.reason, i.file, None, i.class_name, i.code) for i in error.issues]
        # What no file is to blame for is the whole data set's fault.
        return InvalidDatasetProblem(
            error.message, faults or [ErrorDetail(error.message, field=DATASET)]
        )
    return InvalidProblem(str(error))


def problem_of_faults(message: str, faults: Sequence[Fault]) -> InvalidDatasetProblem:
    """Turn what a failed step says into a problem, for the task's `error`."""
    return InvalidDatasetProblem(
        message, tuple(ErrorDetail(f.reason, f.file, None, f.class_name, f.code) for f in faults)
    )
