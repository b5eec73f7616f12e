"""Tables and sessions. Importing this package registers every table."""

from app.db.actor import Actor, ActorColumn, ActorType
from app.db.api_key import ApiKey
from app.db.audit import AuditEntry
from app.db.base import Base, database_now, has_come, utc_now
from app.db.faults import is_damaged, is_passing, is_unreachable, said_by
from app.db.idempotency import IdempotentRequest
from app.db.label_studio import LabelStudioProject, ProjectState
from app.db.large_upload import LargeUpload, LargeUploadState
from app.db.memory import Memory, Place
from app.db.model import Model, ModelClass
from app.db.session import make_engine, present, read_session, write_session
from app.db.task import END_STATES, RUNNING_STATES, Task, TaskEvent, TaskKind, TaskLog, TaskState
from app.db.version import AliasMove, Erasure, HeldOutSet, Version
from app.db.webhook import DeliveryState, Webhook, WebhookDelivery
from app.db.worker import DeviceKind, Turn, Worker

__all__ = [
    "END_STATES",
    "RUNNING_STATES",
    "Actor",
    "ActorColumn",
    "ActorType",
    "AliasMove",
    "ApiKey",
    "AuditEntry",
    "Base",
    "DeliveryState",
    "DeviceKind",
    "Erasure",
    "HeldOutSet",
    "IdempotentRequest",
    "LabelStudioProject",
    "LargeUpload",
    "LargeUploadState",
    "Memory",
    "Model",
    "ModelClass",
    "Place",
    "ProjectState",
    "Task",
    "TaskEvent",
    "TaskKind",
    "TaskLog",
    "TaskState",
    "Turn",
    "Version",
    "Webhook",
    "WebhookDelivery",
    "Worker",
    "database_now",
    "has_come",
    "is_damaged",
    "is_passing",
    "is_unreachable",
    "make_engine",
    "present",
    "read_session",
    "said_by",
    "utc_now",
    "write_session",
]
