"""What every post of a task does: store its files, have them checked, queue it, wake a worker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.db import read_session, write_session
from app.errors import ProblemError, TooLargeProblem
from app.storage import Blob, BlobMissingError, BlobStore, TooLargeError
from app.tasks.schemas import TaskJson
from app.tasks.service import describe
from app.tasks.submission import Submission, find_replay, submit
from app.tasks.uploads import drop_upload, hold_upload


@dataclass(frozen=True)
class Acceptance:
    """How tasks are accepted: over HTTP and on the command line alike.

    Attributes:
        engine: the database.
        blobs: where the files go.
        most: bytes that any file may have.
    """

    engine: Engine
    blobs: BlobStore
    most: int

    def accept(
        self,
        files: Mapping[str, BinaryIO],
        make: Callable[[Mapping[str, Blob]], Submission],
        check: Callable[[Session, Submission], None],
    ) -> tuple[TaskJson, bool]:
        """Queue a task; returns it and whether the same request had made it before.

        Args:
            files: what was posted, by field.
            make: makes the submission of the stored files.
            check: judges it; not asked about a replay: by now the model may know what the task
                taught it.

        Raises:
            TooLargeProblem: a file is longer than it may be.
            Problem, CoreError: whatever `check` raises.

        Whatever is raised, no file is kept.
        """
        stored: dict[str, Blob] = {}
        try:
            for field, file in files.items():
                stored[field] = self._store(field, file)
            submission = make(stored)
            with read_session(self.engine) as session:
                if find_replay(session, submission) is None:
                    self._keep(files, stored)
                    check(session, submission)
            with write_session(self.engine) as session:
                for blob in submission.uploads:
                    hold_upload(session, blob.key)
                task, replayed = submit(session, submission)
                self._keep(files, stored)
                answer = describe(session, [task])[0]
        except Exception:
            self.drop(*(blob.key for blob in stored.values()))
            raise
        if replayed:
            self.drop(*(blob.key for blob in stored.values()))
        return answer, replayed

    def drop(self, *keys: str) -> None:
        """Remove blobs that were posted, but those that somebody else needs."""
        for key in sorted(set(keys)):
            with write_session(self.engine) as session:
                drop_upload(session, self.blobs, key)

    def _store(self, field: str, file: BinaryIO) -> Blob:
        try:
            return self.blobs.put(file, self.most)
        except TooLargeError as error:
            fault = ProblemError(f"more than {self.most} bytes", field=field)
            raise TooLargeProblem(f"`{field}` has more than {self.most} bytes", [fault]) from error

    def _keep(self, files: Mapping[str, BinaryIO], stored: Mapping[str, Blob]) -> None:
        # A task with the same file may have ended, or another post of it been refused, and taken
        # it away since we stored it.
        for field, blob in stored.items():
            try:
                self.blobs.path(blob.key)
            except BlobMissingError:
                files[field].seek(0)
                self.blobs.put(files[field])
