"""The data's part of `forget`: pictures of retired classes are deleted once their version is live.

Rows first, bytes after, as of every deletion (decision 17), and the receipt last (decision 26):

    waits ── rows say that the pictures are gone, `receipt` says which ──► begun
    begun ── bytes are deleted, the receipt is signed and written down ──► done

Whoever dies in between leaves the rest to the next sweep, of any worker.
"""

import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from sqlalchemy import Engine, and_, or_, select
from sqlalchemy.orm import Session

from app.audit.actor import act_as, actor_of
from app.audit.service import Action, record
from app.db import (
    Actor,
    ActorType,
    Erasure,
    Place,
    Task,
    Version,
    present,
    read_session,
    write_session,
)
from app.db.base import JsonObject
from app.deletion.freeing import free
from app.deletion.service import Removal
from app.records.stored import read_stored
from app.registry.service import lock_model
from app.retirement.kept_pictures import Kept, Zip, left_alone, pictures_of
from app.retirement.letting_go import Cut, MovedOnError, Upload, give_up, replace, take_back
from app.retirement.purging import Purged, purge
from app.retirement.receipts import signed
from app.retirement.records import Deleted, Receipt, RetiredClass, Retirement, person
from app.retirement.waiting import is_due
from app.settings import Settings
from app.storage import BlobDamagedError, BlobMissingError, BlobStore, SentInVainError
from app.storage.references import lock_blobs
from app.uploads.datasets import posted_classes
from sats_core.errors import DatasetError

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Erasing:
    """Deletes what is to be deleted. Any number of workers may do it at once.

    Attributes:
        engine: the database.
        stores: every place that pictures are kept in.
        settings: the process's settings.
        secret: what receipts are signed with.
        worker: who deletes.
        stopping: set it to leave the rest to the next sweep, of any worker: asked between zips.
    """

    engine: Engine
    stores: Mapping[Place, BlobStore]
    settings: Settings
    secret: bytes
    worker: str
    stopping: threading.Event = field(default_factory=threading.Event)

    def act(self) -> None:
        """Bring every deletion that is due to its end, or as far as it comes now.

        Raises:
            BlobStoreDownError: a store does not answer; what was begun goes on at the next call.
        """
        for version_id in self._open():
            if self.stopping.is_set():
                return
            try:
                if self._is_due(version_id):
                    self._begin(version_id)
                self._finish(version_id)
            except (MovedOnError, SentInVainError) as moved:
                log.info("erasure_put_off", version=version_id, reason=str(moved))

    def _open(self) -> Sequence[int]:
        waits = and_(Version.erasure == Erasure.WAITS, Version.deleted_at.is_(None))
        wanted = select(Version.id).where(or_(Version.erasure == Erasure.BEGUN, waits))
        with read_session(self.engine) as session:
            return session.scalars(wanted.order_by(Version.id)).all()

    def _is_due(self, version_id: int) -> bool:
        with read_session(self.engine) as session:
            return is_due(session, session.get_one(Version, version_id))

    def _begin(self, version_id: int) -> None:
        """Say in the rows that the pictures are gone, and in the receipt which.

        Raises:
            MovedOnError: it is not due any more, or other pictures are kept than were looked at.
        """
        with read_session(self.engine) as session:
            version = session.get_one(Version, version_id)
            retirement = read_stored(Retirement, version.retirement or {})
            kept = Kept.of(session, version.model_id, retirement)
            own = session.get_one(Task, version.task_id)
        unreached = {one.place for one in kept.zips} - set(self.stores)
        if unreached:
            raise MovedOnError("pictures lie in a memory folder: set SATS_MEMORY_DIR to it")
        failed = [one for one in kept.failed if self._may_show(pictures_of(one), retirement)]
        uploads = [self._upload(one) for one in (own, *failed) if pictures_of(one)]
        sent = {one.id for one, _ in kept.sent if self._may_show(one.blob, retirement)}
        self.settings.incoming_dir.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            scratch = tempfile.TemporaryDirectory(dir=self.settings.incoming_dir)
            cuts = self._cut(kept.zips, Path(stack.enter_context(scratch)), stack)
            staged = [cut.staged for cut in cuts if cut.staged is not None]
            for one in staged:
                one.send()
            with write_session(self.engine) as session:
                act_as(session, self._actor)
                lock_blobs(session, [one.blob.key for one in staged])
                for one in staged:
                    one.confirm()
                deleted = [item for one in uploads for item in give_up(session, one)]
                version = self._locked(session, version_id)
                now = Kept.of(session, version.model_id, retirement)
                if kept.lacks(now):
                    raise MovedOnError("more pictures are kept than were looked at")
                deleted += take_back(
                    session, [one for one in now.sent if one[0].id in sent], deleted
                )
                deleted += [replace(session, cut) for cut in cuts]
                version.receipt = self._receipt(session, version, retirement, deleted)
                version.erasure = Erasure.BEGUN
                for one in staged:
                    one.publish()

    def _cut(self, zips: Sequence[Zip], folder: Path, stack: ExitStack) -> list[Cut]:
        found = []
        for number, kept in enumerate(zips):
            self._go_on()
            store, target = self.stores[kept.place], folder / f"{number}.zip"
            size = None
            purged: Purged | None = Purged(None, 0, {})
            with suppress(BlobMissingError):  # apart: what is damaged is there, and has a size
                size = store.size(kept.row.blob)
            with suppress(BlobMissingError, BlobDamagedError):
                path, limits = store.path(kept.row.blob), self.settings.limits
                purged = purge(path, target, kept.names, kept.useless, limits)
            if purged is None:
                continue
            staged = None
            if purged.left:
                stream = stack.enter_context(target.open("rb"))
                staged = stack.enter_context(store.stage(stream))
            found.append(Cut(kept, purged, staged, size))
        return found

    def _upload(self, task: Task) -> Upload:
        key, size = str(pictures_of(task)), None
        with suppress(BlobMissingError):
            size = self.stores[Place.BLOB_STORE].size(key)
        return Upload(task.id, key, size)

    def _may_show(self, key: str | None, retirement: Retirement) -> bool:
        """Whether posted pictures are labelled for a retired class, or nobody can tell."""
        if key is None:
            return False
        self._go_on()
        try:
            path = self.stores[Place.BLOB_STORE].path(key)
            labelled = posted_classes(path, self.settings.limits)
        except BlobMissingError:
            return False
        except (BlobDamagedError, DatasetError):
            return True
        return labelled is None or not set(labelled).isdisjoint(retirement.retired)

    def _go_on(self) -> None:
        if self.stopping.is_set():
            raise MovedOnError("the worker stops")

    def _locked(self, session: Session, version_id: int) -> Version:
        """Lock a version's model, and look once more whether its deletion is due."""
        version = session.get_one(Version, version_id)
        lock_model(session, version.model_id)
        session.refresh(version)
        if not is_due(session, version):
            raise MovedOnError("it is not due any more")
        return version

    def _receipt(
        self, session: Session, version: Version, retirement: Retirement, deleted: Sequence[Deleted]
    ) -> JsonObject:
        parent = session.get_one(Version, version.parent_id)
        task = session.get_one(Task, version.task_id)
        classes = zip(retirement.retired, retirement.indices, strict=True)
        return Receipt(
            model=version.model.name,
            version=version.number,
            parent=parent.number,
            task=task.id,
            classes=tuple(RetiredClass(name=name, index=index) for name, index in classes),
            asked_by=person(task.who),
            deleted_by=person(self._actor),
            at=present(session),
            deleted=tuple(deleted),
            kept=(),
        ).model_dump(mode="json")

    def _finish(self, version_id: int) -> None:
        """Delete the bytes of what was begun, and write the receipt down."""
        with read_session(self.engine) as session:
            version = session.get_one(Version, version_id)
            if version.erasure != Erasure.BEGUN:
                return
            draft = read_stored(Receipt, version.receipt or {})
        deleted = tuple(self._freed(one) for one in draft.deleted)
        with write_session(self.engine) as session:
            act_as(session, self._actor)
            version = session.get_one(Version, version_id)
            lock_model(session, version.model_id)
            session.refresh(version)
            if version.erasure != Erasure.BEGUN:
                return  # another worker was faster
            retirement = read_stored(Retirement, version.retirement or {})
            said: JsonObject = {
                "at": present(session),
                "deleted": deleted,
                "deleted_by": person(actor_of(session)),
                "kept": tuple(left_alone(session, version, retirement)),
            }
            receipt = signed(self.secret, draft.model_copy(update=said))
            version.receipt = receipt.model_dump(mode="json")
            version.erasure = Erasure.DONE
            name = version.model.name
            path = f"/admin/models/{name}/versions/{version.number}"
            record(session, Action.CLASS_FORGET, path, model=name, after=version.receipt)
        log.info("erased", model=draft.model, version=draft.version, zips=len(deleted))

    def _freed(self, one: Deleted) -> Deleted:
        """Delete the bytes of a zip; says whether they are gone."""
        place = Place(one.place.replace("_", " "))
        if place not in self.stores:
            raise MovedOnError("pictures lie in a memory folder: set SATS_MEMORY_DIR to it")
        removal = Removal(blobs=((place, one.sha256),), folder=one.task)
        free(self.engine, self.stores, self.settings, removal)
        gone = not self.stores[place].is_there(one.sha256)
        return one.model_copy(update={"gone": gone})

    @property
    def _actor(self) -> Actor:
        return Actor(ActorType.WORKER, self.worker)
