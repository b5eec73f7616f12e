"""Indexes for how the audit log and a key's own tasks are read."""

from collections.abc import Sequence

from alembic import op

revision: str = "0011"
down_revision: str | Sequence[str] | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

AUDIT = ("action", "actor_name", "model")


def upgrade() -> None:
    for column in AUDIT:
        op.create_index(f"ix_audit_entries_{column}_id", "audit_entries", [column, "id"])
    op.create_index("ix_tasks_key_id_sequence", "tasks", ["key_id", "sequence"])


def downgrade() -> None:
    op.drop_index("ix_tasks_key_id_sequence", table_name="tasks")
    for column in reversed(AUDIT):
        op.drop_index(f"ix_audit_entries_{column}_id", table_name="audit_entries")
