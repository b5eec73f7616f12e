"""Tasks of a running service: `sats submit`, `tasks`, `watch`, `events`, `cancel`, `retry`."""

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.calling import Url, end_of, service
from app.cli.completing import complete_model, complete_task
from app.cli.printing import Form, Output, print_all, print_one
from app.cli.refusing import refusal
from app.cli.sending import sending
from sats_core.data.names import printable

if TYPE_CHECKING:
    from sats_client import Task
    from sats_client.records import TaskRecord


def _task_id(*states: str) -> Any:
    return typer.Argument(
        metavar="ID", help="The task's id.", autocompletion=complete_task(*states)
    )


_OF_A_CALL = ("dataset", "progress", "idempotency_key")
"""What the client takes beside a spec."""
AnyTask = Annotated[str, _task_id()]
OpenTask = Annotated[str, _task_id("queued", "running")]
FailedTask = Annotated[str, _task_id("failed")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until it has ended, and say how.")]


def submit(
    dataset: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="Labelled pictures: a folder or a zip.", exists=True),
    ],
    name: Annotated[str | None, typer.Option(help="What people call the task.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The model that learns.", autocompletion=complete_model)
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="A class to learn; again for more.")
    ] = None,
    create: Annotated[
        bool, typer.Option("--create", help="Make the model, if there is none of this name.")
    ] = False,
    method: Annotated[str | None, typer.Option(help="How the step fights forgetting.")] = None,
    spec: Annotated[str, typer.Option(help="The rest of the task's spec, as JSON.")] = "{}",
    wait: Wait = False,
    url: Url = None,
    output: Output = Form.TABLE,
) -> None:
    """Post labelled pictures of something new.

    Exits with 0, with 3 where the key does not allow it, 4 where it is refused, 5 where nobody
    answers. With --wait: 0 where its version is live, 10 where it is held, 11 where the task has
    failed, 12 where it was cancelled.
    """
    named = {
        "name": name,
        "model": model,
        "create": create or None,
        "classes": classes or None,
        "method": method,
    }
    given = read_spec(spec) | {key: value for key, value in named.items() if value is not None}
    with service(url) as client:
        with sending() as told:
            task = client.submit(dataset, **given, progress=told)
        finish(task, wait, output)


def read_spec(text: str, *apart: str) -> dict[str, Any]:
    """Return the JSON object of `--spec`.

    Args:
        text: what was typed.
        *apart: what cannot stand in it, as it is said otherwise or not at all.
    """
    try:
        found = json.loads(text, object_pairs_hook=_told_once)
    except (ValueError, RecursionError) as error:
        raise refusal(f"--spec is no JSON: {error}") from error
    except _TwiceError as error:
        raise refusal(f"--spec: {error} is there twice") from error
    if not isinstance(found, dict):
        raise refusal("--spec is no JSON object")
    for name in found.keys() & {*_OF_A_CALL, *apart}:
        raise refusal(f"--spec: {name} is no part of it here")
    return found


class _TwiceError(Exception):
    """A key comes twice in one object; its message is the key."""


def _told_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(printable(key))
        found[key] = value
    return found


def tasks(
    model: Annotated[
        str | None, typer.Option(help="Only of this model.", autocompletion=complete_model)
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only queued, running, succeeded, failed or cancelled ones."),
    ] = None,
    outcome: Annotated[str | None, typer.Option(help="Only live or held ones.")] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            help="-created_at (the newest first, the default), created_at, -finished_at or "
            "finished_at: those that have ended."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="Most tasks.", min=1)] = 20,
    url: Url = None,
    output: Output = Form.TABLE,
) -> None:
    """List tasks, the newest first."""
    with service(url) as client:
        found = client.tasks(model=model, state=state or None, outcome=outcome, sort=sort)
        print_all(islice(found, limit), output, _row, _id)


def watch(task_id: OpenTask, url: Url = None, output: Output = Form.TABLE) -> None:
    """Follow a task to its end; exits as `submit --wait` does."""
    with service(url) as client:
        finish(client.task(task_id), True, output)


def events(
    task_id: AnyTask,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only these: task.epoch are its curves; again for more."),
    ] = None,
    url: Url = None,
    output: Output = Form.TABLE,
) -> None:
    """List all that has happened to a task so far, the oldest first; progress until it ends."""
    with service(url) as client:
        print_all(client.task(task_id).events(*kinds or ()), output, _event_row, _id)


def cancel(task_id: OpenTask, url: Url = None, output: Output = Form.TABLE) -> None:
    """Cancel a task."""
    with service(url) as client:
        print_task(client.task(task_id).cancel(), output)


def retry(
    task_id: FailedTask, wait: Wait = False, url: Url = None, output: Output = Form.TABLE
) -> None:
    """Queue a failed task again; it goes on from its last checkpoint."""
    with service(url) as client:
        finish(client.task(task_id).retry(), wait, output)


def finish(task: "Task", wait: bool, output: Form) -> None:
    """Print a task as it is, or once it has ended; then the exit status says how."""
    if wait:
        raise typer.Exit(end_of(ended(task, output)))
    print_task(task, output)


def ended(task: "Task", output: Form) -> "TaskRecord":
    """Follow a task, print it once it has ended, and return it as it is then."""
    last = followed(task)
    print_task(last, output)
    return last


def print_task(task: "TaskRecord", output: Form) -> None:
    """Print a task as it is."""
    print_one(task, output, _row, _id)


def followed(task: "Task") -> "TaskRecord":
    """Follow a task, in words on stderr, and return it as it is once it has ended."""
    from sats_client import TaskCancelled, TaskFailed

    typer.echo(f"task {task.id}", err=True)
    if task.waiting_for:
        typer.echo(f"it waits: {task.waiting_for}", err=True)
    last: TaskRecord
    try:
        last = task.wait(progress=True)
    except (TaskFailed, TaskCancelled) as end:
        typer.echo(f"sats: {end}", err=True)
        last = end.task
    if last.held:
        named = f"{last.model}@{last.version}"
        typer.echo(
            f"its version was held: `sats show {named}` says why, and `sats promote {named}` "
            "serves it all the same",
            err=True,
        )
    return last


def _row(task: Any) -> dict[str, object]:
    return {
        "id": task.id,
        "name": task.name,
        "model": task.model,
        "state": task.phase or task.state,
        "outcome": task.outcome,
        "version": task.version,
        "posted": task.created_at,
    }


def _event_row(event: Any) -> dict[str, object]:
    data = {key: value for key, value in event.data.items() if value is not None}
    return {"id": event.id, "at": event.at, "type": event.type, "data": json.dumps(data)}


def _id(task: Any) -> str:
    return str(task.id)
