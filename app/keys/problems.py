"""What may be wrong with a key, or is too much for it."""

from app.errors import ForbiddenProblem, Problem, UnauthorizedProblem


class MistypedKeyProblem(UnauthorizedProblem):
    """The key's checksum does not fit: it was mistyped or cut short."""

    slug = "key-mistyped"
    title = "The API key is mistyped"


class ExpiredKeyProblem(UnauthorizedProblem):
    """The key worked until its end came."""

    slug = "key-expired"
    title = "The API key has expired"


class LimitProblem(Problem):
    """A limit of the key is reached; the caller may come back after `retry_after` seconds."""

    status = 429

    def __init__(self, detail: str, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Say when to come back."""
        return {"Retry-After": str(self.retry_after)}


class RequestLimitProblem(LimitProblem):
    """The key has sent as many requests as it may in a minute."""

    slug = "limit-requests-per-minute"
    title = "The API key's requests per minute are used up"


class PictureLimitProblem(LimitProblem):
    """The key has sent as many pictures as it may in a minute."""

    slug = "limit-pictures-per-minute"
    title = "The API key's pictures per minute are used up"


class TaskLimitProblem(LimitProblem):
    """As many tasks of the key wait as may."""

    slug = "limit-queued-tasks"
    title = "The API key has too many queued tasks"


class ByteLimitProblem(LimitProblem):
    """The key's tasks keep as many bytes as they may."""

    slug = "limit-stored-bytes"
    title = "The API key's tasks keep too many bytes"


KEY_PROBLEMS: tuple[type[Problem], ...] = (
    UnauthorizedProblem,
    MistypedKeyProblem,
    ExpiredKeyProblem,
    ForbiddenProblem,
    RequestLimitProblem,
)
"""What any call that needs a key may answer."""
