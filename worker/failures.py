"""Why a task fails through no fault of what was posted."""

from app.errors import Problem


class WorkerLostProblem(Problem):
    """A task was started as often as the settings allow and got no further."""

    slug = "step-lost"
    title = "The step was lost too often"
