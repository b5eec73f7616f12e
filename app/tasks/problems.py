"""What cannot be done with a task in its present state."""

from app.errors import ConflictProblem


class TaskEndedProblem(ConflictProblem):
    """A task that has ended is not cancelled any more."""

    slug = "task-ended"
    title = "The task has ended"


class TaskNotEndedProblem(ConflictProblem):
    """A task that has not ended, or whose preview has not, is not deleted: cancel it first."""

    slug = "task-not-ended"
    title = "The task has not ended"


class TaskNotFailedProblem(ConflictProblem):
    """Only a failed task is tried again."""

    slug = "task-not-failed"
    title = "The task has not failed"


class TaskFilesGoneProblem(ConflictProblem):
    """What was posted with a failed task was removed, so that it cannot be tried again."""

    slug = "task-files-gone"
    title = "The task's files are gone"
