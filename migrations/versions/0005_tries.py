"""Failed tasks that may be tried again, with smaller batches where memory ran out, and logs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | Sequence[str] | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("tasks", sa.Column("tidied_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("tasks", sa.Column("halvings", sa.Integer(), server_default="0", nullable=False))
    op.create_table(
        "task_logs",
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name="fk_task_logs_task_id_tasks", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task_id", name="pk_task_logs"),
    )
    # Until now nothing of a failed task was kept.
    op.execute("UPDATE tasks SET tidied_at = finished_at WHERE state = 'failed'")


def downgrade() -> None:
    op.drop_table("task_logs")
    op.drop_column("tasks", "halvings")
    op.drop_column("tasks", "tidied_at")
