"""Which task makes the preview of which."""

from collections.abc import Sequence

from alembic import op

revision: str = "0004"
down_revision: str | Sequence[str] | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
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
