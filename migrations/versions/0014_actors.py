"""Who did something, where a name alone stood or nothing; indexes for models at a glance.

What old rows do not say is taken from the audit log, as far as it goes back. `moved_by` and
`created_by` stay, for the processes of the version before; a later migration drops them.
"""

import re
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | Sequence[str] | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ADDED = {
    "tasks": ("submitter", "cancelled_by"),
    "alias_moves": ("actor",),
    "webhooks": ("made_by",),
    "api_keys": ("made_by", "revoked_by"),
    "models": ("gate_changed_by",),
    "versions": ("deleted_by",),
    "held_out_sets": ("deleted_by",),
    "memories": ("deleted_by",),
}
INDEXES = (
    ("tasks", "model_id", "state"),
    ("tasks", "model_id", "finished_at", "sequence"),
    ("versions", "model_id", "deleted_at"),
)
KNOWN = (
    # Where no key posted it, it may have been a command: the audit log knows.
    "UPDATE tasks SET submitter = CASE submitted_by WHEN '' THEN 'keyless' "
    "ELSE 'key ' || submitted_by END",
    "UPDATE alias_moves SET actor = CASE WHEN kind = 'gate' THEN 'worker' "
    "WHEN moved_by IN ('', 'a caller without a key') THEN 'keyless' ELSE 'key ' || moved_by END",
    "UPDATE webhooks SET made_by = CASE WHEN created_by IN ('', 'a caller without a key') "
    "THEN 'keyless' ELSE 'key ' || created_by END",
)
OF_IMPORTS = (
    "UPDATE alias_moves SET actor = (SELECT tasks.submitter FROM tasks "
    "JOIN versions ON versions.task_id = tasks.id WHERE versions.id = alias_moves.version_id) "
    "WHERE kind = 'import'"
)
PATH = re.compile(
    r"/tasks/(?P<task>[^/]+)|/admin/keys/(?P<key>\d+)"
    r"|/admin/models/(?P<model>[^/]+)/(?:gate|versions/(?P<number>\d+))(?:/[a-z-]+)?"
)
OF_VERSION = (
    "UPDATE versions SET deleted_by = :who WHERE deleted_by IS NULL AND number = :number "
    "AND model_id = (SELECT id FROM models WHERE name = :model)"
)
OF_HELD_OUT = (
    "UPDATE held_out_sets SET deleted_by = :who WHERE deleted_at IS NOT NULL "
    "AND deleted_by IS NULL AND version_id = "
    "(SELECT versions.id FROM versions JOIN models ON models.id = versions.model_id "
    "WHERE models.name = :model AND versions.number = :number)"
)
OF_MEMORY = (
    "UPDATE memories SET deleted_by = :who WHERE deleted_at IS NOT NULL "
    "AND deleted_by IS NULL AND version_id = "
    "(SELECT versions.id FROM versions JOIN models ON models.id = versions.model_id "
    "WHERE models.name = :model AND versions.number = :number)"
)
RECORDED: dict[str, Sequence[str]] = {
    "version.import": ["UPDATE tasks SET submitter = :who WHERE id = :task"],
    "task.cancel": ["UPDATE tasks SET cancelled_by = :who WHERE id = :task AND cancel_requested"],
    "key.create": ["UPDATE api_keys SET made_by = :who WHERE id = :key"],
    "key.revoke": ["UPDATE api_keys SET revoked_by = :who WHERE id = :key"],
    "gate.set": [
        "UPDATE models SET gate_changed_by = :who, gate_changed_at = :at WHERE name = :model"
    ],
    "version.delete": [OF_VERSION, OF_HELD_OUT, OF_MEMORY],
    "held_out.delete": [OF_HELD_OUT],
    "held-out.delete": [OF_HELD_OUT],
    "memory.delete": [OF_MEMORY],
}


def upgrade() -> None:
    # Tasks first, under the strongest lock: in the order in which the service takes its locks.
    for table, columns in ADDED.items():
        for column in columns:
            op.add_column(table, sa.Column(column, sa.String(length=220), nullable=True))
    op.add_column("models", sa.Column("gate_changed_at", sa.DateTime(timezone=True), nullable=True))
    for statement in KNOWN:
        op.execute(statement)
    _name_recorded(op.get_bind())
    op.execute(OF_IMPORTS)
    for table, *columns in INDEXES:
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns)


def _name_recorded(connection: sa.Connection) -> None:
    wanted = sa.text(
        "SELECT action, at, object, actor_type, actor_name FROM audit_entries "
        "WHERE action IN :actions ORDER BY id"
    ).bindparams(sa.bindparam("actions", list(RECORDED), expanding=True))
    entries = connection.execute(wanted)
    for entry in entries.all():
        found = PATH.fullmatch(entry.object)
        if found is None:
            continue
        who = " ".join(filter(None, (entry.actor_type, entry.actor_name)))
        told = found.groupdict() | {"who": who, "at": entry.at}
        # A model's name may be digits too.
        told |= {name: int(told[name]) for name in ("key", "number") if told[name]}
        for statement in RECORDED[entry.action]:
            asked = sa.text(statement)
            connection.execute(asked, {name: told[name] for name in asked.compile().params})


def downgrade() -> None:
    for table, *columns in reversed(INDEXES):
        op.drop_index(f"ix_{table}_{'_'.join(columns)}", table_name=table)
    op.drop_column("models", "gate_changed_at")
    for table, columns in ADDED.items():
        for column in columns:
            op.drop_column(table, column)
