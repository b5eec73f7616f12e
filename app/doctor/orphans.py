"""No store holds a file that nothing refers to: what the collector (decision 13) has left."""

from collections.abc import Sequence

from app.db import Place
from app.doctor.finding import Check, Finding, Installation
from app.storage.blobs import Entry
from app.storage.garbage import Collector, Garbage, StoreMismatchProblem


def find_orphans(installation: Installation) -> Sequence[Finding]:
    """Return what is garbage by now, and where the store seems to be another service's."""
    try:
        found = _collector(installation).find()
    except StoreMismatchProblem as problem:
        return [Finding("store-mismatch", problem.detail, str(installation.settings.data_dir))]
    return [_finding(one) for one in found]


def collect(installation: Installation, finding: Finding) -> None:
    """Remove it as the collector does: under the blob's lock, if nothing refers to it still."""
    place, _, name = finding.where.partition(", ")
    one = Garbage(Place(place), Entry(name, 0, 0.0), is_blob=finding.kind == "blob-orphan")
    _collector(installation).remove([one])


def _collector(installation: Installation) -> Collector:
    return Collector(
        installation.engine, installation.stores, installation.settings.gc_grace_seconds
    )


def _finding(one: Garbage) -> Finding:
    where = f"{one.place}, {one.entry.name}"
    if one.is_blob:
        what = f"nothing refers to this blob ({one.entry.size} bytes)"
        return Finding("blob-orphan", what, where, repairable=True)
    what = f"a write that never ended ({one.entry.size} bytes)"
    return Finding("write-unfinished", what, where, repairable=True)


CHECKS = (Check(find_orphans, collect),)
