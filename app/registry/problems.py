"""What cannot be done with a version in its present state."""

from app.errors import ConflictProblem, NotFoundProblem, Problem


class UnknownModelProblem(NotFoundProblem):
    """A task or an import names a model that is not there, and does not say to make it."""

    slug = "model-not-found"
    title = "There is no such model"


class AlreadyLiveProblem(ConflictProblem):
    """The version that is to be promoted is the live one."""

    slug = "already-live"
    title = "The version is live already"


class MovedMeanwhileProblem(Problem):
    """The alias does not stand as `If-Match` says: it was moved since, or never."""

    status = 412
    slug = "moved-meanwhile"
    title = "The alias was moved meanwhile"


class NotLiveProblem(ConflictProblem):
    """Only the live version can be rolled back."""

    slug = "not-live"
    title = "The version is not live"


class NothingBeforeProblem(ConflictProblem):
    """Nothing was live before the version that is to be rolled back, or it was deleted."""

    slug = "nothing-to-roll-back-to"
    title = "There is no version to roll back to"


class VersionInUseProblem(ConflictProblem):
    """The version is live, another one was learned from it, or a task starts from it."""

    slug = "version-in-use"
    title = "The version is in use"
