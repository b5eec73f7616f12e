"""The Hugging Face hub, by its own client; which is brought along for no other command."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.cli.calling import Exit
from app.cli.refusing import REFUSED

SILENCE_SECONDS = 60.0
"""How long the hub may say nothing. By itself its client waits for ever."""


class HubError(Exception):
    """The hub does not take it.

    Attributes:
        status: the command's exit status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def push_files(
    repository: str,
    files: Mapping[str, Path | bytes],
    message: str,
    token: str | None,
    *,
    private: bool,
) -> str:
    """Commit files to a repository of models, all at once; make it if it is not there.

    Args:
        repository: `owner/name`.
        files: name there -> file, or bytes.
        message: the commit's.
        token: None: the one that the hub's client finds.
        private: whether the repository must be private.

    Returns:
        The commit's address.

    Raises:
        HubError: it is not taken; the repository may have been made.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    with _told(token):
        hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token)
        _lose_patience()
        made = hub.create_repo(repository, private=private or None, exist_ok=True)
        if private and not hub.model_info(made.repo_id).private:
            raise HubError(f"{made.repo_id} is there already, and public", Exit.REFUSED)
        adding = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
            for name, content in files.items()
        ]
        done = hub.create_commit(made.repo_id, adding, commit_message=message)
    return done.commit_url


def _lose_patience() -> None:
    from huggingface_hub import get_session

    # One client for all of its calls. Those that may be sent again are, five times.
    get_session().timeout = SILENCE_SECONDS


@contextmanager
def _told(token: str | None) -> Iterator[None]:
    """Say by exit status what went wrong; the token is in no message."""
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except HubError:
        raise
    except HFValidationError as error:
        raise HubError(str(error), REFUSED) from error
    except Exception as error:
        # Its errors, and those of whatever it asks with, have no class in common.
        cause = error
        # An upload that failed in a thread is the cause of what its thread raised.
        while isinstance(cause, RuntimeError) and isinstance(cause.__cause__, Exception):
            cause = cause.__cause__
        status = _status(cause)
        if status is None:
            raise
        said = str(error) if cause is error else f"{error} {cause}"
        if getattr(cause, "response", None) is None and status == Exit.UNREACHABLE:
            said = f"the hub does not answer: {said}"
        raise HubError(_without(said, token), status) from error


def _status(error: Exception) -> int | None:
    """Return the exit status for what the hub said or did not say; None: it is no word of it."""
    from huggingface_hub.errors import LocalTokenNotFoundError

    answer = getattr(error, "response", None)
    if isinstance(error, LocalTokenNotFoundError):
        return Exit.ACCESS
    if answer is None:
        return Exit.UNREACHABLE if _of_the_network(error) else None
    if answer.status_code in (401, 403):
        return Exit.ACCESS
    known = 400 <= answer.status_code < 500 and answer.status_code not in (408, 429)
    return Exit.REFUSED if known else Exit.UNREACHABLE


def _of_the_network(error: Exception) -> bool:
    from huggingface_hub.errors import HfHubHTTPError

    # Its own error is one of whatever client it asks with, which has changed over its versions.
    # Large files go up by a library that raises RuntimeError whatever happens to it.
    return isinstance(error, OSError | RuntimeError | HfHubHTTPError.__bases__[0])


def _without(text: str, token: str | None) -> str:
    from huggingface_hub import get_token

    for secret in filter(None, (token, get_token())):
        text = text.replace(secret, "***")
    return " ".join(text.split())[:1000]
