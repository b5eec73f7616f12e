"""What a shell is told of a service: models, versions and tasks, for a word that was begun.

The service is the one that the command would ask. Nobody waits long for it, and where it does not
answer, or the key may not look, the shell is told nothing: there is no place to say why.

What is told may be run: zsh's script hands it to `eval`, and so do others. So nothing goes there
that somebody else may write freely, as the name of a task.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import islice, pairwise
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from typer.core import TyperCommand

from app.cli.logins import LoginsError, who_is_asked

if TYPE_CHECKING:
    from sats_client import Client

PATIENCE_SECONDS = 0.8
MOST = 50
"""Versions or tasks that are offered: the newest."""
PLAIN = re.compile(r"[A-Za-z0-9._@-]+")
"""What a word may be of that no shell reads anything into; others are not offered."""
PLAIN_HELP = re.compile(r"[a-z ]*")
"""And what is said of it: words of ours, never a name."""


class Word(NamedTuple):
    """A word that is offered, and what is said of it where a shell shows that."""

    value: str
    help: str


Found = Sequence[Word]


def complete_model(ctx: typer.Context, incomplete: str) -> Found:
    """Return the service's models that begin so."""
    return _asked(ctx, lambda client: _models(client, incomplete))


def complete_version(ctx: typer.Context, incomplete: str) -> Found:
    """Return models that begin so, and the versions of the only one, as `MODEL@N`."""

    def ask(client: "Client") -> Found:
        name, at, _ = incomplete.partition("@")
        if at:
            return _versions(client, name)
        models = _models(client, name)
        return models + (_versions(client, models[0].value) if len(models) == 1 else [])

    return [one for one in _asked(ctx, ask) if one.value.startswith(incomplete)]


def complete_task(*states: str) -> Callable[..., Found]:
    """Return what completes ids of tasks in one of some states."""

    def complete(ctx: typer.Context, incomplete: str) -> Found:
        def ask(client: "Client") -> Found:
            tasks = islice(client.tasks(state=states), MOST)
            return [Word(one.id, one.state) for one in tasks]

        return [one for one in _asked(ctx, ask) if one.value.startswith(incomplete)]

    return complete


class Command(TyperCommand):
    """A command to which bash hands `MODEL@N` in three words, and takes what begins with the `@`.

    To readline, which completes names of hosts by it, an `@` begins a word. Where records are
    printed, `--json` is short for `--output json`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what was asked for."""
        if any(one.name == "output" and isinstance(one.default, StrEnum) for one in self.params):
            args = list(self._written_out(args))
        return super().parse_args(ctx, args)

    def _written_out(self, args: Sequence[str]) -> Iterator[str]:
        """Yield arguments, `--output=json` for a `--json` that is no other one's value."""
        valued = {
            name
            for one in self.params
            if one.param_type_name == "option" and not getattr(one, "is_flag", False)
            for name in (*one.opts, *one.secondary_opts)
        }
        end = args.index("--") if "--" in args else len(args)
        for place, (before, one) in enumerate(pairwise(["", *args])):
            is_short = one == "--json" and place < end and before not in valued
            yield "--output=json" if is_short else one

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Complete the number behind `MODEL@`, else what there is to complete."""
        model, behind = ctx.params.get("named"), [*ctx.args, incomplete]
        if model is None or behind[0] != "@" or len(behind) > 2:
            return super().shell_complete(ctx, incomplete)
        begun = f"{model}@{''.join(behind[1:])}"
        found = complete_version(ctx, begun)
        return [Word(word.removeprefix(model), said) for word, said in found]


def _models(client: "Client", begun: str) -> list[Word]:
    models = client.overview().models
    return [Word(one.name, "a model") for one in models if one.name.startswith(begun)]


def _versions(client: "Client", model: str) -> list[Word]:
    versions = islice(client.versions(model), MOST)
    return [
        Word(f"{model}@{one.number}", "live" if one.live else "not live")
        for one in versions
        if one.deleted_at is None
    ]


def _asked(ctx: typer.Context, ask: Callable[["Client"], Found]) -> Found:
    """Return the plain words of what a service says within a moment; nothing if anything fails."""
    try:
        from httpx import InvalidURL

        from sats_client import DEFAULT_URL, Client, SatsError
    except ImportError:
        return []
    url = ctx.params.get("url") or os.environ.get("SATS_URL", "").strip() or None
    try:
        client = Client(*who_is_asked(url, DEFAULT_URL), timeout=PATIENCE_SECONDS, tries=1)
    except (LoginsError, ValueError):  # no file of logins, no address
        return []
    except (ImportError, InvalidURL, OSError):  # no proxy, no certificates
        return []
    answers: Queue[Found] = Queue()

    def answer() -> None:
        try:
            with client:
                answers.put(ask(client))
        except (SatsError, OSError, ValueError):  # whatever it is, whoever types did not ask
            answers.put([])

    # Left behind where it takes too long: it ends with the process.
    Thread(target=answer, daemon=True).start()
    try:
        found = answers.get(timeout=PATIENCE_SECONDS)
    except Empty:
        return []
    return [one for one in found if PLAIN.fullmatch(one.value) and PLAIN_HELP.fullmatch(one.help)]
