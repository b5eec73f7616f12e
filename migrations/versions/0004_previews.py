"""Which task makes the preview of which."""

from collections.abc import Sequence

from alembic import op

revision: str = "0004"
down_revision: str | Sequence[str] | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ENDED = "('live', 'held', 'failed', 'cancelled')"

MAY_NOT_BE_BASE = f"""
UPDATE tasks SET may_be_base = false WHERE state NOT IN {ENDED} AND (
    EXISTS (SELECT 1 FROM versions WHERE versions.model_id = tasks.model_id)
    OR EXISTS (
        SELECT 1 FROM tasks AS earlier
        WHERE earlier.model_id = tasks.model_id
        AND earlier.state NOT IN {ENDED} AND NOT earlier.cancel_requested
        AND (earlier.created_at, earlier.id) < (tasks.created_at, tasks.id)
    )
)
"""  # noqa: S608 - our own text
"""What posting a task decides since 0003, for those that were under way then.

It is here because there are databases that came to 0003 without it.
"""


def upgrade() -> None:
    op.execute(MAY_NOT_BE_BASE)
    # As text, as in 0003: SQLite takes the link with its column.
    op.execute(
        "ALTER TABLE tasks ADD COLUMN preview_of VARCHAR(36) "
        "CONSTRAINT fk_tasks_preview_of_tasks REFERENCES tasks (id)"
    )
    op.create_index("ix_tasks_preview_of", "tasks", ["preview_of"], unique=True)


def downgrade() -> None:
    """Go back; previews stay, as tasks like any other."""
    op.drop_index("ix_tasks_preview_of", table_name="tasks")
    if op.get_context().dialect.supports_alter:
        op.drop_constraint("fk_tasks_preview_of_tasks", "tasks", type_="foreignkey")
    op.drop_column("tasks", "preview_of")
