"""What every post of a task does: stage its files, have them checked, queue and store them."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Engine

from app.audit.actor import COMMAND, act_as
from app.db import Actor, read_session, write_session
from app.storage import Blob, BlobStore, StagedBlob
from app.storage.references import lock_blobs
from app.storage.sending import enter_with, send
from app.tasks.schemas import TaskJson
from app.tasks.service import describe
from app.tasks.submission import Submission, find_replay, submit
from app.uploads.large import check_held, spend
from app.uploads.staging import sent_before, staged


@dataclass(frozen=True)
class Acceptance:
    """How tasks are accepted: over HTTP and on the command line alike.

    Attributes:
        engine: the database.
        blobs: where the files go.
        most: bytes that any file may have.
        actor: who posts.
    """

    engine: Engine
    blobs: BlobStore
    most: int
    actor: Actor = COMMAND

    def accept(
        self,
        files: Mapping[str, BinaryIO | Blob],
        make: Callable[[Mapping[str, Blob]], Submission],
        check: Callable[[Mapping[str, Path]], None],
    ) -> tuple[TaskJson, bool]:
        """Queue a task; returns it and whether the same request had made it before.

        Args:
            files: what was posted, by field; a blob: it is stored already, and no row's yet.
            make: makes the submission of the staged files.
            check: judges them, each at a path of its own, by field; a blob has none. Not asked
                about a replay: by now the model may know what the task taught it. It takes as long
                as the files are large, so that nobody holds a connection for it.

        Raises:
            TooLargeProblem: a file is longer than it may be.
            UploadGoneProblem: a blob is not there any more, or not its key's.
            Problem, CoreError: whatever `check` raises.

        A file comes into the store together with the task that refers to it. Whatever is raised
        leaves the store as it was: somebody else may have stored the same bytes.
        """
        with ExitStack() as stack:
            found = {
                field: stack.enter_context(self._staged(field, file))
                for field, file in files.items()
            }
            submission = make({field: one.blob for field, one in found.items()})
            with read_session(self.engine) as session:
                known = find_replay(session, submission) is not None
            if not known:
                check({field: one.path for field, one in found.items() if one.path is not None})
                send(found.values())
            return enter_with(found.values(), lambda: self._queue(submission, found.values()))

    def _queue(
        self, submission: Submission, found: Collection[StagedBlob]
    ) -> tuple[TaskJson, bool]:
        with write_session(self.engine) as session:
            act_as(session, self.actor)
            lock_blobs(session, [one.blob.key for one in found])
            if find_replay(session, submission) is None:
                for one in found:  # before any row is locked: a store may be silent
                    one.confirm()
                    if one.path is None:
                        check_held(session, submission.key_id, one.blob.key)
            task, replayed = submit(session, submission)
            if not replayed:
                for one in found:
                    one.publish()
                    if one.path is None:  # it was in the store: its key had sent it before
                        spend(session, submission.key_id, one.blob.key)
            return describe(session, task), replayed

    @contextmanager
    def _staged(self, field: str, file: BinaryIO | Blob) -> Iterator[StagedBlob]:
        if isinstance(file, Blob):
            yield sent_before(self.blobs, file)
        else:
            with staged(self.blobs, field, file, self.most) as one:
                yield one
