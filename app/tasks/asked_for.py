"""What a posted task asked for, as a digest: the same request gives the same one."""

import hashlib
import json
from typing import Any

from app.db import TaskKind
from app.db.base import JsonObject
from app.imports.schemas import ImportSpec
from app.retirement.schemas import RetireSpec
from app.storage import Blob
from app.tasks.schemas import TaskSpec

Spec = TaskSpec | ImportSpec | RetireSpec
"""What somebody posts; its fields that were set are those that were posted."""

ADDED = {
    "parent": None,
    "preview": False,
    "features": 4000,
    "create": False,
    "device": "any",
    "min_memory_mib": None,
    "priority": 0,
    "accumulate": None,
    "checkpoint_activations": None,
}
"""What specs were given while digests held defaults, and its default: left out of those digests."""

GATE = {"max_drop": 0.05, "min_iou": 0.3}
"""What specs that said nothing of the gate were written with before models had floors: still so in
digests that held defaults."""

GATE_ADDED = "hold_on_unmeasured"
"""What gates were given since: said by none of those digests where nobody asked for it."""

RETIREMENT_EPOCHS = 10
"""What retirements that said nothing of epochs were written with while digests held defaults."""

UNSAID = "sats_plus"
"""The method that a spec meant that named none, before the default was `frozen`."""


def digest(spec: Spec, dataset: Blob, evaluation: Blob | None) -> str:
    """Return the SHA-256 of what was posted, without defaults: they may change.

    Args:
        spec: what to do.
        dataset: the staged zip; of a retirement its spec, which says nothing that was posted.
        evaluation: the staged zip beside it.
    """
    asked: JsonObject = {"posted": spec.model_dump(mode="json", exclude_unset=True)}
    if spec.kind != TaskKind.RETIRE:
        asked["dataset"] = dataset.key
    return _sha256(asked, evaluation)


def digests(spec: Spec, dataset: Blob, evaluation: Blob | None) -> set[str]:
    """Return the digest and those that the same request was written with before.

    Those held defaults; tasks keep them for as long as they are kept. Of a method's settings whole
    numbers are tried all as said, or all as most people type them: of a request that mixed both,
    `1` beside `2.0`, and is said otherwise now, the one from before is not known again.
    """
    if isinstance(spec, RetireSpec):  # its data set has what specs were given since
        dataset = _as_stored(spec)
    known = {digest(spec, dataset, evaluation), _with_defaults(spec, dataset, evaluation)}
    if isinstance(spec, TaskSpec) and spec.method_settings:
        settings = {name: _as_typed(value) for name, value in spec.method_settings.items()}
        typed = spec.model_copy(update={"method_settings": settings})
        known |= {digest(typed, dataset, evaluation), _with_defaults(typed, dataset, evaluation)}
    if isinstance(spec, TaskSpec) and "method" not in spec.model_fields_set:
        then = spec.model_copy(update={"method": UNSAID})
        known.add(_with_defaults(then, dataset, evaluation))
    if isinstance(spec, RetireSpec) and "epochs" not in spec.model_fields_set:
        before = spec.model_copy(update={"epochs": RETIREMENT_EPOCHS})
        known.add(_with_defaults(before, _as_stored(before), evaluation))
    return known


def _as_typed(value: Any) -> Any:
    """Return a method's setting as most people type it: 1.0 was a request of its own beside 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_stored(spec: RetireSpec) -> Blob:
    """Return what stands for a retirement's data set: its spec, with the defaults of then."""
    unasked = {"gate": {GATE_ADDED}} if getattr(spec.gate, GATE_ADDED, None) is None else None
    stored = spec.model_dump_json(exclude=unasked).encode()
    return Blob(hashlib.sha256(stored).hexdigest(), len(stored))


def _with_defaults(spec: Spec, dataset: Blob, evaluation: Blob | None) -> str:
    said = spec.model_dump(mode="json")
    for name, default in ADDED.items():
        if said.get(name) == default:
            said.pop(name, None)
    if GATE_ADDED in said.get("gate", {}) and said["gate"][GATE_ADDED] is None:
        del said["gate"][GATE_ADDED]
    if isinstance(spec, TaskSpec):
        said["gate"] |= {name: v for name, v in GATE.items() if said["gate"][name] is None}
    return _sha256({"spec": said, "dataset": dataset.key}, evaluation)


def _sha256(asked: JsonObject, evaluation: Blob | None) -> str:
    if evaluation is not None:
        asked = {**asked, "evaluation": evaluation.key}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
