"""What may be wrong with a key, or is too much for it."""

from app.errors import ConflictProblem, ForbiddenProblem, Problem, UnauthorizedProblem


class MistypedKeyProblem(UnauthorizedProblem):
    """The key's checksum does not fit: it was mistyped or cut short."""

    slug = "key-mistyped"
    title = "The API key is mistyped"


class ExpiredKeyProblem(UnauthorizedProblem):
    """The key worked until its end came."""

    slug = "key-expired"
    title = "The API key has expired"


class KeyNameTakenProblem(ConflictProblem):
    """A key of this name was made before, and may have been revoked since."""

    slug = "key-name-taken"
    title = "There is a key of this name"


class LimitProblem(Problem):
    """Root of what is over a limit of the key.

    Args:
        detail: for the caller.
        retry_after: seconds after which to come back.
        limit: how much may be.
        left: how much of it is left, too little.
    """

    status = 429
    policy: str
    window: int | None = None
    """Seconds that the limit is for; None: it counts what there is, not what came."""

    def __init__(self, detail: str, retry_after: int, limit: int, left: int = 0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.limit = limit
        self.left = left

    @property
    def headers(self) -> dict[str, str]:
        """Say when to come back, and what the limit is."""
        return {
            "Retry-After": str(self.retry_after),
            "RateLimit-Policy": self.policy_of(self.limit),
            "RateLimit": self.left_of(self.left, self.retry_after),
        }

    @classmethod
    def policy_of(cls, limit: int) -> str:
        """Return how much may be, as draft-ietf-httpapi-ratelimit-headers spells it."""
        window = "" if cls.window is None else f";w={cls.window}"
        return f'"{cls.policy}";q={limit}{window}'

    @classmethod
    def left_of(cls, left: int, seconds: int) -> str:
        """Return how much is left, and in how many seconds there is more."""
        return f'"{cls.policy}";r={left};t={seconds}'


class RequestLimitProblem(LimitProblem):
    """The key has sent as many requests as it may in a minute."""

    slug = "limit-requests-per-minute"
    policy = "requests-per-minute"
    window = 60
    title = "The API key's requests per minute are used up"


class PictureLimitProblem(LimitProblem):
    """The key has sent as many pictures as it may in a minute."""

    slug = "limit-pictures-per-minute"
    policy = "pictures-per-minute"
    window = 60
    title = "The API key's pictures per minute are used up"


class ConcurrencyLimitProblem(LimitProblem):
    """As many requests with pictures of the key are being answered as may be at a time."""

    slug = "limit-concurrent-requests"
    policy = "concurrent-requests"
    title = "The API key has too many requests under way"


class TaskLimitProblem(LimitProblem):
    """As many tasks of the key wait as may."""

    slug = "limit-queued-tasks"
    policy = "queued-tasks"
    title = "The API key has too many queued tasks"


class ByteLimitProblem(LimitProblem):
    """The key's tasks keep as many bytes as they may."""

    slug = "limit-stored-bytes"
    policy = "stored-bytes"
    title = "The API key's tasks keep too many bytes"


class UploadLimitProblem(LimitProblem):
    """The key has as many large uploads as may be open at a time."""

    slug = "limit-open-uploads"
    policy = "open-uploads"
    title = "The API key has too many open uploads"


KEY_PROBLEMS: tuple[type[Problem], ...] = (
    UnauthorizedProblem,
    MistypedKeyProblem,
    ExpiredKeyProblem,
    ForbiddenProblem,
    RequestLimitProblem,
)
"""What any call that needs a key may answer."""
PICTURE_PROBLEMS: tuple[type[Problem], ...] = (PictureLimitProblem, ConcurrencyLimitProblem)
"""What any call with pictures to segment may answer beside."""
