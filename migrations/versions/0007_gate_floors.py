"""Limits of a model's gate, and whether an admin posted a task."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | Sequence[str] | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("models", sa.Column("gate", sa.JSON(), nullable=True))
    op.add_column(
        "tasks",
        sa.Column("by_admin", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    # Posted without a key, which is to say by somebody who may do everything.
    op.execute("UPDATE tasks SET by_admin = true WHERE submitted_by = ''")


def downgrade() -> None:
    op.drop_column("tasks", "by_admin")
    op.drop_column("models", "gate")
