"""Indexes for how the audit log, a key's own tasks and events of one kind are read."""

from collections.abc import Sequence

from alembic import op

revision: str = "0011"
down_revision: str | Sequence[str] | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

AUDIT = ("action", "actor_name", "model")


def upgrade() -> None:
    # Tasks first, under the strongest lock: in the order in which the service takes its locks.
    op.drop_index("ix_tasks_key_id", table_name="tasks")  # the one made next begins with it
    op.create_index("ix_tasks_key_id_sequence", "tasks", ["key_id", "sequence"])
    op.create_index("ix_task_events_task_id_kind_id", "task_events", ["task_id", "kind", "id"])
    for column in AUDIT:
        op.create_index(f"ix_audit_entries_{column}_id", "audit_entries", [column, "id"])


def downgrade() -> None:
    op.drop_index("ix_tasks_key_id_sequence", table_name="tasks")
    op.create_index("ix_tasks_key_id", "tasks", ["key_id"])
    op.drop_index("ix_task_events_task_id_kind_id", table_name="task_events")
    for column in reversed(AUDIT):
        op.drop_index(f"ix_audit_entries_{column}_id", table_name="audit_entries")
